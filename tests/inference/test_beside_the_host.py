"""The core on a device that computes beside the host, played by the CPU with copies that arrive late."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from supertile.arch import VapSR, VapSRConfig
from supertile.inference import Cancelled, UpscaleError, Upscaler, memory
from supertile.tests.inference.late_copies import LateCopies
from supertile.weights.loader import load_model
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

MIXED = [(40, 60), (40, 60), (20, 20), (130, 40), (1, 1), (40, 60), (100, 150), (150, 100)]


def pixels(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def on_cpu(model, **options) -> Upscaler:
    return Upscaler(model, device="cpu", **{"precision": "fp32", **options})


def beside(model, **options) -> Upscaler:
    upscaler = on_cpu(model, **options)
    upscaler._stage.copies = LateCopies()
    return upscaler


@pytest.fixture(params=["joined there", "joined here"])
def joined(request, monkeypatch):
    """Where results are put together: on the device, or on the CPU where they do not fit."""
    there = request.param == "joined there"
    monkeypatch.setattr(memory, "joins_there", lambda *_: there)
    return there


@pytest.mark.parametrize(
    "options",
    [
        {"tile": 48, "overlap": 16, "batch": 1},
        {"tile": 48, "overlap": 16, "batch": 5},
        {"tile": 48, "overlap": 16, "seamless": "both"},
        {"tile": "whole"},
        {"tile": "whole", "self_ensemble": True, "seamless": "x"},
        {"tile": 48, "overlap": 16, "self_ensemble": True},
    ],
)
def test_every_image_comes_in_order_and_to_the_bit(vapsr, monkeypatch, joined, options):
    monkeypatch.setattr(memory, "strip_rows", lambda model, width, device: 16)
    images = [pixels(*size, seed=i) for i, size in enumerate(MIXED)]
    expected = list(on_cpu(vapsr, **options).stream(images))
    upscaler = beside(vapsr, **options)
    results = list(upscaler.stream(iter(images)))
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))
    assert upscaler._stage.copies.uploads == len(images)
    assert upscaler._stage.copies.downloads >= len(images) * joined
    assert not any(result.is_inference() for result in results)


def test_an_image_comes_down_in_one_copy_while_the_next_is_computed(enlarger):
    computed = []
    model = enlarger(before=lambda batch: computed.append(upscaler._stage.copies.under_way))
    upscaler = beside(model, tile=96, batch=1)
    assert len(upscaler.plan(96, 160)) == 3
    assert len(list(upscaler.stream([pixels(96, 160)] * 4))) == 4
    assert computed == [0] * 3 + [1] * 9
    assert upscaler._stage.copies.downloads == 4
    assert upscaler._stage.copies.most_under_way == 2, "one on its way, one just finished"


@pytest.mark.parametrize(("batch", "asked"), [(1, [2, 3, 4, 4]), (3, [3, 3, 6, 6, 6, 7, 7])])
def test_one_image_more_is_asked_for(enlarger, batch, asked):
    taken = 0

    def source() -> Iterator[Tensor]:
        nonlocal taken
        for _ in asked:
            taken += 1
            yield pixels(8, 8)

    assert [taken for _ in beside(enlarger(), batch=batch).stream(source())] == asked


def test_what_stays_on_the_device_in_fp32_is_given_at_once(enlarger):
    taken = 0

    def source() -> Iterator[Tensor]:
        nonlocal taken
        for _ in range(4):
            taken += 1
            yield pixels(8, 8)

    upscaler = beside(enlarger(), batch=1)
    assert [taken for _ in upscaler.stream(source(), keep_on_device=True)] == [1, 2, 3, 4]
    assert upscaler._stage.copies.downloads == 0


def test_static_tiles_are_the_same(vapsr):
    still, frames = pixels(96, 224), []
    for i in range(6):
        frames.append(still.clone())
        frames[-1][:, 4:12, 8 * i : 8 * i + 8] = 1
    plain, late = on_cpu(vapsr, tile=96, batch=1), beside(vapsr, tile=96, batch=1)
    expected = list(plain.stream(frames, reuse_static=True))
    results = list(late.stream(frames, reuse_static=True))
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))
    assert late.stats == plain.stats
    assert late.stats.tiles_reused > 0


@pytest.mark.parametrize("reuse_static", [False, True])
def test_a_stream_keeps_no_image_it_has_given_away(vapsr, reuse_static):
    results: list[StorageWeakRef] = []
    for result in beside(vapsr, tile=96, batch=2).stream(
        (pixels(96, 480, seed=i // 3) for i in range(9)), reuse_static=reuse_static
    ):
        results.append(StorageWeakRef(result.untyped_storage()))
        del result
        assert sum(not ref.expired() for ref in results) <= 2


def test_those_before_a_wrong_image_are_given(enlarger):
    stream = beside(enlarger(), batch=1).stream([pixels(8, 8), torch.zeros(8, 8), pixels(8, 8)])
    assert next(stream).shape == (3, 16, 16)
    with pytest.raises(UpscaleError, match=r"not \(8, 8\)"):
        next(stream)


def test_cancelling_goes_through(enlarger):
    stop = False
    upscaler = beside(enlarger(), batch=1)
    stream = upscaler.stream((pixels(10, 10, seed=i) for i in range(10)), cancelled=lambda: stop)
    next(stream)
    stop = True
    with pytest.raises(Cancelled):
        list(stream)


def test_a_caller_may_fill_the_same_memory_again(enlarger):
    buffer = torch.zeros(3, 8, 8)

    def source() -> Iterator[Tensor]:
        for i in range(6):
            buffer.fill_(i / 10)
            yield buffer

    means = [result.mean().item() for result in beside(enlarger(), batch=4).stream(source())]
    assert means == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_memory_that_runs_out_loses_nothing(enlarger):
    def before(batch: Tensor) -> None:
        if batch.shape[0] * batch.shape[2] * batch.shape[3] > 96 * 128:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    images = [pixels(*size, seed=i) for i, size in enumerate([(96, 96), (200, 96), (40, 40), (300, 300), (96, 96)])]
    results = list(beside(enlarger(before=before), tile=320, batch=3).stream(images))
    for image, result in zip(images, results, strict=True):
        larger = image.repeat_interleave(2, 1).repeat_interleave(2, 2)
        torch.testing.assert_close(result, larger, atol=1e-6, rtol=0)


def test_a_result_that_finds_no_room_there_is_joined_here(enlarger, monkeypatch):
    zeros = torch.zeros

    def refusing(*shape, device=None, **options):
        if device is not None:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return zeros(*shape, **options)

    image = pixels(40, 30)
    monkeypatch.setattr(torch, "zeros", refusing)
    [result] = beside(enlarger()).stream([image])
    assert torch.equal(result, image.repeat_interleave(2, 1).repeat_interleave(2, 2))


# --- half precision ----------------------------------------------------------------------------------------------


@pytest.fixture
def sometimes_overflowing(randomized, saved):
    """Its attention multiplies numbers beyond 65504: infinite in fp16 where an image is bright."""
    net = randomized(VapSR(VapSRConfig(scale=2, num_feat=8, num_blocks=1, attention_dim=12)))
    for branch in (net.body[0].proj_1, net.body[0].atten_branch.pointwise):
        branch.weight.data *= 3000
        branch.bias.data.zero_()
    net.conv_first.bias.data.zero_()
    return load_model(saved(net))


@pytest.mark.parametrize("keep_on_device", [False, True])
@pytest.mark.parametrize("tile", [48, "whole"])
def test_an_image_that_half_precision_cannot_hold_is_computed_again(
    sometimes_overflowing, caplog, joined, keep_on_device, tile
):
    options = {"tile": tile, "batch": 2, "overlap": 16}
    images = [pixels(40, 90, seed=i) * (1 if i % 2 else 1e-6) for i in range(6)]
    half = list(on_cpu(sometimes_overflowing, precision="fp16", **{**options, "batch": 1}).stream(images))
    exact = list(on_cpu(sometimes_overflowing, **options).stream(images))
    caplog.clear()
    seen: list[tuple[int, int]] = []
    upscaler = beside(sometimes_overflowing, precision="fp16", **options)
    with caplog.at_level(logging.WARNING):
        results = list(upscaler.stream(images, keep_on_device=keep_on_device, progress=lambda *step: seen.append(step)))
    for i, result in enumerate(results):
        torch.testing.assert_close(result, exact[i] if i % 2 else half[i], atol=1e-5, rtol=0)
    assert not torch.equal(half[0], exact[0])
    assert [record.getMessage() for record in caplog.records] == [
        "The model's output in float16 is not finite; such batches are computed in fp32."
    ]
    tiles = 6 * len(upscaler.plan(40, 90))
    assert upscaler.stats.tiles_computed == tiles
    assert seen[-1][0] == seen[-1][1]
    assert seen == sorted(seen)
