"""Estimates of videos compared with the videos themselves."""

from __future__ import annotations

import re
import time
from pathlib import Path

import av
import pytest
from PIL import Image
from supertile import EncoderOptions, SourceOptions, Span, Upscaler, VideoError, upscale_video
from supertile.inference.errors import Cancelled
from supertile.tests.video.conftest import random_planes, smooth_planes
from supertile.video import sample as samples
from supertile.video.estimate import estimate_video
from supertile.video.parts.folder import JOBS
from supertile.video.parts.job import JobOptions
from supertile.video.sample import VideoSample

FFV1 = EncoderOptions(codec="ffv1")
TWO_SECONDS = JobOptions(part_seconds=2)


@pytest.fixture
def double(enlarger) -> Upscaler:
    """Repeats every pixel twice."""
    return Upscaler(enlarger(2), precision="fp32")


@pytest.fixture
def noisy(make_video) -> Path:
    """Eight seconds of noise, which compresses alike everywhere, with key frames every second."""
    frames = [random_planes("yuv420p", 32, 24, seed) for seed in range(200)]
    return make_video("noisy.mkv", frames, codec="mpeg4", options={"g": "25"})


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_size_of_a_video_is_foreseen(noisy, double, tmp_path):
    target = tmp_path / "new" / "out.mkv"
    estimate = estimate_video(noisy, target, double, encoder=FFV1, seconds=0.3)
    assert files_in(tmp_path) == ["noisy.mkv"]
    assert (estimate.frames, estimate.parts, estimate.parts_done) == (200, 1, 0)
    assert (estimate.source_size, estimate.target_size, estimate.encoder) == ((32, 24), (64, 48), "ffv1")
    assert 0 < estimate.sample.frames <= 200
    report = upscale_video(noisy, target, double, encoder=FFV1)
    assert report.frames == estimate.frames
    assert estimate.bytes == pytest.approx(target.stat().st_size, rel=0.05)


def test_streams_that_are_copied_count(shared_video, double, tmp_path):
    source, span = shared_video("nasa_13013.mp4"), Span(2, 3)
    estimate = estimate_video(source, tmp_path / "out.mkv", double, encoder=FFV1, span=span, seconds=0.1)
    assert estimate.frames == 30
    upscale_video(source, tmp_path / "out.mkv", double, encoder=FFV1, span=span)
    with av.open(str(tmp_path / "out.mkv")) as container:
        [_, *others] = container.streams
        assert others
    assert estimate.bytes == pytest.approx((tmp_path / "out.mkv").stat().st_size, rel=0.2)


def test_parts_that_are_done_are_not_counted_again(noisy, double, tmp_path):
    target = tmp_path / "out.mkv"

    def is_enough() -> bool:
        return len(list(tmp_path.glob(f"{JOBS}/*/0*.json"))) >= 2

    before = estimate_video(noisy, target, double, encoder=FFV1, job=TWO_SECONDS, seconds=0.1)
    assert (before.parts, before.parts_done, before.frames_done) == (4, 0, 0)
    with pytest.raises(Cancelled):
        upscale_video(noisy, target, double, encoder=FFV1, job=TWO_SECONDS, cancelled=is_enough)
    left = files_in(tmp_path)
    after = estimate_video(noisy, target, double, encoder=FFV1, job=TWO_SECONDS, seconds=0.1)
    assert (after.frames, after.parts, after.parts_done, after.frames_done) == (200, 4, 2, 100)
    assert after.seconds == pytest.approx(100 * after.sample.frame_seconds + after.sample.warm_up_seconds)
    assert after.bytes == pytest.approx(before.bytes, rel=0.05)
    assert files_in(tmp_path) == left
    restarted = JobOptions(part_seconds=2, restart=True)
    assert estimate_video(noisy, target, double, encoder=FFV1, job=restarted, seconds=0.1).parts_done == 0
    other = estimate_video(noisy, target, double, encoder=FFV1, size="3x", job=TWO_SECONDS, seconds=0.1)
    assert other.parts_done == 0
    assert files_in(tmp_path) == left


def test_devices_share_the_parts(noisy, double, tmp_path):
    estimate = estimate_video(noisy, tmp_path / "out.mkv", double, job=TWO_SECONDS, devices=3, seconds=0.1)
    sample = estimate.sample
    assert estimate.seconds == pytest.approx(200 * sample.frame_seconds / 3 + sample.warm_up_seconds)
    short = estimate_video(noisy, tmp_path / "out.mkv", double, devices=3, seconds=0.1)
    assert short.seconds == pytest.approx(200 * short.sample.frame_seconds + short.sample.warm_up_seconds)


def test_a_slow_network_is_stopped_after_two_frames(noisy, enlarger, tmp_path):
    class Slow(Upscaler):
        calls = 0

        def stream(self, images, **options):
            for result in super().stream(images, **options):
                Slow.calls += 1
                time.sleep(2.0 if Slow.calls == 1 else 0.05)  # the first warms up
                yield result

    upscaler = Slow(enlarger(2), precision="fp32", batch=1)
    estimate = estimate_video(noisy, tmp_path / "out.mkv", upscaler, encoder=FFV1, seconds=0.0)
    assert Slow.calls == estimate.sample.frames
    assert 2 <= estimate.sample.frames <= 4
    assert estimate.sample.warm_up_seconds >= 1.5
    assert 0.05 <= estimate.sample.frame_seconds < 1.5


def test_numbered_images_and_animations(noisy, double, tmp_path):
    estimate = estimate_video(noisy, tmp_path / "frames" / "%03d.png", double, span=Span(0, 0.4), seconds=0.1)
    assert (estimate.frames, estimate.encoder) == (10, "png")
    upscale_video(noisy, tmp_path / "frames" / "%03d.png", double, span=Span(0, 0.4))
    written = sum(file.stat().st_size for file in (tmp_path / "frames").iterdir())
    assert estimate.bytes == pytest.approx(written, rel=0.05)
    with pytest.raises(VideoError, match=re.escape("001.png exists already")):
        estimate_video(noisy, tmp_path / "frames" / "%03d.png", double, seconds=0.1)

    rate = SourceOptions(frame_rate=25)
    back = estimate_video(
        tmp_path / "frames" / "%03d.png", tmp_path / "b.mkv", double, source_options=rate, seconds=0.1
    )
    assert (back.frames, back.target_size, back.parts) == (10, (128, 96), 1)

    images = [Image.fromarray(smooth_planes("gray", 20, 16, seed)[0]).convert("RGB") for seed in range(4)]
    images[0].save(tmp_path / "in.webp", save_all=True, append_images=images[1:], duration=100, lossless=True)
    moving = estimate_video(tmp_path / "in.webp", tmp_path / "out.gif", double, seconds=0.1)
    assert (moving.frames, moving.encoder, moving.target_size) == (4, "gif", (40, 32))
    upscale_video(tmp_path / "in.webp", tmp_path / "out.gif", double)
    assert moving.bytes == pytest.approx((tmp_path / "out.gif").stat().st_size, rel=0.3)


def test_places_that_cannot_be_decoded_are_left_out(noisy, double, tmp_path, monkeypatch):
    compute, places = samples._compute_place, []

    def broken_in_the_middle(task, span, upscaler, seconds):
        places.append(span.start)
        if len(places) == 1:
            raise VideoError("nothing there")
        return compute(task, span, upscaler, seconds)

    monkeypatch.setattr(samples, "_compute_place", broken_in_the_middle)
    assert estimate_video(noisy, tmp_path / "out.mkv", double, encoder=FFV1, seconds=5).sample.frames > 0
    assert len(places) >= 2
    monkeypatch.setattr(samples, "_compute_place", lambda *_: (_ for _ in ()).throw(VideoError("nothing there")))
    with pytest.raises(VideoError, match="nothing there"):
        estimate_video(noisy, tmp_path / "out.mkv", double, encoder=FFV1, seconds=5)


def test_key_frames_and_others_are_counted_apart():
    sample = VideoSample(key_bytes=[1000], other_bytes=[100, 120, 80])
    assert sample.size_of(250, 1) == 1000 + 249 * 100
    assert sample.size_of(250, 5) == 5000 + 245 * 100
    assert sample.size_of(1, 5) == 1000
    assert VideoSample(key_bytes=[1000, 2000]).size_of(10, 1) == 15000


def test_the_warm_up_is_that_of_the_first_place():
    sample = VideoSample()
    sample.add(VideoSample(3, 1.0, warm_up_seconds=5.0, key_bytes=[10], other_bytes=[1, 1], header_bytes=7))
    sample.add(VideoSample(1, 3.0, key_bytes=[30], header_bytes=8))
    assert (sample.frames, sample.frame_seconds, sample.warm_up_seconds, sample.header_bytes) == (4, 1.5, 5.0, 7)
    assert (sample.key_bytes, sample.other_bytes) == ([10, 30], [1, 1])


@pytest.mark.parametrize(("encodes_beside", "seconds"), [(False, 2.5), (True, 2.0)])
def test_few_frames_are_completed_by_stand_ins(encodes_beside, seconds):
    sample = VideoSample(2, 9.0, upscale_seconds=2.0, key_bytes=[2000], other_bytes=[300])
    short = VideoSample(2, encode_seconds=2.0, key_bytes=[1000], other_bytes=[100])
    long = VideoSample(6, encode_seconds=4.0, key_bytes=[1100], other_bytes=[100, 200, 150, 250, 50])
    sample.complete(short, long, encodes_beside=encodes_beside)
    assert (sample.frames, sample.frame_seconds) == (2, seconds)
    assert (sample.key_bytes, sample.other_bytes) == ([2200], [300, 600, 450, 750, 150])


def test_sizes_of_few_frames_are_those_of_a_long_video(shared_video, double, tmp_path, monkeypatch):
    """x264 looks 40 frames ahead, so that a few frames alone have other sizes."""
    monkeypatch.setattr(samples, "_MIN_STAND_IN_SECONDS", 60.0)
    source, span = shared_video("nasa_13013.mp4"), Span(0, 7)
    estimate = estimate_video(source, tmp_path / "out.mkv", double, span=span, size="stretch:160x90", seconds=0.0)
    assert estimate.sample.frames < 60
    upscale_video(source, tmp_path / "out.mkv", double, span=span, size="stretch:160x90")
    assert estimate.bytes == pytest.approx((tmp_path / "out.mkv").stat().st_size, rel=0.4)
