"""Promises of the documentation about every run: exit codes, qualities, the version, completion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from supertile import __version__
from supertile.cli import app
from supertile.tests.conftest import write_small_vapsr
from typer.testing import CliRunner


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder: a model, photo.png of waves, cut.jpg without its end, and bad/ with a file that is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    write_small_vapsr(tmp_path / "tiny.safetensors", num_feat=8)
    y, x = np.mgrid[:48, :64]
    waves = np.stack([128 + 100 * np.sin(x / 5 + y / (3 + c)) for c in range(3)], axis=-1).astype(np.uint8)
    Image.fromarray(waves).save("photo.png")
    Image.fromarray(waves).resize((256, 192)).save("cut.jpg", quality=95)
    whole = Path("cut.jpg").read_bytes()
    Path("cut.jpg").write_bytes(whole[: -len(whole) // 50])
    Path("bad").mkdir()
    Path("bad/a.png").write_bytes(Path("photo.png").read_bytes())
    Path("bad/b.png").write_bytes(b"no image")
    return tmp_path


def run(*arguments: str, **environment: str):
    return CliRunner().invoke(app, arguments, env=environment)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("photo.png large.png", 0),
        ("photo.png large.png --dry-run", 0),
        ("bad large/", 1),
        ("bad large/ --dry-run", 1),
        ("photo.png large.png --device nonsense", 1),
        ("photo.png bad/a.png", 1),
        ("missing.png large.png", 2),
        ("photo.png large.png --size big", 2),
        ("photo.png large.png --nonsense", 2),
        ("photo.png {nonsense}.png", 2),
        ("photo.png large.png --config missing.toml", 2),
        ("cut.jpg large.png", 3),
    ],
)
def test_exit_codes(folder, arguments, code):
    device = [] if "--device" in arguments else ["--device", "cpu"]
    result = run("upscale", *arguments.split(), *device, "-m", "tiny.safetensors")
    assert result.exit_code == code, result.output
    assert Path("large.png").exists() == (code in (0, 3) and "--dry-run" not in arguments)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif"])
def test_a_higher_quality_is_a_larger_file_nearer_to_the_image(folder, suffix):
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    arguments = ("upscale", "photo.png", "-m", "supertile-2x", "--device", "cpu")
    assert run(*arguments, "exact.png").exit_code == 0
    exact = np.asarray(Image.open("exact.png"), dtype=float)
    sizes, errors = [], []
    for quality in ("20", "60", "95"):
        name = f"{quality}.{suffix}"
        assert run(*arguments, name, "--quality", quality).exit_code == 0
        sizes.append(Path(name).stat().st_size)
        errors.append(np.abs(np.asarray(Image.open(name).convert("RGB"), dtype=float) - exact).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 3
    assert run(*arguments, f"default.{suffix}").exit_code == 0
    assert Path(f"default.{suffix}").read_bytes() == Path(f"95.{suffix}").read_bytes()


def test_webp_of_quality_100_is_lossless(folder):
    arguments = ("upscale", "photo.png", "-m", "supertile-2x", "--device", "cpu")
    assert run(*arguments, "exact.png").exit_code == 0
    assert run(*arguments, "exact.webp", "--quality", "100").exit_code == 0
    assert np.array_equal(Image.open("exact.png"), Image.open("exact.webp").convert("RGB"))


def test_the_version(folder):
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"supertile {__version__}\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("supertile ups", {"upscale"}),
        ("supertile upscale --de", {"--denoise", "--device", "--devices", "--deinterlace", "--debug"}),
        ("supertile upscale a b --precision f", {"fp32", "fp16"}),
        ("supertile upscale a b -m supertile-p", {"supertile-photo-2x", "supertile-photo-4x"}),
        ("supertile info supertile-2", {"supertile-2x"}),
        ("supertile upscale --con", {"--config"}),
    ],
)
def test_completion(folder, words, expected):
    Path("supertile.toml").write_text("nonsense = 1")  # no reason to complete nothing
    place = str(len(words.split()) - 1)
    environment = {"_SUPERTILE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": place}
    result = CliRunner().invoke(app, [], env=environment, prog_name="supertile")
    assert set(result.stdout.split()) == expected
