"""Chains, strength and kept colors in videos, frame by frame."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from supertile import (
    Cancelled,
    EncoderOptions,
    SourceOptions,
    Upscaler,
    chain_models,
    load_model,
    upscale_frames,
    upscale_image,
    upscale_video,
)
from supertile.images.io.picture import Picture
from supertile.inference.pool import UpscalerPool
from supertile.inference.spec import UpscalerSpec
from supertile.tests.video.conftest import smooth_planes, write_video
from supertile.video.parts.folder import JOBS
from supertile.video.parts.job import JobOptions

RATE = SourceOptions(frame_rate=24)
FP32 = {"device": "cpu", "precision": "fp32"}
LOSSLESS = EncoderOptions(codec="ffv1", pixel_format="bgr0")


def frames(count: int = 3) -> list[np.ndarray]:
    seed = np.random.default_rng(0)
    ramp = np.linspace(40, 200, 40)[None, :, None]
    return [(ramp + 3 * n + seed.normal(0, 6, (30, 40, 3))).clip(0, 255).astype(np.uint8) for n in range(count)]


def planes(codes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(codes).movedim(-1, 0).float() / 255


@pytest.mark.parametrize("size", [None, "4x"])
def test_each_frame_reduces_to_its_source(size):
    upscaler = Upscaler("supertile-2x", **FP32, keep_colors=True)
    results = list(upscale_frames(frames(), upscaler, size=size, source_options=RATE))
    for source, larger in zip(frames(), results, strict=True):
        reduced = F.interpolate(planes(larger.image)[None], source.shape[:2], mode="bicubic", antialias=True)[0]
        assert (reduced - planes(source)).abs().max() < 0.5 / 255


@pytest.mark.parametrize("size", [None, "1x", "3x"])
def test_a_frame_is_finished_as_an_image_is(size):
    upscaler = Upscaler("supertile-2x", **FP32, strength=0.5, keep_colors=True, tile="whole")
    results = upscale_frames(frames(), upscaler, size=size, source_options=RATE)
    for source, larger in zip(frames(), results, strict=True):
        expected = upscale_image(Picture(planes(source)), upscaler, size=size).codes(8)
        assert np.abs(larger.image.astype(int) - expected.astype(int)).max() <= 1


def test_a_chain_runs_models_of_scale_1_once(enlarger):
    repair = enlarger(1)
    upscaler = Upscaler(chain_models(repair, load_model("supertile-2x")), **FP32)
    list(upscale_frames(frames(2), upscaler, size="4x", source_options=RATE))
    assert sum(count for count, *_ in repair.model.batches) == 2


def long_video(path: Path, count: int = 60) -> Path:
    planes = [smooth_planes("yuv420p", 32, 24, number) for number in range(count)]
    write_video(path, planes, codec="libx264", options={"g": "12"})
    return path


def pixels(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def test_devices_share_a_video_with_a_chain_a_blend_and_kept_colors(tmp_path):
    settings = (("precision", "fp32"), ("keep_colors", True), ("strength", 0.8))
    spec = UpscalerSpec("supertile-2x", blend=("supertile-photo-2x", 0.5), then=("supertile-2x",), settings=settings)
    source, upscaler = long_video(tmp_path / "a.mp4", 24), spec.build("cpu")
    job = JobOptions(part_seconds=0.5)
    alone = upscale_video(source, tmp_path / "alone.mkv", upscaler, encoder=LOSSLESS, job=JobOptions(part_seconds=0))
    with UpscalerPool(spec, ["cpu", "cpu"]) as pool:
        shared = upscale_video(source, tmp_path / "shared.mkv", upscaler, encoder=LOSSLESS, job=job, pool=pool)
    assert shared.frames == alone.frames == 24
    for one, other in zip(pixels(tmp_path / "alone.mkv"), pixels(tmp_path / "shared.mkv"), strict=True):
        assert one.shape == (96, 128, 3)
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


@pytest.mark.parametrize("change", [{"strength": 0.5}, {"keep_colors": True}, {"then": ("supertile-photo-2x",)}])
def test_an_interrupted_video_is_not_continued_with_another_finish(tmp_path, change):
    source = long_video(tmp_path / "a.mp4")
    spec = UpscalerSpec("supertile-2x", settings=(("precision", "fp32"),))

    def interrupt() -> bool:
        return len(list(tmp_path.glob(f"{JOBS}/*/0*.json"))) >= 2

    job, sentences = JobOptions(part_seconds=0.5), []
    with pytest.raises(Cancelled):
        upscale_video(source, tmp_path / "b.mkv", spec.build("cpu"), job=job, cancelled=interrupt)
    then = change.pop("then", ())
    spec = UpscalerSpec(spec.model, settings=(*spec.settings, *change.items()), then=then)
    upscale_video(source, tmp_path / "b.mkv", spec.build("cpu"), job=job, inform=sentences.append)
    expected = {"strength": "strength", "keep_colors": "keep-colors"}.get(next(iter(change), ""), "model")
    assert any(expected in sentence for sentence in sentences), sentences
