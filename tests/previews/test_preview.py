"""The crops of a preview compared with what the whole job makes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from supertile import Cancelled, CheckpointError, Span, Upscaler, preview, upscale_frames, upscale_image_file
from supertile.previews.errors import PreviewError
from supertile.previews.result import Preview
from supertile.tests.conftest import write_small_vapsr
from supertile.tests.video.conftest import random_planes, smooth_planes, write_video

ONE_CODE = 1.01 / 255


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A network x2 whose receptive field fits into the margin."""
    return write_small_vapsr(tmp_path_factory.mktemp("model") / "small.safetensors", num_feat=8)


def noise_image(path: Path, width: int, height: int, mode: str = "RGB") -> Path:
    channels = len(mode) if mode != "L" else 1
    codes = np.random.default_rng(5).integers(70, 190, (height, width, channels), dtype=np.uint8)
    Image.fromarray(codes[..., 0] if channels == 1 else codes, mode).save(path)
    return path


def look(source: Path, *models: str, **options) -> Preview:
    return preview(source, models, device="cpu", precision="fp32", estimate=options.pop("estimate", False), **options)


def assert_part_of(whole: torch.Tensor, made: Preview, number: int = 0) -> None:
    crop = made.crops[number]
    size = whole.shape[-1], whole.shape[-2]
    assert made.methods[0].target_size == size
    left, top, right, bottom = crop.box.scaled(made.source_size, size)
    assert crop.results[0].shape == (3, bottom - top, right - left) == crop.bicubic[0].shape
    assert (crop.results[0] - whole[:3, top:bottom, left:right]).abs().max() < ONE_CODE


def read(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).movedim(-1, 0).float() / 255


# --- images ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [None, "1.37x", "5x", "300x290"])
def test_a_crop_is_that_place_of_the_whole_result(tmp_path, model, mode, size):
    source = noise_image(tmp_path / "a.png", 211, 159, mode)
    upscale_image_file(source, tmp_path / "b.png", Upscaler(model, device="cpu", precision="fp32"), size=size)
    made = look(source, model, size=size, at=[(120, 80), (0, 158)], side=32)
    assert len(made.crops) == 2
    for number in (0, 1):
        assert_part_of(read(tmp_path / "b.png"), made, number)


def test_bicubic_is_pillows(tmp_path, model):
    source = noise_image(tmp_path / "a.png", 90, 70)
    [crop] = look(source, model, at=[(45, 35)], side=20).crops
    enlarged = Image.open(source).resize((180, 140), Image.Resampling.BICUBIC)
    left, top, right, bottom = crop.box.scaled((90, 70), (180, 140))
    expected = torch.from_numpy(np.array(enlarged)).movedim(-1, 0)[:, top:bottom, left:right] / 255
    assert (crop.bicubic[0] - expected).abs().max() < 2 * ONE_CODE


def test_transparency_shows_a_checkerboard(tmp_path, model):
    codes = np.zeros((40, 40, 4), np.uint8)
    codes[:, 20:] = (255, 0, 0, 255)
    Image.fromarray(codes).save(tmp_path / "a.png")
    [crop] = look(tmp_path / "a.png", model, at=[(20, 20)], side=32).crops
    for image in (*crop.results, *crop.bicubic):
        assert len(image[:, :, :16].unique()) == 2
        assert (image[0] == image[1]).float().mean() == pytest.approx(0.5, abs=0.05)


def test_each_model_and_strength_is_a_method(tmp_path, model):
    source = noise_image(tmp_path / "a.png", 40, 30)
    made = look(source, model, "supertile-4x", at=[(20, 15)], side=16)
    assert [(each.name, each.target_size) for each in made.methods] == [
        ("small", (80, 60)),
        ("supertile-4x", (160, 120)),
    ]
    assert [image.shape for image in made.crops[0].results] == [(3, 32, 32), (3, 64, 64)]
    names = [each.name for each in look(source, size="2x", denoise=[0, 1], at=[(20, 15)]).methods]
    assert names == ["supertile-2x, denoise 0", "supertile-2x, denoise 1"]


def test_crops_are_as_large_as_the_largest_result_allows(tmp_path, model):
    source = noise_image(tmp_path / "a.png", 300, 200)
    for options, side in (({}, 200), ({"size": "8x"}, 64), ({"size": "1000x"}, 154), ({"side": 50}, 50)):
        [crop] = look(source, model, at=[(150, 100)], **options).crops
        assert crop.box.height == side


def test_the_source_decides_the_network_as_in_the_job(tmp_path):
    source = tmp_path / "a.jpg"
    Image.new("RGB", (24, 20), (10, 200, 90)).save(source)
    made = look(source, size="2x", crops=1)
    assert [each.name for each in made.methods] == ["supertile-photo-2x"]
    assert made.notes == ("a.jpg is a JPEG: supertile-photo-2x.",)


def test_names_that_would_be_alike_are_paths(tmp_path, model):
    (tmp_path / "other").mkdir()
    other = write_small_vapsr(tmp_path / "other" / "small.safetensors")
    made = look(noise_image(tmp_path / "a.png", 20, 20), model, other)
    assert [each.name for each in made.methods] == [model, other]


@pytest.mark.parametrize("seconds", [15.0, 0.0], ids=["from the image", "from the crops"])
def test_the_estimate_is_near_the_job(tmp_path, model, monkeypatch, seconds):
    """With no time to compute the whole image, its size is estimated from crops."""
    monkeypatch.setattr("supertile.previews.estimates.SAMPLE_SECONDS", seconds)
    y, x = np.mgrid[:240, :320]
    codes = (128 + 60 * np.sin(x / 5 + y / 9) + np.random.default_rng(1).normal(0, 8, (240, 320))).clip(0, 255)
    Image.fromarray(codes.astype(np.uint8)).convert("RGB").save(tmp_path / "a.jpg")
    [method] = look(tmp_path / "a.jpg", model, estimate=True, side=64).methods
    upscale_image_file(tmp_path / "a.jpg", tmp_path / "b.jpg", Upscaler(model, device="cpu"))
    assert method.estimate.problem == ""
    assert method.estimate.seconds > 0
    assert method.estimate.bytes == pytest.approx((tmp_path / "b.jpg").stat().st_size, rel=0.25)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "b.jpg"]


def test_a_job_that_would_fail_says_so(tmp_path, model):
    source = tmp_path / "a.jpg"
    Image.new("RGB", (33_000, 4)).save(source)
    [method] = look(source, model, estimate=True, side=8, crops=1).methods
    assert "JPEG holds at most 65500 pixels a side" in str(method.estimate)


# --- videos ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, "1.5x"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "bgra"])
def test_a_crop_of_a_frame_is_that_place_of_the_whole_frame(tmp_path, model, pixel_format, size):
    path = tmp_path / "a.mkv"
    planes = random_planes(pixel_format, 172, 128)
    if pixel_format == "bgra":
        planes[0][:, 3::4] = 255  # opaque
    elif size is not None:  # inside of the gamut, beyond which a resampled part is clamped earlier
        top = int(planes[0].max())
        planes = [(plane // 16 + top * 15 // 32).astype(plane.dtype) for plane in planes]
    write_video(path, [planes], pixel_format, size=(172, 128))
    upscaler = Upscaler(model, device="cpu", precision="fp32")
    [frame] = upscale_frames(path, upscaler, size=size)
    whole = torch.from_numpy(frame.image.astype(np.float32)).movedim(-1, 0) / np.iinfo(frame.image.dtype).max
    made = look(path, model, size=size, at=[(101, 67), (171, 0)], side=24)
    assert_part_of(whole, made, 0)
    assert_part_of(whole, made, 1)


def test_a_crop_of_a_real_clip_too(nasa, model):
    made = look(nasa, model, crops=2, side=96)
    upscaler = Upscaler(model, device="cpu", precision="fp32")
    for number, crop in enumerate(made.crops):
        with upscale_frames(nasa, upscaler, span=Span(crop.seconds)) as frames:
            whole = torch.from_numpy(next(frames).image).movedim(-1, 0) / 255
        assert_part_of(whole, made, number)
        assert crop.results[0].std() > 0.02, "it is not black"


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_video_is_cropped_upright(tmp_path, model, turns, mirrored):
    a, b = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    c, d = -b, a
    if mirrored:
        a, c = -a, -c
    matrix = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    rows = np.random.default_rng(0).integers(0, 256, (60, 3 * 84), dtype=np.uint8)
    path = write_video(
        tmp_path / "a.mov", [[rows]], "rgb24", "libx264rgb", size=(84, 60), options={"qp": "0"}, display_matrix=matrix
    )
    [frame] = upscale_frames(path, Upscaler(model, device="cpu", precision="fp32"))
    made = look(path, model, at=[(20, 50)], side=16)
    assert made.source_size == ((60, 84) if turns % 2 else (84, 60))
    assert_part_of(torch.from_numpy(frame.image.astype(np.float32)).movedim(-1, 0) / 255, made)


def test_frames_are_spread_and_black_ones_passed_over(tmp_path, model):
    planes = [smooth_planes("yuv420p", 64, 48, seed) for seed in range(50)]
    black = [np.full_like(plane, code) for plane, code in zip(planes[0], (16, 128, 128), strict=True)]
    planes = [black if 23 <= number <= 29 else frame for number, frame in enumerate(planes)]
    path = write_video(tmp_path / "a.mkv", planes)
    times = [crop.seconds * 25 for crop in look(path, model).crops]
    assert [int(times[0]), int(times[2])] == [8, 42]
    assert 17 <= times[1] < 23 or 29 < times[1] <= 33
    made = look(path, model, span=Span(Fraction(0), Fraction(8, 25)), crops=4)
    assert [crop.seconds * 25 for crop in made.crops] == [1, 3, 5, 7]
    assert len(made.thumbnails) == 4


def test_a_short_video_shows_each_frame_once(tmp_path, model):
    path = write_video(tmp_path / "a.mkv", [smooth_planes("yuv420p", 64, 48, seed) for seed in range(2)])
    made = look(path, model, crops=5)
    assert sorted({crop.seconds * 25 for crop in made.crops}) == [crop.seconds * 25 for crop in made.crops] == [0, 1]


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_animations_are_frames_and_stay_so_in_the_estimate(tmp_path, model, name):
    images = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 48, 3), dtype=np.uint8)) for n in range(6)]
    images[0].save(tmp_path / name, save_all=True, append_images=images[1:], duration=100)
    made = look(tmp_path / name, model, estimate=True)
    assert [float(crop.seconds) for crop in made.crops] == [0.1, 0.3, 0.5]
    assert (made.frames, made.is_image) == (6, False)
    assert made.methods[0].estimate.problem == ""
    assert made.methods[0].estimate.bytes > 0


def test_numbered_images_are_frames(tmp_path, model):
    for number in range(4, 10):
        noise_image(tmp_path / f"{number:03}.png", 48, 40)
    made = look(tmp_path / "%03d.png", model, estimate=True, crops=2)
    assert (len(made.crops), made.frames) == (2, 6)
    assert made.methods[0].estimate.problem == ""


# --- mistakes ----------------------------------------------------------------------------------------------------


def test_mistakes_are_sentences(tmp_path, model):
    source = noise_image(tmp_path / "a.png", 40, 30)
    with pytest.raises(PreviewError, match=r"40,3 lies outside of .*a\.png, which has 40x30 pixels"):
        look(source, model, at=[(40, 3)])
    with pytest.raises(PreviewError, match="is a folder; name one image or video in it"):
        look(tmp_path, model)
    with pytest.raises(ValueError, match="at least 1"):
        look(source, model, crops=0)
    with pytest.raises(CheckpointError, match=r"none\.pth"):  # before the first model has computed anything
        look(source, model, "none.pth", progress=lambda *_: pytest.fail("it computes"))
    with pytest.raises(CheckpointError, match="bundled networks only"):
        look(source, model, denoise=[0.5])


def test_it_is_cancelled_and_reports_its_steps(tmp_path, model):
    source = noise_image(tmp_path / "a.png", 64, 64)
    steps: list[tuple[int, int]] = []
    preview(
        source, [model], crops=2, side=16, device="cpu", progress=lambda done, total, _: steps.append((done, total))
    )
    assert steps[-1] == (3, 3)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    with pytest.raises(Cancelled):
        look(source, model, cancelled=lambda: True)
