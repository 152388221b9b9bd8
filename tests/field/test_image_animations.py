"""Animations stay animations, with their times and depths."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from supertile.images.jobs import FileJob, plan_jobs
from supertile.inference.upscaler import Upscaler
from supertile.video.kinds import is_video_job
from supertile.video.upscale import upscale_video
from supertile.video.write.encoder_options import EncoderOptions

from .pictures import chunk, noise, png, raw_rows


def animation(path: Path, *, transparent: bool = True) -> list[np.ndarray]:
    """Three frames of 0.1, 0.05 and 0.25 s, played three times; the last one partly transparent."""
    frames = [Image.new("RGBA", (20, 16), color) for color in ("red", "lime", "#0000ff00" if transparent else "blue")]
    frames[0].paste((9, 9, 9, 0 if transparent else 255), (0, 0, 5, 5))
    frames[1].paste((200, 100, 0, 255), (3, 3, 9, 9))
    frames[2].paste((7, 70, 170, 255), (8, 4, 20, 11))
    options = {"lossless": True} if path.suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 50, 250], loop=3, **options)
    return [np.asarray(frame) for frame in frames]


@pytest.mark.parametrize("target", [".gif", ".webp"])
def test_more_plays_than_a_format_can_count(tmp_path, enlarger, target):
    animation(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    once, many = (chunk(b"acTL", struct.pack(">II", 3, plays)) for plays in (3, 2**31 - 1))
    assert once in data
    (tmp_path / "a.png").write_bytes(data.replace(once, many))
    upscale_video(tmp_path / "a.png", tmp_path / f"b{target}", Upscaler(enlarger(), device="cpu"))
    with Image.open(tmp_path / f"b{target}") as result:
        assert (result.n_frames, result.info["loop"]) == (3, 65535)


@pytest.mark.parametrize("source", [".png", ".webp"])
@pytest.mark.parametrize("target", [".gif", ".png", ".apng", ".webp"])
def test_an_animation_stays_one(tmp_path, enlarger, source, target):
    frames = animation(tmp_path / f"a{source}")
    job = FileJob(tmp_path / f"a{source}", tmp_path / f"b{target}")
    assert is_video_job(job.source, job.target)
    upscaler = Upscaler(enlarger(), device="cpu", precision="fp32")
    upscale_video(job.source, job.target, upscaler, encoder=EncoderOptions(quality=100))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{source}", f"b{target}"]
    with Image.open(job.target) as image:
        assert (image.n_frames, image.size) == (3, (40, 32))
        assert image.info["loop"] == (2 if target == ".gif" else 3)
        delays = []
        for number, expected in enumerate(frames):
            image.seek(number)
            image.load()
            delays.append(image.info["duration"])
            codes = np.asarray(image.convert("RGBA"))
            np.testing.assert_array_equal(codes[::2, ::2, 3], expected[..., 3])
            seen = expected[..., 3] > 0
            np.testing.assert_array_equal(codes[::2, ::2, :3][seen], expected[..., :3][seen])
    assert delays == [100, 50, 250]


@pytest.mark.parametrize("blending", [0, 1])
def test_an_animation_keeps_sixteen_bits(tmp_path, enlarger, blending):
    codes = [noise(6, 7, 4, 16) for _ in range(2)]
    codes[1][..., 3] = np.where(codes[1][..., 3] > 30000, 65535, 0)
    controls = [struct.pack(">IIIIIHHBB", number, 7, 6, 0, 0, 1, 10, 0, number * blending) for number in (0, 1)]
    beside = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", controls[0])
    data = png(codes[0], depth=16, beside=beside, end=False) + chunk(b"fcTL", controls[1])
    data += chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(raw_rows(codes[1], 16))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    upscale_video(tmp_path / "a.png", tmp_path / "b.png", Upscaler(enlarger(), device="cpu", precision="fp32"))
    with av.open(tmp_path / "b.png", format="apng") as container:
        frames = [frame.to_ndarray(format="rgba64le") for frame in container.decode(video=0)]
    assert len(frames) == 2
    if blending:
        codes[1] = np.where(codes[1][..., 3:] > 0, codes[1], codes[0])
    for frame, expected in zip(frames, codes, strict=True):
        visible = expected[..., 3] > 0
        np.testing.assert_allclose(frame[::2, ::2][visible].astype(int), expected[visible], atol=1)


def test_targets_of_animations_in_a_folder(tmp_path):
    (tmp_path / "in").mkdir()
    for suffix in (".gif", ".png", ".webp"):
        animation(tmp_path / "in" / f"moving{suffix}", transparent=False)
        Image.new("RGB", (4, 4)).save(tmp_path / "in" / f"still{suffix}")
    with open(tmp_path / "in" / "cut.gif", "wb") as file:
        file.write((tmp_path / "in" / "moving.gif").read_bytes()[:60])
    jobs = [
        job
        for name in ("moving.gif", "moving.webp", "still.gif", "still.png", "cut.gif")
        for job in plan_jobs([tmp_path / "in" / name], f"{tmp_path}/out/")
    ]
    names = [(job.target.name, is_video_job(job.source, job.target)) for job in jobs]
    assert names == [
        ("moving.gif", True), ("moving.webp", True), ("still.png", False), ("still.png", False), ("cut.png", False),
    ]  # fmt: skip
    assert not is_video_job(tmp_path / "in" / "moving.gif", tmp_path / "a.jpg")
