"""The Upscaler: what comes out is what the network makes of the whole image, however it was cut and batched."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from spandrel import ModelTiling
from supertile.arch import HiTSR, HiTSRConfig, VapSR, VapSRConfig
from supertile.inference import Cancelled, OutOfMemoryError, UpscaleError, Upscaler
from supertile.weights.loader import load_model
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


def pixels(height: int, width: int, seed: int = 0, channels: int = 3) -> Tensor:
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed))


def on_cpu(model, **options) -> Upscaler:
    return Upscaler(model, device="cpu", **{"precision": "fp32", **options})


def enlarged(image: Tensor, scale: int = 2) -> Tensor:
    return image.repeat_interleave(scale, -2).repeat_interleave(scale, -1)


def steps(a: Tensor, b: Tensor) -> float:
    """The largest difference in steps of an 8-bit image."""
    return 255 * (a - b).abs().max().item()


# --- tiles against the whole image -----------------------------------------------------------------------------


def test_official_vapsr_in_tiles_is_the_whole_image(official_vapsr, image_pairs, read_rgb):
    model = load_model(official_vapsr("VapSR_X4.pth"))
    image = read_rgb(image_pairs("Set5", 4)[0][0])
    whole = on_cpu(model, tile=None)(image[None])
    errors = []
    for overlap in (8, 16, 32):
        upscaler = on_cpu(model, tile=96, overlap=overlap)
        assert len(upscaler.plan(*image.shape[1:])) > 1
        errors.append(steps(upscaler(image[None]), whole))
    assert errors[0] > errors[1] > errors[2], errors
    assert errors[2] <= 0.25
    automatic = on_cpu(model, tile=96)
    assert automatic.plan(*image.shape[1:]) == upscaler.plan(*image.shape[1:]), "32 is the measured overlap"


def test_hat_in_tiles_differs_by_its_channel_attention_only(golden_case, image_pairs, read_rgb, tmp_path):
    """The attention averages over the tile. Without it, all that is left is local, and tiles become exact."""
    path = golden_case("hat_tiny_w8_x2").path
    image = read_rgb(image_pairs("Set5", 2)[0][0])[:, :64, :160]
    whole = on_cpu(load_model(path), tile=None)(image[None])
    upscaler = on_cpu(load_model(path), tile=96)
    assert upscaler.plan(64, 160).columns.origins == (0, 32, 64)
    assert steps(upscaler(image[None]), whole) <= 1.0
    save_file(load_file(path), tmp_path / "a.safetensors", {"metadata": json.dumps({"conv_scale": 0, "img_range": 1})})
    local = load_model(tmp_path / "a.safetensors")
    whole = on_cpu(local, tile=None)(image[None])
    assert steps(on_cpu(local, tile=96)(image[None]), whole) <= 0.05
    assert steps(on_cpu(local, tile=96, overlap=48)(image[None]), whole) <= 0.001


@pytest.mark.parametrize("size", [(64, 151), (61, 160)])
def test_hat_in_tiles_mirrors_at_the_border_as_the_whole_image_does(golden_case, size, tmp_path):
    sd = load_file(golden_case("hat_tiny_w8_x2").path)
    save_file(sd, tmp_path / "a.safetensors", {"metadata": json.dumps({"conv_scale": 0, "img_range": 1})})
    model, image = load_model(tmp_path / "a.safetensors"), pixels(*size)
    assert steps(on_cpu(model, tile=96, overlap=48)(image[None]), on_cpu(model, tile=None)(image[None])) <= 0.001


def test_hit_in_tiles_on_its_window_grid_is_the_whole_image(golden_case, image_pairs, read_rgb):
    """Windows of 4 to 32 pixels all align with tiles at multiples of 32; 64 pixels of context hold all it sees."""
    model = load_model(golden_case("hit_sir_small_3conv_ps_x2").path)
    image = read_rgb(image_pairs("Set5", 2)[0][0])[:, :64, :224]
    whole = on_cpu(model, tile=None)(image[None])
    upscaler = on_cpu(model, tile=192, overlap=64)
    assert upscaler.plan(64, 224).columns.origins == (0, 32)
    assert steps(upscaler(image[None]), whole) <= 0.01
    usual = on_cpu(model, tile=96)
    assert usual.plan(64, 224).columns.origins == (0, 32, 64, 96, 128)
    difference = usual(image[None]) - whole
    assert 255 * difference.abs().mean() <= 0.05


def test_tiles_of_the_sng_keep_pairs_of_windows(randomized, saved):
    """N-grams look at pairs of windows, and an odd number of them is mirrored: so may a tile's not be."""
    config = HiTSRConfig(
        variant="SNG", scale=2, embed_dim=20, depths=(2,), num_heads=(1,), window_ratios=(0.5, 1), mlp_dim=24
    )
    model = load_model(saved(randomized(HiTSR(config))))
    image = pixels(32, 160)
    upscaler = on_cpu(model, tile=96)
    plan = upscaler.plan(32, 160)
    assert plan.tile == (32, 96)
    assert all(origin % 8 == 0 for origin in plan.columns.origins)
    assert steps(upscaler(image[None]), on_cpu(model, tile=None)(image[None])) <= 0.01


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("size", [(5, 7), (64, 64), (50, 131), (200, 90)])
def test_tiles_and_batches_of_a_local_network_do_not_show(vapsr, size, batch):
    image = pixels(*size)[None]
    whole = vapsr.model(image).clamp(0, 1)
    for tile, overlap in (("auto", "auto"), (None, "auto"), (100, "auto"), (1, 16), (60, 18)):
        torch.testing.assert_close(
            on_cpu(vapsr, tile=tile, overlap=overlap, batch=batch)(image), whole, atol=1e-5, rtol=0
        )


def test_other_programs_models_run_as_they_are_called(described):
    """Those of spandrel pad to what they need themselves."""

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Parameter(torch.ones(1), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            return enlarged(torch.nn.functional.avg_pool2d(x, 4) * self.one, 8)

    model = described(Pooled())
    model.size_requirements = dataclasses.replace(model.size_requirements, multiple_of=4)
    image = pixels(70, 210)
    expected = model(image[None])
    upscaler = on_cpu(model, tile=100)
    assert all(origin % 4 == 0 for origin in upscaler.plan(70, 210).columns.origins)
    torch.testing.assert_close(upscaler(image[None]), expected, atol=1e-6, rtol=0)


def test_a_model_that_tiles_by_itself_gets_whole_images(described, enlarger):
    net = enlarger().model
    upscaler = on_cpu(described(net, tiling=ModelTiling.INTERNAL), tile=32)
    upscaler(pixels(200, 300)[None])
    assert net.batches == [(1, 200, 300)]


# --- seamless images -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [None, 96])
@pytest.mark.parametrize("axes", ["x", "y", "both"])
def test_rolling_a_seamless_image_rolls_its_result(vapsr, axes, tile):
    upscaler, image = on_cpu(vapsr, seamless=axes, tile=tile), pixels(60, 110)
    dims = {"x": (2,), "y": (1,), "both": (1, 2)}[axes]
    result = upscaler(image[None])[0]
    assert result.shape == (3, 120, 220)
    for shift in (1, 30, 53):
        rolled = upscaler(image.roll((shift,) * len(dims), dims)[None])[0]
        torch.testing.assert_close(rolled, result.roll((2 * shift,) * len(dims), dims), atol=1e-5, rtol=0)
    for dim in {1, 2} - set(dims):
        rolled = upscaler(image.roll(9, dim)[None])[0]
        assert (rolled - result.roll(18, dim)).abs().max() > 0.01, "the other side stays an end of the image"


def test_rolling_by_windows_rolls_the_result_of_windowed_networks(golden_case):
    model, image = load_model(golden_case("hit_sir_small_3conv_ps_x2").path), pixels(32, 64)
    upscaler = on_cpu(model, seamless="x", overlap=64, tile=None)
    result = upscaler(image[None])[0]
    assert steps(upscaler(image.roll(32, 2)[None])[0], result.roll(64, 2)) <= 0.01
    assert steps(on_cpu(model, tile=None)(image[None])[0], result) > 1


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (50, 3)])
def test_a_seamless_image_may_be_smaller_than_what_it_is_continued_by(vapsr, size):
    image = pixels(*size)
    around = [-(-20 // side) for side in size]  # so many copies before and behind
    repeated = image.repeat(1, 2 * around[0] + 1, 2 * around[1] + 1)
    rows, columns = (slice(2 * n * side, 2 * (n + 1) * side) for n, side in zip(around, size, strict=True))
    expected = on_cpu(vapsr, tile=None)(repeated[None])[0, :, rows, columns]
    torch.testing.assert_close(on_cpu(vapsr, seamless="both")(image[None])[0], expected, atol=1e-5, rtol=0)


# --- self-ensemble -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [None, 48])
def test_self_ensemble_is_the_mean_over_the_eight_flips_and_turns(vapsr, tile):
    image = pixels(40, 70)
    total = np.zeros((3, 80, 140))
    for quarter_turns in range(4):
        for mirrored in (False, True):
            turned = np.rot90(image.numpy(), quarter_turns, (1, 2))
            turned = np.flip(turned, 2) if mirrored else turned
            output = vapsr.model(torch.from_numpy(turned.copy())[None])[0].numpy()
            output = np.flip(output, 2) if mirrored else output
            total += np.rot90(output, -quarter_turns, (1, 2))
    expected = torch.from_numpy(total / 8).float().clamp(0, 1)
    result = on_cpu(vapsr, self_ensemble=True, tile=tile)(image[None])[0]
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
    assert (result - on_cpu(vapsr)(image[None])[0]).abs().max() > 0.01


# --- streams -----------------------------------------------------------------------------------------------------

MIXED = [(40, 60), (40, 60), (20, 20), (130, 40), (130, 40), (1, 1), (40, 60), (100, 150), (150, 100), (40, 60)]


@pytest.mark.parametrize("batch", [1, 2, 5, "auto"])
@pytest.mark.parametrize("tile", [None, 48])
def test_a_stream_gives_every_image_in_order(vapsr, tile, batch):
    images = [pixels(*size, seed=i) for i, size in enumerate(MIXED)]
    upscaler = on_cpu(vapsr, tile=tile, batch=batch, overlap=16)
    results = list(upscaler.stream(iter(images)))
    assert len(results) == len(images)
    for image, result in zip(images, results, strict=True):
        torch.testing.assert_close(result, vapsr.model(image[None])[0].clamp(0, 1), atol=1e-5, rtol=0)
    assert upscaler.stats.tiles_computed == sum(len(upscaler.plan(*size)) for size in MIXED)
    assert upscaler.stats.tiles_reused == 0


def test_a_batch_is_a_stream_of_its_images(vapsr):
    images = torch.stack([pixels(70, 50, seed=i) for i in range(5)])
    upscaler = on_cpu(vapsr, tile=48, overlap=16, batch=4)
    together, one_by_one = upscaler(images), list(upscaler.stream(images))
    assert together.shape == (5, 3, 140, 100)
    assert all(torch.equal(a, b) for a, b in zip(together, one_by_one, strict=True))


def test_nothing_comes_of_nothing(vapsr):
    assert on_cpu(vapsr)(torch.zeros(0, 3, 8, 9)).shape == (0, 3, 16, 18)
    assert list(on_cpu(vapsr).stream([])) == []


@pytest.mark.parametrize(
    ("batch", "sizes", "asked"),
    [
        (1, [(8, 8)] * 4, [1, 2, 3, 4]),
        (3, [(8, 8)] * 7, [3, 3, 3, 6, 6, 6, 7]),
        (2, [(8, 8), (8, 8), (8, 8), (9, 9), (9, 9)], [2, 2, 4, 5, 5]),  # of another size: no longer waited for
    ],
)
def test_images_are_asked_for_as_late_as_possible(enlarger, batch, sizes, asked):
    taken = 0

    def source() -> Iterator[Tensor]:
        nonlocal taken
        for size in sizes:
            taken += 1
            yield pixels(*size)

    stream = on_cpu(enlarger(), batch=batch).stream(source())
    assert taken == 0
    assert [taken for _ in stream] == asked


def test_tiles_of_several_images_share_a_batch(enlarger):
    model = enlarger()
    upscaler = on_cpu(model, batch=4)
    assert len(list(upscaler.stream([pixels(30, 20, seed=i) for i in range(10)]))) == 10
    assert model.model.batches == [(4, 30, 20), (4, 30, 20), (2, 30, 20)]
    model.model.batches.clear()
    upscaler = on_cpu(model, batch=4, tile=96)
    images = [pixels(96, 160, seed=i) for i in range(2)]
    assert len(upscaler.plan(96, 160)) == 3
    for image, result in zip(images, upscaler.stream(images), strict=True):
        torch.testing.assert_close(result, enlarged(image), atol=1e-6, rtol=0)
    assert model.model.batches == [(4, 96, 96), (2, 96, 96)]


def test_a_batch_of_its_own_choice_stays_small_for_large_tiles(enlarger):
    model = enlarger()
    list(on_cpu(model).stream([pixels(32, 32)] * 9 + [pixels(128, 129)] * 2))
    assert model.model.batches == [(8, 32, 32), (1, 32, 32), (1, 128, 129), (1, 128, 129)]


def test_a_caller_may_fill_the_same_memory_again(enlarger):
    buffer = torch.zeros(3, 8, 8)

    def source() -> Iterator[Tensor]:
        for i in range(6):
            buffer.fill_(i / 10)
            yield buffer

    means = [result.mean().item() for result in on_cpu(enlarger(), batch=4).stream(source())]
    assert means == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    results = []
    for result in on_cpu(enlarger(), batch=4).stream(source(), reuse_static=True):
        results.append(result.mean().item())
        result.zero_()  # a result belongs to whoever got it
    assert results == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("reuse_static", [False, True])
def test_a_stream_keeps_no_image_it_has_given_away(vapsr, reuse_static):
    """Nor the batches it came from, though each part of the image was last computed with another one."""
    results: list[StorageWeakRef] = []
    outputs: list[StorageWeakRef] = []
    hook = vapsr.model.register_forward_hook(lambda *call: outputs.append(StorageWeakRef(call[2].untyped_storage())))
    upscaler = on_cpu(vapsr, tile=96, batch=2)
    assert len(upscaler.plan(96, 480)) == 13

    def film() -> Iterator[Tensor]:
        frame = pixels(96, 480)
        for i in range(12):
            frame[:, :, 40 * i] = 0.5
            yield frame

    for result in upscaler.stream(film(), reuse_static=reuse_static):
        results.append(StorageWeakRef(result.untyped_storage()))
        del result
        assert sum(not ref.expired() for ref in results) <= 2
        assert sum(not ref.expired() for ref in outputs) <= 1
    hook.remove()
    assert upscaler.stats.tiles_reused == (12 * 13 - upscaler.stats.tiles_computed if reuse_static else 0)
    assert (upscaler.stats.tiles_computed < 6 * 13) == reuse_static


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_images_of_any_floating_point_type_and_layout(vapsr, dtype):
    image = pixels(20, 30)
    upscaler = on_cpu(vapsr)
    for given in (image.to(dtype), image.to(dtype).permute(1, 2, 0).contiguous().permute(2, 0, 1)):
        result = upscaler(given[None])
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, upscaler(given.float()[None]), atol=1e-6, rtol=0)


def test_results_are_ordinary_tensors_within_0_and_1(vapsr):
    weight = torch.ones(1, requires_grad=True)
    image = 40 * pixels(70, 70) - 20
    for options in ({}, {"tile": 48, "overlap": 16}, {"seamless": "both"}):
        upscaler = on_cpu(vapsr, **options)
        for result in (upscaler(image[None]), *upscaler.stream([image])):
            assert not result.is_inference()
            assert not result.requires_grad
            assert (result.device.type, result.dtype) == ("cpu", torch.float32)
            assert result.min() == 0
            assert result.max() == 1
            result += 1
            (weight * result).sum().backward()
    with torch.inference_mode():
        assert not on_cpu(vapsr)(image[None]).is_inference()


# --- static tiles ------------------------------------------------------------------------------------------------


def film(frames: int = 6) -> list[Tensor]:
    """A still background in which a spot moves along the upper edge."""
    still, result = pixels(96, 224), []
    for i in range(frames):
        frame = still.clone()
        frame[:, 4:12, 8 * i : 8 * i + 8] = 1
        result.append(frame)
    return result


@pytest.mark.parametrize("overlap", [24, 32])
def test_static_tiles_are_not_computed_again(vapsr, overlap):
    frames = film()
    plain, thrifty = (on_cpu(vapsr, tile=96, overlap=overlap, batch=1) for _ in range(2))
    expected = list(plain.stream(frames))
    results = list(thrifty.stream(frames, reuse_static=True))
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True)), "equal to the bit"
    plan = plain.plan(96, 224)
    changed = 0
    for before, after in pairwise(frames):
        changed += sum(not torch.equal(plan.cut(before, *at), plan.cut(after, *at)) for at in plan)
    assert 0 < changed < 5 * len(plan)
    assert thrifty.stats.tiles_computed == len(plan) + changed
    assert thrifty.stats.tiles_reused == 5 * len(plan) - changed
    assert plain.stats.tiles_computed == 6 * len(plan)


@pytest.mark.parametrize("batch", [2, 7, 100])
def test_static_tiles_may_still_be_waiting_for_their_batch(vapsr, batch):
    frames = film()
    upscaler = on_cpu(vapsr, tile=96, batch=batch)
    results = list(upscaler.stream(frames, reuse_static=True))
    for frame, result in zip(frames, results, strict=True):
        torch.testing.assert_close(result, vapsr.model(frame[None])[0].clamp(0, 1), atol=1e-5, rtol=0)
    assert upscaler.stats.tiles_computed + upscaler.stats.tiles_reused == 6 * len(upscaler.plan(96, 224))
    assert upscaler.stats.tiles_reused > 0


def test_only_the_previous_image_is_remembered(enlarger):
    a, b, other = pixels(20, 20, seed=1), pixels(20, 20, seed=2), pixels(20, 21, seed=1)
    upscaler = on_cpu(enlarger(), batch=1)
    frames = [a, a, b, a, other, other, a, a]
    results = list(upscaler.stream(frames, reuse_static=True))
    assert all(torch.equal(result, enlarged(frame)) for frame, result in zip(frames, results, strict=True))
    assert (upscaler.stats.tiles_computed, upscaler.stats.tiles_reused) == (5, 3)


def test_a_image_with_a_lost_pixel_is_never_static(enlarger):
    """NaN equals nothing, itself included, so such a tile is computed each time."""
    lost = pixels(8, 8)
    lost[0, 0, 0] = float("nan")
    upscaler = on_cpu(enlarger(), batch=1)
    list(upscaler.stream([lost, lost], reuse_static=True))
    assert upscaler.stats.tiles_reused == 0


# --- memory ------------------------------------------------------------------------------------------------------


def limit(pixels: int, error: type[Exception] | None = None):
    """Raises what a device raises whose memory holds so many pixels at once."""

    def check(batch: Tensor) -> None:
        if batch.shape[0] * batch.shape[2] * batch.shape[3] > pixels:
            raise (error or torch.OutOfMemoryError)("CUDA out of memory. Tried to allocate 20.00 GiB.")

    return check


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_out_of_memory_halves_the_batch_then_the_tile(enlarger, caplog, error):
    model = enlarger(before=limit(128 * 128, error))
    upscaler = on_cpu(model, tile=512, batch=8)
    images = [pixels(512, 512, seed=i) for i in range(3)]
    with caplog.at_level(logging.WARNING):
        for image, result in zip(images, upscaler.stream(images), strict=True):
            torch.testing.assert_close(result, enlarged(image), atol=1e-6, rtol=0)
    assert [record.getMessage() for record in caplog.records] == [
        "Out of memory with 3 tiles at once; going on with 1.",
        "Out of memory with a tile of 512 pixels; going on with 256.",
        "Out of memory with a tile of 214 pixels; going on with 107.",
    ]
    assert {shape[1:] for shape in model.model.batches} == {upscaler.plan(512, 512).tile}
    assert upscaler.stats.tiles_computed == 3 * len(upscaler.plan(512, 512))
    assert torch.equal(upscaler(images[0][None]), upscaler(images[0][None])), "and it goes on so"


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_out_of_memory_loses_no_image_of_a_mixed_stream(enlarger, batch, caplog):
    """Wherever it strikes: at a change of sizes, with others waiting; and what did not fit is not tried again."""
    sizes = [(96, 96), (96, 96), (200, 96), (96, 300), (40, 40), (300, 300), (300, 300), (96, 96), (200, 200), (128, 1)]
    images = [pixels(*size, seed=i) for i, size in enumerate(sizes)]
    for limit_pixels in (96 * 96, 96 * 128, 200 * 200, 2 * 96 * 96, 300 * 300):
        upscaler = on_cpu(enlarger(before=limit(limit_pixels)), tile=320, batch=batch)
        results = list(upscaler.stream(images))
        assert len(results) == len(images)
        for image, result in zip(images, results, strict=True):
            torch.testing.assert_close(result, enlarged(image), atol=1e-6, rtol=0)
        again = list(upscaler.stream(images, reuse_static=True))
        assert all(torch.equal(a, b) for a, b in zip(results, again, strict=True))
        tiles = [r.args[1] for r in caplog.records if "with a tile of" in r.msg]
        assert tiles == sorted(tiles, reverse=True)
        caplog.clear()


def test_out_of_memory_with_static_tiles_waiting(enlarger):
    upscaler = on_cpu(enlarger(before=limit(96 * 96)), tile=192, batch=4)
    frames = [pixels(192, 192, seed=i // 3) for i in range(9)]
    results = list(upscaler.stream(frames, reuse_static=True))
    for frame, result in zip(frames, results, strict=True):
        torch.testing.assert_close(result, enlarged(frame), atol=1e-6, rtol=0)


def test_memory_that_is_short_once_only_costs_one_step(enlarger):
    calls = 0

    def before(batch: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise torch.OutOfMemoryError("another program took it")

    upscaler = on_cpu(enlarger(before=before), tile=96, batch=2)
    images = [pixels(160, 160, seed=i) for i in range(2)]
    for image, result in zip(images, upscaler.stream(images), strict=True):
        torch.testing.assert_close(result, enlarged(image), atol=1e-6, rtol=0)
    assert upscaler.plan(160, 160).tile == (96, 96)


@pytest.mark.parametrize("reuse_static", [False, True])
@pytest.mark.parametrize("at", range(2, 10))
def test_memory_may_get_short_in_the_middle_of_a_image(enlarger, at, reuse_static):
    """What of it was done with larger tiles is forgotten, in the result and in what progress counts."""
    calls, seen = 0, []

    def before(batch: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls >= at:
            limit(100 * 100)(batch)

    upscaler = on_cpu(enlarger(before=before), tile=160, batch=2, overlap=24)
    images = [pixels(300, 150, seed=i // 2) for i in range(5)]
    results = list(upscaler.stream(images, reuse_static=reuse_static, progress=lambda *counts: seen.append(counts)))
    for image, result in zip(images, results, strict=True):
        torch.testing.assert_close(result, enlarged(image), atol=1e-6, rtol=0)
    assert len(results) == len(images)
    assert all(0 < done <= known for done, known in seen)
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize("tiling", [ModelTiling.SUPPORTED, ModelTiling.INTERNAL])
def test_below_the_smallest_tile_there_is_a_clear_error(enlarger, described, tiling):
    model = described(enlarger(before=limit(90 * 90)).model, tiling=tiling)
    side = 200 if tiling == ModelTiling.INTERNAL else 92
    upscaler = on_cpu(model, tile=200, batch=4)
    with pytest.raises(OutOfMemoryError, match=f"not enough memory on cpu for a tile of {side}x{side} pixels; close"):
        upscaler(pixels(200, 200).expand(5, 3, 200, 200))
    result = upscaler(pixels(80, 80)[None])
    assert torch.equal(result[0], enlarged(pixels(80, 80))), "smaller images still go"


def test_an_allocation_the_system_refuses_is_out_of_memory(enlarger):
    def before(batch: Tensor) -> None:
        torch.empty(1 << 58, dtype=torch.uint8)

    with pytest.raises(OutOfMemoryError) as raised:
        on_cpu(enlarger(before=before))(pixels(10, 10)[None])
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert isinstance(raised.value, UpscaleError)


def test_other_errors_of_a_network_go_through(enlarger):
    def before(batch: Tensor) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        on_cpu(enlarger(before=before), batch=4)(pixels(10, 10)[None])


# --- the host ----------------------------------------------------------------------------------------------------


def test_progress_counts_the_tiles_done_and_known(vapsr):
    seen: list[tuple[int, int]] = []
    upscaler = on_cpu(vapsr, tile=96, batch=1)

    def progress(done: int, total: int) -> None:
        seen.append((done, total))

    upscaler(pixels(96, 160)[None], progress=progress)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    seen.clear()
    list(upscaler.stream([pixels(96, 160), pixels(8, 8)], progress=progress))
    assert seen == [(1, 3), (2, 3), (3, 3), (4, 4)]
    seen.clear()
    on_cpu(vapsr, batch=2)(pixels(8, 8).expand(5, 3, 8, 8), progress=progress)
    assert seen == [(2, 2), (4, 4), (5, 5)]


def test_progress_never_ends_above_or_below_what_there_is(enlarger):
    seen: list[tuple[int, int]] = []
    upscaler = on_cpu(enlarger(before=limit(96 * 128)), tile=300, batch=2)
    images = [pixels(96, 96), pixels(300, 300), pixels(300, 300)]
    list(upscaler.stream(images, reuse_static=True, progress=lambda *counts: seen.append(counts)))
    assert all(0 < done <= total for done, total in seen)
    assert seen[-1][0] == seen[-1][1] == 1 + 2 * len(upscaler.plan(300, 300))


def test_cancelling_stops_before_the_next_batch(enlarger):
    model, stop = enlarger(), False
    upscaler = on_cpu(model, batch=2)
    stream = upscaler.stream((pixels(10, 10, seed=i) for i in range(10)), cancelled=lambda: stop)
    assert len([next(stream) for _ in range(4)]) == 4
    stop = True
    with pytest.raises(Cancelled):
        next(stream)
    assert model.model.batches == [(2, 10, 10)] * 2
    stop = False
    again = upscaler(pixels(10, 10)[None], cancelled=lambda: stop)
    assert torch.equal(again[0], enlarged(pixels(10, 10))), "an Upscaler survives it"


@pytest.mark.parametrize("name", ["progress", "cancelled"])
def test_what_the_host_raises_goes_through(enlarger, name):
    class Interrupted(Exception):
        pass

    def interrupt(*counts: int) -> bool:
        raise Interrupted

    with pytest.raises(Interrupted):
        on_cpu(enlarger())(pixels(10, 10)[None], **{name: interrupt})


# --- half precision ----------------------------------------------------------------------------------------------


@pytest.fixture
def overflowing(randomized, saved):
    """Its attention multiplies numbers beyond 65504: infinite in fp16, fine in bf16 and fp32."""
    net = randomized(VapSR(VapSRConfig(scale=2, num_feat=8, num_blocks=1, attention_dim=12)))
    for branch in (net.body[0].proj_1, net.body[0].atten_branch.pointwise):
        branch.weight.data *= 3000
    return load_model(saved(net))


def test_what_half_precision_cannot_hold_is_computed_in_fp32(overflowing, caplog):
    upscaler = on_cpu(overflowing, precision="fp16", batch=1)
    images = [pixels(16, 20, seed=i) for i in range(3)]
    with caplog.at_level(logging.WARNING):
        results = list(upscaler.stream(images))
    expected = [overflowing.model(image[None])[0].clamp(0, 1) for image in images]
    for result, exact in zip(results, expected, strict=True):
        torch.testing.assert_close(result, exact, atol=1e-6, rtol=0)
    assert [record.getMessage() for record in caplog.records] == [
        "The model's output in float16 is not finite; such batches are computed in fp32."
    ]


def test_not_a_number_in_fp32_is_the_models_own_doing(enlarger, caplog):
    with caplog.at_level(logging.WARNING):
        on_cpu(enlarger())(torch.full((1, 3, 8, 8), float("nan")))
    assert caplog.records == []


# --- arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tile": 0}, "tile is auto or whole or None or a whole number of at least 1, not 0"),
        ({"tile": -5}, "not -5"),
        ({"tile": 64.0}, "not 64.0"),
        ({"tile": "large"}, "not 'large'"),
        ({"tile": True}, "not True"),
        ({"overlap": -1}, "overlap is auto or a whole number of at least 0, not -1"),
        ({"overlap": None}, "not None"),
        ({"batch": 0}, "batch is auto or a whole number of at least 1, not 0"),
        ({"batch": "2"}, "not '2'"),
        ({"seamless": "z"}, "seamless is one of none, x, y, both, not 'z'"),
        ({"seamless": True}, "not True"),
        ({"precision": "fp8"}, "precision is one of auto, fp32, fp16, bf16, not 'fp8'"),
        ({"precision": torch.float16}, "precision is one of"),
    ],
)
def test_wrong_arguments_name_the_right_ones(vapsr, options, words):
    with pytest.raises(ValueError, match=words):
        on_cpu(vapsr, **options)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "", "nonsense:1"])
def test_a_device_that_cannot_be_had(vapsr, device):
    with pytest.raises(UpscaleError, match=f"the device '{device}' cannot be used"):
        Upscaler(vapsr, device=device)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 8, 8), r"\(N, C, H, W\), not \(3, 8, 8\)"),
        ((1, 1, 8, 8), r"takes images of the shape \(3, H, W\), not \(1, 8, 8\)"),
        ((1, 4, 8, 8), r"not \(4, 8, 8\)"),
        ((1, 3, 0, 8), r"not \(3, 0, 8\)"),
    ],
)
def test_images_of_a_wrong_shape(vapsr, shape, words):
    with pytest.raises(UpscaleError, match=words):
        on_cpu(vapsr)(torch.zeros(shape))


def test_a_wrong_image_in_a_stream_ends_it_after_those_before(enlarger):
    stream = on_cpu(enlarger(), batch=1).stream([pixels(8, 8), torch.zeros(8, 8), pixels(8, 8)])
    assert next(stream).shape == (3, 16, 16)
    with pytest.raises(UpscaleError, match=r"not \(8, 8\)"):
        next(stream)


def test_whole_numbers_are_not_a_image(vapsr):
    with pytest.raises(UpscaleError, match=r"floating point numbers in \[0, 1\], not torch.uint8"):
        on_cpu(vapsr)(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
