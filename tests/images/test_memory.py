"""A result that does not fit into memory is refused in a sentence before the network runs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from supertile.images import batch, memory
from supertile.images import upscale as upscale_module
from supertile.images.batch import upscale_image_files
from supertile.images.io import opening
from supertile.images.io.errors import ImageFileError
from supertile.images.io.picture import Picture
from supertile.images.jobs import FileJob
from supertile.images.upscale import upscale_image, upscale_image_file
from supertile.inference.finish import Finish
from torch import Tensor


@dataclass
class Repeater:
    """An upscaler that repeats every pixel, and counts its runs."""

    scale: int = 4
    input_channels: int = 3
    seamless: str = "none"
    finish: Finish = field(default_factory=Finish)
    runs: list[int] = field(default_factory=list)

    def for_depth(self, bits: int) -> Repeater:
        return self

    def network(self, batch: Tensor, **_: object) -> Tensor:
        self.runs.append(batch.numel())
        return batch.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


@pytest.mark.parametrize("size", [None, "stretch:39999x39999", "1601mp"])
def test_more_than_a_gigapixel_is_refused_for_memory_alone(monkeypatch, size):
    upscaler = Repeater()
    monkeypatch.setattr(upscale_module, "free_memory", lambda: 2**32)
    with pytest.raises(ImageFileError, match=r"A result of \d+x\d+ pixels.* GiB of memory, and 4\.0 GiB are free"):
        upscale_image(Picture(torch.zeros(1, 1, 1).expand(1, 10000, 10000)), upscaler, size=size)
    assert upscaler.runs == []


@pytest.mark.parametrize(("format", "side"), [("jpg", 65500), ("webp", 16383), ("avif", 65536)])
def test_the_sides_that_a_format_holds_are_named(tmp_path, format, side):
    Image.new("L", (16500, 1)).save(tmp_path / "a.png")
    upscaler = Repeater()
    with pytest.raises(ImageFileError, match=rf"holds at most {side} pixels a side, and the image has 66000x4"):
        upscale_image_file(tmp_path / "a.png", tmp_path / f"b.{format}", upscaler)
    assert upscaler.runs == []
    upscale_image_file(tmp_path / "a.png", tmp_path / "b.png", upscaler)
    assert Image.open(tmp_path / "b.png").size == (66000, 4)


def test_a_small_address_space_is_seen_before_the_work(tmp_path):
    """A process that may take 1.5 GiB beside what it has is told so, instead of failing half-way."""
    Image.fromarray(np.zeros((4000, 4000, 3), np.uint8)).save(tmp_path / "a.png", compress_level=1)
    script = f"""
import resource
from types import SimpleNamespace
from supertile.inference.finish import Finish
from supertile.images.upscale import upscale_image_file
model = SimpleNamespace(scale=4, input_channels=3, seamless="none", finish=Finish())
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**29,) * 2)
try:
    upscale_image_file({str(tmp_path / "a.png")!r}, {str(tmp_path / "b.png")!r}, model)
except Exception as error:
    print(type(error).__name__, error)
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system has no /proc")
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("ImageFileError A result of 16000x16000 pixels takes 8.6 GiB"), result.stdout
    assert result.stdout.endswith("GiB are free; choose a smaller size.\n")
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]


def test_the_limit_of_a_container(tmp_path):
    assert opening.free_in_container(tmp_path) is None
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 100\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert opening.free_in_container(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert opening.free_in_container(tmp_path) == 400


def test_in_a_folder_a_large_result_waits_for_the_one_before(tmp_path, monkeypatch):
    """With memory for one result, both are made; with less, neither, and a small one beside them is."""
    monkeypatch.setattr(upscale_module, "PIXELS_WITHOUT_CHECK", 1000)
    monkeypatch.setattr(batch, "_SMALL_PIXELS", 0)
    for name, side in (("a", 20), ("b", 20), ("c", 2)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{name}.png")
    jobs = [FileJob(tmp_path / f"{name}.png", tmp_path / f"{name}2.png") for name in "abc"]

    def free() -> int:  # a result in flight takes the memory of the next
        written = (tmp_path / "a2.png").exists()
        return needed if written or not upscaler.runs else 0

    upscaler = Repeater()
    needed = memory.result_bytes(3, 8, (80, 80), (80, 80), has_alpha=False)
    monkeypatch.setattr(upscale_module, "free_memory", free)
    outcomes = list(upscale_image_files(jobs, upscaler))
    assert [outcome.error for outcome in outcomes] == [None, None, None]
    needed = 1
    outcomes = list(upscale_image_files(jobs, upscaler, overwrite=True))
    assert [type(outcome.error) for outcome in outcomes] == [ImageFileError, ImageFileError, type(None)]


def test_the_estimate_covers_gray_color_transparency_and_resizing():
    upscaler = Repeater(scale=2)
    for channels in (1, 3):
        for alpha in (None, torch.linspace(0, 1, 12).view(1, 3, 4)):
            picture = Picture(torch.rand(channels, 3, 4), alpha)
            larger = upscale_image(picture, upscaler, size="3x")
            tensors = 4 * larger.color.numel() + (0 if larger.alpha is None else 4 * larger.alpha.numel())
            needed = memory.result_bytes(
                channels + (alpha is not None), 8, (16, 12), (12, 9), has_alpha=alpha is not None
            )
            assert needed > 2 * tensors


def test_several_results_are_counted_in_the_sentence():
    sentence = memory.shortage(2**32, 2**30, (400, 400), (400, 400), count=3)
    assert sentence == (
        "3 results of 400x400 pixels take 4.0 GiB of memory, and 1.0 GiB are free; choose a smaller size or fewer "
        "images."
    )
