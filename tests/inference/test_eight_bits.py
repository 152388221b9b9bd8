"""Networks of spandrel compute results of 8 bits in bf16 where that hardly shows and is faster; all others exactly."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from spandrel import ImageModelDescriptor
from spandrel.architectures.Compact import Compact, CompactArch
from spandrel.architectures.SPAN import SPAN, SPANArch
from supertile import Upscaler
from supertile.inference import eight_bits, layout, mixed, precision
from supertile.inference.measured import Speedup
from torch import nn

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Iterator[Path]:
    """The file that remembers choices, which does not exist yet; on a processor that multiplies bf16."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)  # PyTorch emulates it elsewhere
    monkeypatch.setattr(eight_bits, "speedup", lambda *_: Speedup(2.0, True))
    monkeypatch.setattr(layout, "_speedup", lambda *_: Speedup(1.0, True))
    for choices in (eight_bits.CHOICES, layout.CHOICES):
        choices.forget()
    yield tmp_path / "supertile" / "eight-bits.json"
    for choices in (eight_bits.CHOICES, layout.CHOICES):
        choices.forget()


@pytest.fixture
def compact() -> ImageModelDescriptor:
    torch.manual_seed(0)
    return CompactArch().load(Compact(num_feat=16, num_conv=4, upscale=2).state_dict())


@pytest.fixture
def compact_file(compact, tmp_path) -> Path:
    torch.save(compact.model.state_dict(), tmp_path / "compact.pth")
    return tmp_path / "compact.pth"


@pytest.fixture
def image() -> Image.Image:
    rows = torch.rand(24, 32, 3, generator=torch.Generator().manual_seed(0))
    return Image.fromarray((rows * 255).byte().numpy())


def test_a_result_of_8_bits_is_in_bf16_and_any_other_exact(compact, image):
    auto, exact = Upscaler(compact, device="cpu"), Upscaler(compact, device="cpu", precision="fp32")
    assert auto.dtype == torch.float32
    assert auto.for_depth(8).dtype == torch.bfloat16
    assert auto.for_depth(10) is auto
    tensor = torch.rand(1, 3, 20, 30)
    assert torch.equal(auto(tensor), exact(tensor))
    deep = np.asarray(image).astype(np.uint16) * 257
    assert np.array_equal(auto(deep), exact(deep))
    assert np.array_equal(auto(image), auto.for_depth(8)(image))
    difference = np.abs(np.asarray(auto(image)).astype(int) - np.asarray(exact(image)))
    assert difference.max() <= eight_bits.LARGEST_CODES


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_a_precision_that_was_asked_for_is_kept(compact, name):
    upscaler = Upscaler(compact, device="cpu", precision=name)
    assert upscaler.for_depth(8) is upscaler
    assert upscaler.precision == name


def test_a_network_that_would_show_it_computes_in_fp32(compact):
    last = compact.model.body[-1]
    last.weight.data *= 100  # as much noise as image
    assert Upscaler(compact, device="cpu").for_depth(8).dtype == torch.float32


@pytest.mark.parametrize("gain", [1.0, 1.1, 1.2])
def test_bf16_is_taken_where_it_is_clearly_faster(compact, monkeypatch, gain):
    monkeypatch.setattr(eight_bits, "speedup", lambda *_: Speedup(gain, True))
    dtype = torch.bfloat16 if gain > eight_bits.LEAST_GAIN else torch.float32
    assert Upscaler(compact, device="cpu").for_depth(8).dtype == dtype


def test_our_networks_and_other_processors_stay_exact(compact, monkeypatch):
    assert Upscaler("supertile-2x", device="cpu").precision == "fp32"
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: False)
    assert Upscaler(compact, device="cpu").precision == "fp32"


def test_a_choice_is_made_once_for_these_weights(cache, compact, monkeypatch):
    upscaler = Upscaler(compact, device="cpu")
    assert upscaler.agreement is None
    upscaler.for_depth(8)
    assert upscaler.agreement == pytest.approx(next(iter(json.loads(cache.read_text()).values())))
    assert upscaler.agreement > 50
    monkeypatch.setattr(eight_bits, "_measure", lambda *_: pytest.fail("measured again"))
    eight_bits.CHOICES.forget()  # as in a new process
    assert Upscaler(compact, device="cpu").precision == "fp32/bf16"
    compact.model.body[0].bias.data += 1
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        Upscaler(compact, device="cpu").for_depth(8)


@pytest.mark.parametrize(
    ("measured", "kept"), [(Speedup(1.2, False), 0), (Speedup(1.2, True), 1), (Speedup(9.0, False), 1)]
)
def test_a_choice_of_a_busy_moment_is_kept_for_this_process_only(cache, compact, monkeypatch, measured, kept):
    monkeypatch.setattr(eight_bits, "speedup", lambda *_: measured)
    assert Upscaler(compact, device="cpu").for_depth(8).dtype == torch.bfloat16
    assert (len(json.loads(cache.read_text())) if cache.exists() else 0) == kept
    monkeypatch.setattr(eight_bits, "_measure", lambda *_: pytest.fail("measured again"))
    assert Upscaler(compact, device="cpu").for_depth(8).dtype == torch.bfloat16


def test_other_processes_take_the_choice_over(compact_file, monkeypatch, image):
    upscaler = Upscaler(compact_file, device="cpu")
    data = pickle.dumps(upscaler)
    assert "bf16" in upscaler.identity()["precision"]
    monkeypatch.setattr(eight_bits, "bf16_agreement", lambda *_: pytest.fail("measured again"))
    other = pickle.loads(data)
    assert other.identity() == upscaler.identity()
    assert np.array_equal(other(image), upscaler(image))


def test_both_ends_are_exact(compact):
    image = precision.probe_image(3)
    half, output, exact = mixed.in_bf16(compact, image)
    plain = precision.run(precision.cast(compact, torch.bfloat16, CPU), image)
    assert torch.equal(exact, precision.run(compact, image))
    assert torch.equal(output, precision.run(half, image))
    assert precision.psnr(output, exact) > precision.psnr(plain, exact) + 3
    assert all(parameter.dtype == torch.float32 for parameter in compact.model.parameters())


def test_a_network_that_writes_its_own_weights_computes_in_bf16_all_the_same():
    torch.manual_seed(0)
    network = SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2)
    span = SPANArch().load(network.state_dict())
    half, output, exact = mixed.in_bf16(span, precision.probe_image(3))
    assert precision.is_autocast(half)
    assert 20 < precision.psnr(output, exact) < 80


def test_a_network_that_was_loaded_in_bf16_computes_in_it(compact):
    image = torch.rand(1, 3, 20, 30)
    exact = Upscaler(compact, device="cpu", precision="fp32")(image)
    half = precision.cast(compact, torch.bfloat16, CPU)
    for name in ("bf16", "auto"):
        result = Upscaler(half, device="cpu", precision=name)(image)
        assert not torch.equal(result, exact)
        assert precision.psnr(result, exact) > 40


class Strict(nn.Module):
    """A network that takes no dtype but that of its weights, nor autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, 3), 0.3), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != self.weight.dtype or torch.is_autocast_enabled("cpu"):
            raise RuntimeError("expected the same dtype")
        return (x.movedim(1, -1) @ self.weight).movedim(-1, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_network_that_cannot_be_mixed_is_in_bf16_as_a_whole(compact):
    network = Strict()
    descriptor = ImageModelDescriptor(
        network, network.state_dict(), architecture=compact.architecture, purpose="SR", tags=[], supports_half=True,
        supports_bfloat16=True, scale=2, input_channels=3, output_channels=3,
    )  # fmt: skip
    image = torch.rand(1, 3, 20, 30)
    exact, half = (Upscaler(descriptor, device="cpu", precision=name)(image) for name in ("fp32", "bf16"))
    assert 0 < float((half - exact).abs().max()) < 0.02


def test_limits_are_those_of_codes():
    exact = torch.full((1, 3, 100, 100), 0.5)
    assert eight_bits.hardly_shows(exact + 1 / 255, exact)
    assert not eight_bits.hardly_shows(exact + 2 / 255, exact)
    single = exact.clone()
    single[0, 0, 0, 0] += 3 / 255
    assert eight_bits.hardly_shows(single, exact)
    single[0, 0, 0, 0] += 2 / 255
    assert not eight_bits.hardly_shows(single, exact)
    assert not eight_bits.hardly_shows(exact * torch.nan, exact)
