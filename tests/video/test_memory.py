"""Frames that do not fit into memory are refused in a sentence before the network runs."""

from __future__ import annotations

import pytest
import torch
from supertile.inference.errors import OutOfMemoryError
from supertile.inference.upscaler import Upscaler
from supertile.video import memory
from supertile.video.memory import frame_shortage
from supertile.video.parts.job import JobOptions
from supertile.video.upscale import upscale_video

from .parts.conftest import write_clip

CPU = torch.device("cpu")


@pytest.mark.parametrize("part_seconds", [0, 1])
def test_large_frames_are_refused_before_the_network_runs(enlarger, tmp_path, monkeypatch, part_seconds):
    monkeypatch.setattr(memory, "free_memory", lambda: 2**30)
    runs: list[int] = []
    source = write_clip(tmp_path, "h264", seconds=4)
    upscaler = Upscaler(enlarger(2, lambda batch: runs.append(1)), precision="fp32")
    expected = r"Frames of 7680x4320 pixels by way of 8192x6144 take about 9\.4 GiB of memory, and 1\.0 GiB are free"
    with pytest.raises(OutOfMemoryError, match=expected):
        upscale_video(
            source, tmp_path / "out.mkv", upscaler, size="stretch:7680x4320", job=JobOptions(part_seconds=part_seconds)
        )
    assert runs == []
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_bars_count(enlarger, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 2**30)
    source = write_clip(tmp_path, "h264", seconds=1)  # of 32x24
    with pytest.raises(OutOfMemoryError, match="Frames of 16000x700 pixels take about"):
        upscale_video(source, tmp_path / "out.mkv", Upscaler(enlarger(2), precision="fp32"), size="pad:16000x700")


def test_no_frames_are_refused_where_they_fit_or_the_system_does_not_tell(monkeypatch):
    for free in (2**36, None):
        monkeypatch.setattr(memory, "free_memory", lambda free=free: free)
        assert frame_shortage((1920, 1080), (7680, 4320), 4, CPU) is None


def test_small_frames_are_never_refused(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 0)
    assert frame_shortage((1920, 1080), (3840, 2160), 2, CPU) is None


def test_beside_a_gpu_the_result_alone_counts(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 2**31)
    assert frame_shortage((1920, 1080), (7680, 4320), 4, CPU) is not None
    assert frame_shortage((1920, 1080), (7680, 4320), 4, torch.device("cuda")) is None


def test_kept_colors_count(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 7 * 2**30)
    sizes = (1920, 1080), (7680, 4320), 4
    assert frame_shortage(*sizes, CPU) is None
    assert frame_shortage(*sizes, CPU, finished=True) is not None
    assert frame_shortage(*sizes, torch.device("cuda"), finished=True) is None
