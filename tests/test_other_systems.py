"""The package on Windows and macOS, as far as Linux can play them: what is missing there is taken away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from supertile.cli import app
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]

SYSTEMS = ["win32", "darwin"]


def run(system: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tests" / "other_system.py"), system, *arguments],
        capture_output=True, text=True, encoding="utf-8", timeout=900,
    )  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_module_can_be_imported(system):
    result = run(system, "import")
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 150


@pytest.mark.parametrize("system", SYSTEMS)
def test_images_and_videos_are_upscaled(tmp_path, system):
    """Without kernels of our own, so that rounding alone differs from here."""
    sources = tmp_path / "in"
    sources.mkdir()
    Image.open(ROOT / "demo" / "image.png").convert("RGB").crop((0, 0, 48, 40)).save(sources / "a.png")
    clip = Image.open(ROOT / "demo" / "clip.webp")
    frames = [frame.convert("RGB").crop((0, 0, 64, 48)) for frame in ImageSequence.Iterator(clip)][:4]
    frames[0].save(sources / "b.webp", save_all=True, append_images=frames[1:], lossless=True)
    options = ["--model", "supertile-2x", "--keep-times"]
    result = run(system, "upscale", str(sources), f"{tmp_path / 'there'}{os.sep}", *options)
    assert result.returncode == 0, result.stderr
    result = run(system, "upscale", str(sources / "b.webp"), str(tmp_path / "b.mp4"), *options[:2])
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "b.mp4").stat().st_size > 1000
    here = CliRunner().invoke(app, ["upscale", str(sources), f"{tmp_path / 'here'}{os.sep}", *options])
    assert here.exit_code == 0, here.output
    for name in ("a.png", "b.webp"):
        a, b = (np.asarray(Image.open(tmp_path / side / name).convert("RGB"), np.int16) for side in ("there", "here"))
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= (1 if name == "a.png" else 12)


@pytest.mark.parametrize(
    "arguments",
    [
        "--help", "upscale --help", "preview --help", "eval --help", "join --help", "demo --help", "models",
        "bench --help", "info supertile-4x", "upscale {a} {b}", "upscale {a} {b} --dry-run", "upscale {a} {a}",
        "upscale {b} {a}",
    ],
)  # fmt: skip
def test_a_console_of_western_europe_shows_every_character(tmp_path, arguments):
    """Windows gives programs whose output goes to a file or a pipe the code page 1252, which has no arrows."""
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    Image.new("RGB", (16, 12)).save(a)
    runner = CliRunner(charset="cp1252", env={"COLUMNS": "100"})
    result = runner.invoke(app, [each.format(a=a, b=b) for each in arguments.split()])
    assert result.exit_code == (2 if arguments.endswith("{a}") else 0), result.output
    assert result.output.strip()
    assert "\\u" not in result.output
    assert "\\x" not in result.output
    assert "\N{REPLACEMENT CHARACTER}" not in result.output


def test_that_console_as_a_process_has_it(tmp_path):
    Image.new("RGB", (16, 12)).save(tmp_path / "a.png")
    result = subprocess.run(
        [sys.executable, "-m", "supertile", "upscale", "a.png", "b×→.png"], cwd=tmp_path, capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
    )  # fmt: skip
    said = (result.stdout + result.stderr).decode("cp1252")
    assert result.returncode == 0, said
    assert "a.png 16x12 -> b×\\u2192.png 64x48" in said
    assert (tmp_path / "b×→.png").exists()
