"""What comes out of a video job: it plays where people play it, and no encoder harms the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Encodes noise of every given size and preset; prints each before it starts, so that the last line names the culprit.
_ENCODE = """
import sys
from fractions import Fraction
import numpy as np, torch
from supertile.video.frames import Color, Frame, FrameFormat, Layout, VideoInfo
from supertile.video.write.encoder_options import EncoderOptions
from supertile.video.write.open import open_target

folder, depth, preset, *sizes = sys.argv[1:]
generator = np.random.default_rng(0)
for size in sizes:
    print(size, flush=True)
    width, height = map(int, size.split("x"))
    layout = Layout("yuv", int(depth), (1, 1))
    info = VideoInfo("noise", width, height, layout, Color(), Fraction(1, 25), Fraction(25))
    sink = open_target(f"{folder}/{size}.mkv", info, info.format, EncoderOptions("hevc", preset=preset))
    for number in range(5):
        planes = [generator.integers(0, 2 ** int(depth), layout.size_of(i, width, height)) for i in range(3)]
        dtype = np.uint8 if depth == "8" else np.uint16
        sink.write(Frame(tuple(torch.from_numpy(plane.astype(dtype)) for plane in planes), number, 1))
    sink.finish()
print("done")
"""
_SMALL = [f"{width}x{height}" for width in (16, 32, 34, 48, 50, 64) for height in (16, 66)]


@pytest.mark.parametrize(("depth", "preset"), [(10, "medium"), (8, "ultrafast")])
def test_small_hevc_frames_leave_the_heap_intact(tmp_path: Path, depth: int, preset: str) -> None:
    # glibc's checking allocator notices each byte that is written beyond a block.
    environment = dict(os.environ, LD_PRELOAD="libc_malloc_debug.so.0", MALLOC_CHECK_="3")
    done = subprocess.run(
        [sys.executable, "-c", _ENCODE, str(tmp_path), str(depth), preset, *_SMALL],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-30:] + done.stderr[-300:]
    assert done.stdout.endswith("done\n")
