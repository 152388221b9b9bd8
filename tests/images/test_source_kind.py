"""Which images count as compressed or noisy: by their format, by measured blocks, by measured noise."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image
from supertile.images.choice import Identities, UpscalerChoice, upscaler_for
from supertile.images.source_kind import lossy_format, luma_kind, source_kind

RNG = np.random.default_rng(0)


def scene(side: int = 256) -> np.ndarray:
    """A smooth picture with edges, (H, W, 3)."""
    y, x = np.mgrid[:side, :side] / side
    waves = 120 + 60 * np.sin(9 * x + 4 * y) + 25 * ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06)
    return np.stack([waves, waves * 0.8 + 20, 200 - waves * 0.6], 2).round().astype(np.uint8)


def noisy(sigma: float) -> np.ndarray:
    image = scene()
    return (image + sigma * RNG.standard_normal(image.shape)).round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("a.jpg", {}, "is a JPEG"),
        ("named_wrongly.png", {"format": "JPEG"}, "is a JPEG"),
        ("a.webp", {"quality": 80}, "is a lossy WebP"),
        ("a.avif", {}, "is an AVIF image"),
        ("a.tif", {"compression": "jpeg"}, "is compressed as jpeg"),
    ],
)
def test_a_lossy_format_is_degraded(tmp_path, name, options, reason):
    Image.fromarray(scene()).save(tmp_path / name, **options)
    assert source_kind(tmp_path / name) == (True, reason)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {}), ("a.bmp", {}), ("a.tif", {}), ("a.webp", {"lossless": True}), ("a.gif", {}), ("a.tga", {})],
)
def test_a_clean_picture_in_a_lossless_file_is_clean(tmp_path, name, options):
    image = Image.fromarray(scene())
    (image.quantize(8, dither=Image.Dither.NONE) if name == "a.gif" else image).save(tmp_path / name, **options)
    assert source_kind(tmp_path / name) == (False, "is clean")


def test_webp_with_metadata_or_several_frames_is_looked_through(tmp_path):
    image, path = Image.fromarray(scene()), tmp_path / "a.webp"
    for options in ({"exif": Image.Exif().tobytes()}, {"save_all": True, "append_images": [image.rotate(90)]}):
        for lossless in (True, False):
            image.save(path, lossless=lossless, **options)
            assert source_kind(path).is_degraded is not lossless, (options, lossless)


@pytest.mark.parametrize("quality", [40, 75])
@pytest.mark.parametrize("offset", [0, 3])
def test_the_blocks_of_a_jpeg_show_in_a_lossless_copy(tmp_path, quality, offset):
    image = Image.fromarray(noisy(3))
    image.save(tmp_path / "a.jpg", quality=quality)
    with Image.open(tmp_path / "a.jpg") as decoded:
        decoded.crop((offset, offset, 250, 250)).save(tmp_path / "a.png")
    assert source_kind(tmp_path / "a.png") == (True, "has the blocks of a JPEG")


@pytest.mark.parametrize("sigma", [5, 10, 20])
def test_noise_is_measured(tmp_path, sigma):
    Image.fromarray(noisy(sigma)).save(tmp_path / "a.png")
    assert source_kind(tmp_path / "a.png") == (True, "is noisy")


def test_texture_text_and_pixel_art_are_not_noise(tmp_path):
    y, x = np.mgrid[:256, :256]
    texture = 128 + 50 * np.sin(x / 2.5) * np.sin(y / 3.5) + 30 * np.sin(x / 5 + y / 7)
    sprite = np.kron(RNG.integers(0, 4, (32, 32)) * 60, np.ones((9, 9)))
    page = np.full((256, 256), 255.0)
    page[20:230:12, 20:230] = 0
    for image in (texture, sprite, page):
        assert luma_kind(image.astype(np.float32)) == (False, "is clean")


def test_deep_gray_transparent_and_tiny_images_are_measured_too(tmp_path):
    gray = scene()[..., 0]
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    deep_noise = noisy(10)[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep_noise).save(tmp_path / "noisy.png")
    Image.fromarray(np.dstack([scene(), gray])).save(tmp_path / "alpha.png")
    Image.fromarray(scene(3)).save(tmp_path / "tiny.png")
    for name, degraded in (("deep", False), ("noisy", True), ("alpha", False), ("tiny", False)):
        assert source_kind(tmp_path / f"{name}.png").is_degraded is degraded, name


def test_what_cannot_be_read_counts_as_clean(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    assert source_kind(tmp_path / "a.png") == source_kind(tmp_path / "none.png") == (False, "")
    assert lossy_format(b"") == ""


def test_it_takes_milliseconds(tmp_path):
    luma = np.tile(scene()[..., 0].astype(np.float32), (3, 3))
    began = time.process_time()
    luma_kind(luma)
    assert time.process_time() - began < 0.5, "upscaling this image takes seconds"


def test_of_two_upscalers_those_that_are_needed_are_built_once(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.png", "d.png"):
        Image.fromarray(scene(64)).save(tmp_path / name)
    built, said = [], []

    class Upscaler:
        def __init__(self, degraded: bool) -> None:
            built.append(degraded)
            self.degraded = degraded

        def identity(self) -> dict[str, str]:
            return {"model": str(self.degraded)}

    choice = UpscalerChoice(Upscaler, inform=lambda source, kind: said.append(f"{source.name} {kind.reason}"))
    assert choice.of(tmp_path / "a.jpg").degraded
    assert built == [True]
    assert [choice.of(tmp_path / name).degraded for name in ("b.jpg", "c.png", "d.png")] == [True, False, False]
    assert (built, said) == ([True, False], ["a.jpg is a JPEG", "c.png is clean"])
    identities = Identities(choice)
    assert [identities.of(tmp_path / name)["model"] for name in ("a.jpg", "c.png")] == ["True", "False"]
    alone = object()
    assert upscaler_for(tmp_path / "a.jpg", alone) is alone
