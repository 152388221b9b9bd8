"""Chains and averages in an Upscaler: each network in its own tiles, one stream, one progress."""

from __future__ import annotations

import pytest
import torch
from supertile import Cancelled, blend_models, chain_models
from supertile.inference.spec import UpscalerSpec
from supertile.inference.upscaler import Upscaler
from supertile.tests.conftest import write_small_vapsr
from torch import Tensor

FP32 = {"device": "cpu", "precision": "fp32"}


def noise(count: int = 1, height: int = 40, width: int = 52) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tile", ["whole", 48])
def test_a_chain_equals_its_upscalers_one_after_the_other(vapsr, enlarger, tile):
    images = noise(3)
    repair, double = enlarger(1), vapsr
    chained = Upscaler(chain_models(repair, double, double), **FP32, tile=tile)
    by_hand = images
    for model in (repair, double, double):
        by_hand = Upscaler(model, **FP32, tile=tile)(by_hand)
    assert chained.scale == 4
    assert chained(images).equal(by_hand)


def test_a_chain_equals_its_plain_networks(vapsr):
    image = noise()
    with torch.inference_mode():
        expected = vapsr.model(vapsr.model(image).clamp(0, 1)).clamp(0, 1)
    result = Upscaler(chain_models(vapsr, vapsr), **FP32, tile="whole", edges="network")(image)
    torch.testing.assert_close(result, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_an_average_equals_that_of_its_upscalers(vapsr, enlarger, weight):
    images, other = noise(3), enlarger(2)
    result = Upscaler(blend_models(vapsr, other, weight), **FP32, tile=48)(images)
    first, second = (Upscaler(model, **FP32, tile=48)(images) for model in (vapsr, other))
    torch.testing.assert_close(result, (1 - weight) * first + weight * second, atol=1e-6, rtol=0)


def test_a_stream_is_lazy_and_reuses_static_tiles_in_every_network(vapsr, enlarger):
    upscaler = Upscaler(chain_models(vapsr, enlarger(2)), **FP32, tile=48)
    image, taken = noise()[0], []

    def images():
        for number in range(4):
            taken.append(number)
            yield image

    results = upscaler.stream(images(), reuse_static=True)
    first = next(results)
    assert len(taken) <= 2, "no more images are read than one batch of tiles takes"
    assert all(each.equal(first) for each in results)
    assert upscaler.stats.tiles_reused == 3 * upscaler.stats.tiles_computed


def test_an_average_survives_memory_that_is_filled_again(vapsr, enlarger):
    """One network may wait for a full batch while the other has finished the image."""
    upscaler = Upscaler(blend_models(enlarger(2), vapsr, 0.5), **FP32, tile=64, batch=4)
    buffer, images = torch.empty(3, 40, 52), noise(5)
    results = list(upscaler.stream(buffer.copy_(image) for image in images))
    torch.testing.assert_close(torch.stack(results), upscaler(images), atol=1e-6, rtol=0)


@pytest.mark.parametrize("combine", [chain_models, lambda a, b: blend_models(a, b, 0.5)])
def test_progress_adds_up_over_all_networks(vapsr, enlarger, combine):
    upscaler, seen = Upscaler(combine(vapsr, enlarger(2)), **FP32, tile=48, batch=1), []
    upscaler(noise(), progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {upscaler.steps(40, 52)}
    assert seen[-1][0] == seen[-1][1]


def test_a_chain_is_cancelled_before_any_batch(vapsr, enlarger):
    for calls in (1, 2):
        left = iter([False] * (calls - 1) + [True])
        with pytest.raises(Cancelled):
            Upscaler(chain_models(enlarger(1), vapsr), **FP32, tile=48, batch=1)(noise(), cancelled=lambda: next(left))  # noqa: B023


def test_models_of_scale_1_run_once_however_often_the_others_run(vapsr, enlarger):
    repair = enlarger(1)
    upscaler = Upscaler(chain_models(repair, vapsr), **FP32)
    once = upscaler.network(noise())
    repair.model.batches.clear()
    again = upscaler.network(once, again=True)
    assert repair.model.batches == []
    assert again.equal(Upscaler(vapsr, **FP32)(once))


def test_the_overlap_of_a_chain_is_what_all_need_together(vapsr):
    alone, chain = Upscaler(vapsr, **FP32), Upscaler(chain_models(vapsr, vapsr), **FP32)
    assert chain.overlap == alone.overlap + -(-alone.overlap // 2)


def test_the_identity_names_every_network_and_weight(vapsr, enlarger):
    other = enlarger(2)
    identities = {
        Upscaler(model, **FP32).identity()["model"]
        for model in (
            vapsr, other, chain_models(vapsr, other), chain_models(other, vapsr), blend_models(vapsr, other, 0.5),
            blend_models(vapsr, other, 0.25),
        )
    }  # fmt: skip
    assert len(identities) == 6


def test_a_spec_travels_and_builds_the_same(tmp_path, vapsr):
    path = write_small_vapsr(tmp_path / "a.safetensors")
    settings = (("precision", "fp32"), ("strength", 0.5))
    spec = UpscalerSpec(path, blend=("supertile-2x", 0.25), then=("supertile-photo-2x",), settings=settings)
    image = noise()
    model = chain_models(blend_models(path, "supertile-2x", 0.25), "supertile-photo-2x")
    expected = Upscaler(model, **FP32, strength=0.5)
    built = spec.build("cpu")
    assert built(image).equal(expected(image))
    assert built.identity() == expected.identity()
    assert spec.name == "a.safetensors, blended with 0.25 of supertile-2x, then supertile-photo-2x"
    assert spec.with_models(spec.models) == spec
