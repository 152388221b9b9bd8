"""Every command of README and docs runs as it stands, in a folder that has the files it names."""

from __future__ import annotations

import re
import shlex
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from supertile.arch import HAT, HATConfig, VapSR, VapSRConfig
from supertile.cli import app
from supertile.tests.video.conftest import smooth_planes, write_video
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

ELSEWHERE = {
    "supertile bench": "takes minutes; tests/benchmarks",
    "supertile doctor": "takes half a minute; tests/diagnostics",
    "--device cuda": "needs a GPU; tests/inference/test_cuda.py",
    "--devices all": "needs GPUs; tests/video/parts and tests/test_cli.py with --devices cpu,cpu",
    "--cluster": "needs Ray; tests/video/parts/test_cluster.py",
    "supertile join": "needs an interrupted run; tests/video/parts",
}
"""Commands that are not run here, by a part of each, and why or where they are tested."""


def commands() -> list[str]:
    """Return the commands in blocks of code, without comments and without those that only show the syntax."""
    found: dict[str, None] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^ {4}(supertile .*)$", text, re.MULTILINE):
            command = re.sub(r"\s+#.*", "", line).strip()
            if not re.search(r"\[.*\]|\b[A-Z]{4,}\b", command):
                found[re.sub(r"\s+", " ", command)] = None
    return list(found)


def is_run_here(command: str) -> bool:
    return not any(part in command for part in ELSEWHERE)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A folder with every file that the commands name, as small as they can be."""
    folder = tmp_path_factory.mktemp("docs")
    generator = np.random.default_rng(0)

    def image(name: str, width: int = 32, height: int = 24) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(path)

    def video(name: str, count: int, rate: Fraction, width: int = 32, height: int = 24) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = [smooth_planes("yuv420p", width, height, n) for n in range(count)]
        write_video(path, frames, codec="libx264", rate=rate, time_base=1 / rate)

    for name in ("photo.png", "photo.jpg"):
        image(name, 160, 144)
    for name in (
        "brick.png",
        "upscaled.png",
        "original.png",
        "large.png",
        "scan.png",
        "scan.jpg",
        "old.jpg",
        "face.png",
    ):
        image(name)
    image("scans/page.png", 960, 128)
    for name in ("photos/a.jpg", "photos/b.png", "recordings/still.png", "Set5/HR/baby.png"):
        image(name)
    for name in ("recordings/clip.mp4", "clips/short.mp4", "old.mp4"):
        video(name, 2, Fraction(25))
    for number in range(1, 4):
        image(f"frames/{number:06}.png")
    image("Set5/LR_bicubic/X4/baby.png", 8, 6)
    video("film.mp4", 1, Fraction(25), 960, 128)
    video("clip.mov", 26, Fraction(2))

    torch.manual_seed(0)
    models = folder / "models"
    models.mkdir()
    scales = {"VapSR_X2": 2, "VapSR_X4": 4, "A": 4, "B": 4, "1x-dejpeg": 1, "1x-repair": 1, "model": 2}
    for name, scale in scales.items():
        net = VapSR(VapSRConfig(scale=scale, num_feat=16, num_blocks=1, attention_dim=16))
        torch.save(net.state_dict(), folder / f"{name}.pth")
        shutil.copy(folder / f"{name}.pth", models)
    save_file(net.state_dict(), folder / "model.safetensors")
    for name in ("a.safetensors", "b.safetensors"):
        shutil.copy(folder / "model.safetensors", folder / name)
    narrow = HATConfig(
        embed_dim=12, depths=(1,), num_heads=(2,), window_size=8, overlap_window=12, num_feat=16,
        compress_dim=4, squeeze_dim=2, mlp_dim=24, oca_mlp_dim=24,
    )  # fmt: skip
    hat = HAT(narrow)
    for name in ("HAT_SRx4.pth", "HAT-S_SRx4.pth", "models/Real_HAT_GAN_SRx4.pth"):
        torch.save(hat.state_dict(), folder / name)
    return folder


@pytest.mark.parametrize("command", [command for command in commands() if is_run_here(command)])
def test_a_command_runs(command, template, tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    shutil.copytree(template, folder)
    words = shlex.split(command)
    if words[1] in ("upscale", "convert"):
        (folder / words[3]).unlink(missing_ok=True)  # the target
    monkeypatch.chdir(folder)
    monkeypatch.setattr("webbrowser.open", lambda address: True)
    monkeypatch.setenv("HOME", str(folder))  # the docs name ~/models
    monkeypatch.setenv("SUPERTILE_MODELS", str(folder / "models"))
    arguments = [word.replace("~", str(folder)) for word in words[1:]]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output


def test_what_is_tested_elsewhere_is_in_the_docs():
    text = "\n".join(commands())
    assert [part for part in ELSEWHERE if part not in text] == []


def test_files_that_pages_link_to_exist():
    broken = []
    for page in [*PAGES, *sorted((ROOT / "docs" / "decisions").glob("*.md")), ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in link and not (page.parent / link).exists():
                broken.append(f"{page.name}: {link}")
    assert broken == []
