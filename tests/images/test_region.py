"""Parts of an image compared with the same part of the whole result."""

from __future__ import annotations

import pytest
import torch
from supertile import Size, Upscaler, load_model
from supertile.arch import HAT, HATConfig
from supertile.images.io.picture import Picture
from supertile.images.region import Box, upscale_region
from supertile.images.resize import Part, resample, resize, resize_with_alpha
from supertile.images.upscale import upscale_image
from supertile.tests.conftest import write_small_vapsr

ROUNDING = 2e-5


@pytest.fixture(scope="module")
def upscaler(tmp_path_factory) -> Upscaler:
    """A network whose receptive field fits into the context."""
    path = write_small_vapsr(tmp_path_factory.mktemp("model") / "small.safetensors", num_feat=8)
    return Upscaler(path, device="cpu", precision="fp32")


def picture(width: int, height: int, *, alpha: bool = False, channels: int = 3) -> Picture:
    planes = torch.rand(channels + 1, height, width, generator=torch.Generator().manual_seed(3))
    return Picture(planes[:channels], (planes[channels:] * 2 - 0.5).clamp(0, 1) if alpha else None)


@pytest.mark.parametrize("size", ["2x", "1.37x", "5x", "0.6x", "301x222"])
@pytest.mark.parametrize("box", [Box(101, 67, 133, 99), Box(0, 0, 40, 30), Box(180, 140, 211, 159)])
def test_a_part_equals_that_part_of_the_whole(upscaler, size, box):
    image = picture(211, 159)
    whole = upscale_image(image, upscaler, size=size)
    left, top, right, bottom = box.scaled((211, 159), Size.parse(size).of(211, 159, 2))
    part = upscale_region(image, box, upscaler, size=size)
    assert (part.width, part.height) == (right - left, bottom - top)
    assert (part.color - whole.color[:, top:bottom, left:right]).abs().max() < ROUNDING


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [None, "1.7x"])
def test_transparency_too(upscaler, size, channels):
    image, box = picture(150, 140, alpha=True, channels=channels), Box(60, 50, 100, 80)
    whole = upscale_image(image, upscaler, size=size)
    left, top, right, bottom = box.scaled((150, 140), (whole.width, whole.height))
    part = upscale_region(image, box, upscaler, size=size)
    assert part.alpha is not None
    assert (part.alpha - whole.alpha[:, top:bottom, left:right]).abs().max() < ROUNDING
    visible = whole.alpha[:, top:bottom, left:right] > 0.02
    difference = (part.color - whole.color[:, top:bottom, left:right]).abs() * visible
    assert difference.max() < 10 * ROUNDING  # what is invisible is filled from afar, and seen at the edge


def test_windows_are_those_of_the_image(randomized, saved):
    """The channel attention of this small HAT weighs so little that its part is exact, but only on its grid."""
    net = randomized(HAT(HATConfig(scale=2, embed_dim=12, depths=(2,), num_heads=(2,), window_size=8, overlap_window=12,
                                   compress_dim=4, squeeze_dim=2, mlp_dim=24, oca_mlp_dim=24, num_feat=8)))  # fmt: skip
    upscaler = Upscaler(load_model(saved(net)), device="cpu", precision="fp32")
    assert upscaler.grid == 8
    image, box = picture(150, 130), Box(67, 53, 91, 80)
    whole = upscale_image(image, upscaler).color[:, 106:160, 134:182]
    assert (upscale_region(image, box, upscaler).color - whole).abs().max() < ROUNDING


@pytest.mark.parametrize("box", [(0, 0, 20, 10), (17, 5, 30, 40), (60, 40, 79, 47)])
def test_resampling_a_part_is_resampling_the_whole(box):
    x = torch.rand(2, 3, 37, 53, generator=torch.Generator().manual_seed(1))
    alpha = torch.rand(2, 1, 37, 53, generator=torch.Generator().manual_seed(2))
    size, (left, top, right, bottom) = (79, 47), box
    x0, x1 = max(0, left * 53 // 79 - 3), min(53, right * 53 // 79 + 4)
    y0, y1 = max(0, top * 37 // 47 - 3), min(37, bottom * 37 // 47 + 4)
    part = Part((53, 37), (x0, y0), box)
    given, given_alpha = x[..., y0:y1, x0:x1], alpha[..., y0:y1, x0:x1]
    rows, columns = slice(top, bottom), slice(left, right)
    torch.testing.assert_close(resample(given, size, part=part), resample(x, size)[..., rows, columns])
    torch.testing.assert_close(resize(given, size, part=part), resize(x, size)[..., rows, columns], atol=1e-5, rtol=0)
    pair, whole = resize_with_alpha(given, given_alpha, size, part=part), resize_with_alpha(x, alpha, size)
    for one, other in zip(pair, whole, strict=True):
        torch.testing.assert_close(one, other[..., rows, columns], atol=1e-5, rtol=0)
