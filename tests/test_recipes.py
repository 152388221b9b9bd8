"""docs/recipes.md: every block runs as it stands, and is typed."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from supertile import bundled_models
from supertile.tests.video.conftest import smooth_planes, write_video

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "recipes.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)

CLIENT = """
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from supertile import ArrayWriter, TimedImage, Upscaler, load_model, upscale_frames

by_name: Upscaler = Upscaler("supertile-2x")
upscaler: Upscaler = Upscaler(load_model("supertile-2x"), device=torch.device("cpu"))


def progress(done: int, total: int) -> None: ...


image: Image.Image = upscaler(Image.new("L", (8, 8)), size="4x", progress=progress, cancelled=lambda: False)
codes: npt.NDArray[np.uint8] = upscaler(np.zeros((8, 8), np.uint8))
values: npt.NDArray[np.float32] = upscaler(np.zeros((8, 8, 3), np.float32))
tensor: torch.Tensor = upscaler(torch.zeros(3, 8, 8), progress=progress)
images: list[Image.Image] = upscaler([image, image])
arrays: list[npt.NDArray[np.uint16]] = upscaler([np.zeros((8, 8), np.uint16)])
tensors: list[torch.Tensor] = upscaler((tensor,))


def frames(path: str) -> Iterator[TimedImage]:
    yield from upscale_frames(path, upscaler, progress=lambda p: print(p.fps))


with ArrayWriter("a.mp4", Fraction(24)) as writer:
    for frame in frames("b.mp4"):
        start: Fraction = frame.pts
        writer.write(frame.image, pts=start, duration=frame.duration)
"""


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Levels that a recipe sets are set back, or later tests of this process would log more."""
    loggers = logging.getLogger(), logging.getLogger("supertile")
    levels = [each.level for each in loggers]
    yield
    for each, level in zip(loggers, levels, strict=True):
        each.setLevel(level)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with the files that the recipes read."""
    monkeypatch.chdir(tmp_path)
    codes = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    for name in ("photo.png", "photo.jpg", "scans/a.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(codes).save(name)
    Path("scans/b.png").write_bytes(b"no image")
    write_video("film.mp4", [smooth_planes("yuv420p", 64, 48, i) for i in range(6)], codec="libx264")
    shutil.copy(bundled_models()["supertile-2x"], "model.safetensors")
    return tmp_path


def title(block: str) -> str:
    before = PAGE.read_text(encoding="utf-8").partition(block)[0]
    return re.findall(r"^## (.*)$", before, re.MULTILINE)[-1].replace(" ", "-")


def test_all_blocks_are_found():
    assert len(BLOCKS) == PAGE.read_text(encoding="utf-8").count("```") / 2 >= 15


@pytest.mark.parametrize("block", BLOCKS, ids=map(title, BLOCKS))
def test_a_recipe_runs(folder, block):
    before = set(folder.rglob("*"))
    if "__main__" in block:  # its processes import the program again
        (folder / "recipe.py").write_text(block)
        subprocess.run([sys.executable, "recipe.py"], check=True, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    else:
        exec(compile(block, title(block), "exec"), types.ModuleType("recipe").__dict__)
    written = {path.name for path in set(folder.rglob("*")) - before}
    expected = set(re.findall(r'(?:save|Writer|upscale_\w+)\((?:"[\w.]+", )?"([\w.-]+)"', block)) - {"film.mp4"}
    assert expected <= written, "the files that it names"


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="there is no mypy")
def test_recipes_and_a_client_of_everything_pass_mypy_strict(tmp_path, request):
    (tmp_path / "supertile").symlink_to(ROOT, target_is_directory=True)
    files = ["client.py", *(f"recipe_{number}.py" for number in range(len(BLOCKS)))]
    for name, text in zip(files, [CLIENT, *BLOCKS], strict=True):
        (tmp_path / name).write_text(text)
    (tmp_path / "wrong.py").write_text('from supertile import Upscaler\nx: str = Upscaler("a")(b"bytes")\n')
    # Of the package only the signatures matter here; its own sources are checked by `make lint`.
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--ignore-missing-imports"]
    command += ["--cache-dir", str(request.config.cache.mkdir("mypy")), "--config-file", os.devnull]
    result = subprocess.run([*command, *files], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    result = subprocess.run([*command, "wrong.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "wrong.py:2: error" in result.stdout, "a wrong client is found"


def test_a_library_is_silent_and_the_command_line_is_not(tmp_path):
    """Warnings go to whoever configures logging; the command prints them."""
    program = "import supertile, logging; logging.getLogger('supertile.inference').warning('slow')"
    quiet = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert quiet.stderr == ""
    program = (
        "import logging, sys, supertile.cli as cli, supertile.__main__ as start\n"
        "cli.app = lambda **_: logging.getLogger('supertile.inference').warning('slow')\n"
        "start.main()"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert told.stderr == "slow\n"
