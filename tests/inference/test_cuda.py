"""On a GPU: copies, graphs and the compiler themselves, which everywhere else are played."""

from __future__ import annotations

import logging
import random

import pytest
import torch
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from supertile.inference import Upscaler
from supertile.inference.accelerator.cuda_graphs import MIN_BATCHES
from supertile.weights.loader import load_model
from torch import Tensor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

HIT = {"depths": (3, 2), "num_heads": (2, 2), "base_window": (4, 4), "window_ratios": (0.5, 1, 2)}
NETWORKS = {
    "HAT": lambda: HAT(HATConfig(depths=(2, 1), num_heads=(6, 6))),
    "SRF": lambda: HiTSR(HiTSRConfig(variant="SRF", **HIT)),
    "SNG": lambda: HiTSR(HiTSRConfig(variant="SNG", **HIT)),
    "VapSR": lambda: VapSR(VapSRConfig(scale=2, num_feat=32, num_blocks=4, attention_dim=32)),
}
each_family = pytest.mark.parametrize("name", list(NETWORKS))


def pixels(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def model(saved, randomized):
    return lambda name: load_model(saved(randomized(NETWORKS[name]()), f"{name}.safetensors"))


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Without TF32, so that fp32 can be held against the CPU's."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch._dynamo.reset()


def held_against(results: list[Tensor], expected: list[Tensor], within: float) -> None:
    for result, exact in zip(results, expected, strict=True):
        assert result.device.type == "cpu"
        torch.testing.assert_close(result, exact, atol=within, rtol=0)


@each_family
@pytest.mark.parametrize("tile", [96, "whole"])
def test_twenty_images_of_any_size_are_those_of_the_cpu(model, name, tile):
    """Kept until the end: none is a view of memory that is used again."""
    sizes = random.Random(0)
    images = [pixels(sizes.randint(1, 200), sizes.randint(1, 200), seed=i) for i in range(20)]
    expected = list(Upscaler(model(name), device="cpu", precision="fp32", tile=tile).stream(images))
    upscaler = Upscaler(model(name), device="cuda", precision="fp32", tile=tile)
    held_against(list(upscaler.stream(images)), expected, 1e-3)
    buffer = torch.empty(3, 200, 200)

    def refilled():
        for image in images:
            place = buffer[:, : image.shape[1], : image.shape[2]]
            place.copy_(image)
            yield place

    held_against(list(upscaler.stream(refilled())), expected, 1e-3)
    kept = [result.cpu() for result in upscaler.stream(images, keep_on_device=True)]
    held_against(kept, expected, 1e-3)


@each_family
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_graph_gives_what_the_steps_give(model, name, precision, caplog):
    images = [pixels(64, 48, seed=i) for i in range(2 * MIN_BATCHES + 1)]
    options = {"device": "cuda", "precision": precision, "batch": 2}
    expected = list(Upscaler(model(name), **options).stream(images))
    upscaler = Upscaler(model(name), compile="auto", **options)
    for _ in range(2):
        held_against(list(upscaler.stream(images)), expected, 1e-4 if precision == "fp32" else 2e-2)
    assert upscaler._stage.engine.passes.recorder.shapes() == [(2, 3, 64, 48)], caplog.text


@each_family
def test_a_graph_is_made_beside_a_thread_that_allocates_page_locked_memory(model, name):
    import threading

    stop, errors = threading.Event(), []

    def allocate() -> None:
        try:
            size = 1
            while not stop.is_set():
                size = size * 3 % 1_000_003
                torch.empty(size, dtype=torch.uint8).pin_memory().to("cuda", non_blocking=True)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=allocate)
    thread.start()
    try:
        upscaler = Upscaler(model(name), device="cuda", precision="fp32", batch=1, compile="auto")
        for _ in upscaler.stream(pixels(40, 40, seed=i) for i in range(MIN_BATCHES + 2)):
            pass
    finally:
        stop.set()
        thread.join()
    assert errors == []
    assert upscaler._stage.engine.passes.recorder.shapes() == [(1, 3, 40, 40)]


@each_family
def test_a_compiled_network_gives_the_same(model, name, caplog):
    images = [pixels(32, 32, seed=i) for i in range(2 * MIN_BATCHES)]
    expected = list(Upscaler(model(name), device="cuda", precision="fp32", batch=2).stream(images))
    upscaler = Upscaler(model(name), device="cuda", precision="fp32", batch=2, compile="on")
    held_against(list(upscaler.stream(images)), expected, 1e-3)
    passes = upscaler._stage.engine.passes
    assert passes.compiler.shapes() == passes.recorder.shapes() == [(2, 3, 32, 32)], caplog.text


@pytest.mark.parametrize("keep_on_device", [False, True])
def test_what_fp16_cannot_hold_is_computed_in_fp32(randomized, saved, caplog, keep_on_device):
    net = randomized(VapSR(VapSRConfig(scale=2, num_feat=8, num_blocks=1, attention_dim=12)))
    for branch in (net.body[0].proj_1, net.body[0].atten_branch.pointwise):
        branch.weight.data *= 3000
    loaded = load_model(saved(net))
    images = [pixels(40, 30, seed=i) for i in range(5)]
    expected = list(Upscaler(loaded, device="cpu", precision="fp32").stream(images))
    upscaler = Upscaler(loaded, device="cuda", precision="fp16", batch=2)
    with caplog.at_level(logging.WARNING):
        results = [result.cpu() for result in upscaler.stream(images, keep_on_device=keep_on_device)]
    held_against(results, expected, 1e-2)
    assert [r.getMessage() for r in caplog.records] == [
        "The model's output in float16 is not finite; such batches are computed in fp32."
    ]


def test_nothing_waits_for_the_device_between_tiles(model):
    """PyTorch itself says where it does."""
    upscaler = Upscaler(model("VapSR"), device="cuda", precision="fp16", tile=96, batch=2)
    image = pixels(300, 300).cuda()
    list(upscaler.stream([image] * 3, keep_on_device=True))
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = list(upscaler.stream([image] * 3, keep_on_device=True))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(results) == 3


def test_memory_is_flat_in_the_number_of_images(model):
    upscaler = Upscaler(model("VapSR"), device="cuda", precision="fp32", tile=96, compile="auto")
    peaks = []
    for count in (6, 30):
        torch.cuda.reset_peak_memory_stats()
        for result in upscaler.stream(pixels(200, 200, seed=i) for i in range(count)):
            del result
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] <= 1.1 * peaks[0]
