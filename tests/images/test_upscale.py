"""An image through a model: every kind of channels, any size, and edges of transparency."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from supertile.images.alpha import fill_transparent, keep_in_local_range
from supertile.images.io.errors import ImageFileError
from supertile.images.io.files import read_image, write_image
from supertile.images.io.picture import Picture
from supertile.images.resize import resize
from supertile.images.size import SizeError
from supertile.images.upscale import upscale_image, upscale_image_file
from supertile.inference.errors import UpscaleError
from torch import Tensor

OFFICIAL = Path(__file__).parents[3] / "shared" / "checkpoints" / "vapsr" / "VapSR_X2.pth"


def smooth(channels: int, height: int = 12, width: int = 16) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([x, y, 1 - x])[:channels]


def disc(size: int = 40) -> Picture:
    """Red and opaque on transparent green, the edge antialiased."""
    axis = torch.arange(size) + 0.5
    radius = ((axis - size / 2) ** 2 + (axis[:, None] - size / 2) ** 2).sqrt()
    alpha = (size / 3 - radius + 0.5).clamp(0, 1)[None]
    color = torch.where(alpha > 0, torch.tensor([1.0, 0, 0])[:, None, None], torch.tensor([0, 1.0, 0])[:, None, None])
    return Picture(color, alpha)


@pytest.mark.parametrize("model_channels", [1, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_every_image_goes_through_every_model(bicubic, model_channels, channels, has_alpha):
    """A plain enlargement treats planes alike, so the result must not depend on how they are packed for the model."""
    alpha = 0.5 + smooth(1) / 2 if has_alpha else None
    picture = Picture(smooth(channels), alpha, 16, b"icc", b"exif", (300, 300))
    result = upscale_image(picture, bicubic(2, model_channels))
    torch.testing.assert_close(result.color, bicubic(2, channels)(smooth(channels)[None])[0])
    assert (result.bit_depth, result.icc, result.exif, result.dpi) == (16, b"icc", b"exif", (300, 300))
    if alpha is None:
        assert result.alpha is None
    else:
        torch.testing.assert_close(result.alpha, bicubic(2, 1)(alpha[None])[0], atol=0.03, rtol=0)


def test_models_of_other_channels_are_refused(bicubic):
    with pytest.raises(UpscaleError, match="2 channels"):
        upscale_image(Picture(smooth(3)), bicubic(2, 2))


@pytest.mark.parametrize(
    ("scale", "size", "runs"),
    [
        *((2, None, 1), (2, "2x", 1), (2, "1.5x", 1), (2, "0.5x", 1)),
        *((2, "3x", 2), (2, "4x", 2), (2, "5x", 3), (2, "stretch:32x25", 2), (4, "x48", 1), (1, "3x", 1)),
    ],
)
def test_the_model_runs_until_the_image_is_large_enough(bicubic, scale, size, runs):
    model = bicubic(scale)
    result = upscale_image(Picture(smooth(3)), model, size=size)
    assert len(model.calls) == runs
    expected = {None: (32, 24), "stretch:32x25": (32, 25), "x48": (64, 48)}.get(size)
    expected = expected or (int(16 * float(size[:-1])), int(12 * float(size[:-1])))
    assert (result.width, result.height) == expected


def test_another_size_is_one_resampling_in_linear_light(bicubic):
    result = upscale_image(Picture(smooth(3)), bicubic(4), size="3x")
    torch.testing.assert_close(result.color, resize(bicubic(4)(smooth(3)[None]), (48, 36))[0])


def test_a_seamless_image_stays_seamless_through_model_alpha_and_resampling(model_file):
    from supertile.inference.upscaler import Upscaler
    from supertile.weights.loader import load_model

    model = Upscaler(load_model(model_file), device="cpu", precision="fp32", seamless="x")
    planes = torch.rand(4, 16, 24, generator=torch.Generator().manual_seed(0))

    def enlarged(planes: Tensor) -> Tensor:
        result = upscale_image(Picture(planes[:3], planes[3:]), model, size="1.5x")
        return torch.cat([result.color, result.alpha])

    torch.testing.assert_close(enlarged(planes.roll(8, -1)), enlarged(planes).roll(12, -1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [None, "1.5x", "3x"])
def test_no_color_of_invisible_pixels_enters_the_edge(bicubic, size):
    result = upscale_image(disc(), bicubic(2), size=size)
    assert result.alpha is not None
    visible = result.alpha[0] > 0.5 / 255
    assert result.color[1][visible].max() < 1e-3
    assert result.color[0][visible].min() > 1 - 1e-3
    naive = bicubic(2)(disc().color[None])[0]
    assert naive[1][bicubic(2, 1)(disc().alpha[None])[0, 0] > 0.5 / 255].max() > 0.2  # what would have been seen


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official VapSR checkpoints are not here")
def test_edges_of_transparency_through_a_trained_network():
    from supertile.inference.upscaler import Upscaler
    from supertile.weights.loader import load_model

    model = Upscaler(load_model(OFFICIAL), device="cpu", precision="fp32")
    result = upscale_image(disc(32), model)
    assert result.alpha is not None
    visible = result.alpha[0] > 0.5 / 255
    assert result.color[1][visible].max() < 0.1
    assert result.color[0][visible].min() > 0.9
    assert result.alpha[0, 32, 32] == 1.0
    assert result.alpha[0, :4].max() == 0.0
    edge = result.alpha[0, 32]
    assert bool((edge[:33].diff() >= -0.02).all())  # rises from the outside to the middle


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_constant_transparency_stays_exactly_constant(upscaler, level):
    """Through a network of random weights: only what bypasses it can stay constant."""
    result = upscale_image(Picture(smooth(3), torch.full((1, 12, 16), level)), upscaler, size="3x")
    assert result.alpha is not None
    assert result.alpha.shape == (1, 36, 48)
    assert bool((result.alpha == level).all())


def test_opaque_and_empty_parts_stay_so_through_a_network_of_noise(upscaler):
    alpha = torch.zeros(1, 12, 16)
    alpha[..., 8:] = 1
    result = upscale_image(Picture(smooth(3), alpha), upscaler)
    assert result.alpha is not None
    assert bool((result.alpha[..., :14] == 0).all())
    assert bool((result.alpha[..., 18:] == 1).all())
    assert not bool((result.alpha[..., 14:18] == result.alpha[..., 14:15]).all())


def test_alpha_range_wraps_where_the_image_does():
    alpha = torch.zeros(1, 6, 6)
    alpha[..., 0] = 1
    enlarged = torch.full((1, 12, 12), 0.5)
    assert keep_in_local_range(enlarged, alpha)[..., -2:].max() == 0
    assert keep_in_local_range(enlarged, alpha, seamless="x")[..., -2:].max() == 0.5


def test_filling_keeps_visible_pixels_and_takes_the_nearest_colors():
    color, alpha = torch.zeros(3, 17, 33), torch.zeros(1, 17, 33)
    color[1] = 1
    color[:, :, :5] = torch.tensor([1.0, 0, 0])[:, None, None]
    color[:, :, -5:] = torch.tensor([0.0, 0, 1])[:, None, None]
    alpha[..., :5] = alpha[..., -5:] = 1
    filled = fill_transparent(color, alpha)
    visible = alpha[0] > 0
    torch.testing.assert_close(filled[:, visible], color[:, visible], atol=0, rtol=0)
    assert filled[1].max() < 1e-6
    assert filled[0, :, 5:7].min() > 0.9
    assert filled[2, :, -7:-5].min() > 0.9
    torch.testing.assert_close(filled.sum(0), torch.ones(17, 33))  # blends of the two and nothing else
    hidden = torch.zeros(1, 17, 33)
    assert fill_transparent(color, hidden) is color


def test_files_are_refused_before_the_model_runs(tmp_path, bicubic):
    source = tmp_path / "a.png"
    write_image(source, Picture(smooth(3)))
    model = bicubic(4)
    (tmp_path / "there.png").write_text("")
    for target, size in (("a.png", None), ("there.png", None), ("b.bmp", None), ("b.webp", "stretch:20000x100")):
        with pytest.raises(ImageFileError, match=target):
            upscale_image_file(source, tmp_path / target, model, size=size)
    with pytest.raises(SizeError, match="Size 'huge'"):
        upscale_image_file(source, tmp_path / "b.png", model, size="huge")
    assert model.calls == []


def test_a_file_becomes_a_larger_file_in_a_new_folder(tmp_path, upscaler):
    write_image(tmp_path / "a.png", Picture(smooth(1), None, 16))
    upscale_image_file(tmp_path / "a.png", tmp_path / "new" / "b.tif", upscaler, size="x30")
    result = read_image(tmp_path / "new" / "b.tif")
    assert (result.width, result.height, result.bit_depth, result.is_gray) == (40, 30, 16, True)


def test_the_caller_sees_every_run_of_the_model_and_may_stop_it(upscaler, tmp_path):
    from supertile.inference import Cancelled

    reports = []
    upscale_image(Picture(smooth(3)), upscaler, size="3x", progress=lambda *report: reports.append(report))
    assert reports == [(1, 1), (1, 1)], "twice 2x, then resampled"
    picture = Picture(smooth(3))
    with pytest.raises(Cancelled):
        upscale_image(picture, upscaler, cancelled=lambda: True)
    write_image(tmp_path / "a.png", picture)
    with pytest.raises(Cancelled):
        upscale_image_file(tmp_path / "a.png", tmp_path / "b.png", upscaler, cancelled=lambda: True)
    assert not (tmp_path / "b.png").exists()
