"""Networks of spandrel on the CPU keep channels where it is faster."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from spandrel import ImageModelDescriptor
from spandrel.architectures.Compact import Compact, CompactArch
from supertile import Upscaler
from supertile.arch.other_families.convolutions import Convolution, has_kernels
from supertile.inference import layout
from supertile.inference.measured import Speedup, speedup
from torch import nn


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Iterator[Path]:
    """The file that remembers choices, which does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    layout.CHOICES.forget()
    yield tmp_path / "supertile" / "layouts.json"
    layout.CHOICES.forget()


@pytest.fixture
def compact() -> ImageModelDescriptor:
    torch.manual_seed(0)
    return CompactArch().load(Compact(num_feat=16, num_conv=4, upscale=2).state_dict())


def is_last(descriptor: ImageModelDescriptor) -> bool:
    """True if it is the copy: channels are last in all weights that our kernel does not pack anyway."""
    layers = [each for each in descriptor.model.modules() if isinstance(each, nn.Conv2d) and each.in_channels > 1]
    return all(
        isinstance(each, Convolution) or each.weight.is_contiguous(memory_format=torch.channels_last) for each in layers
    )


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_channels_are_last_where_that_is_clearly_faster(cache, compact, monkeypatch, gain):
    monkeypatch.setattr(layout, "_speedup", lambda first, last: Speedup(gain, True))
    chosen = layout.in_fast_layout(compact)
    assert is_last(chosen) is (gain > layout.LEAST_GAIN)
    assert not is_last(compact)  # the caller's model is left alone
    assert list(json.loads(cache.read_text()).values()) == [gain > layout.LEAST_GAIN]


def test_a_choice_is_made_once_and_kept_for_other_processes(cache, compact, monkeypatch):
    monkeypatch.setattr(layout, "speedup", lambda *of: Speedup(speedup(*of).gain, True))  # however busy a machine is
    first = is_last(layout.in_fast_layout(compact))
    monkeypatch.setattr(layout, "_speedup", lambda *_: pytest.fail("measured again"))
    assert is_last(layout.in_fast_layout(compact)) is first
    layout.CHOICES.forget()  # as in a new process
    assert is_last(layout.in_fast_layout(compact)) is first
    cache.write_text(json.dumps({kind: 1 - last for kind, last in json.loads(cache.read_text()).items()}))
    layout.CHOICES.forget()
    assert is_last(layout.in_fast_layout(compact)) is not first


@pytest.mark.parametrize(
    ("measured", "kept"), [(Speedup(1.1, False), 0), (Speedup(1.1, True), 1), (Speedup(0.5, False), 1)]
)
def test_a_choice_of_a_busy_moment_is_kept_for_this_process_only(cache, compact, monkeypatch, measured, kept):
    monkeypatch.setattr(layout, "speedup", lambda *_: measured)
    chosen = is_last(layout.in_fast_layout(compact))
    assert chosen is (measured.gain > layout.LEAST_GAIN)
    assert (len(json.loads(cache.read_text())) if cache.exists() else 0) == kept
    monkeypatch.setattr(layout, "_speedup", lambda *_: pytest.fail("measured again"))
    assert is_last(layout.in_fast_layout(compact)) is chosen


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": "b"}', "[" * 100_000])
def test_a_damaged_file_of_choices_is_measured_over(cache, compact, monkeypatch, content):
    monkeypatch.setattr(layout, "speedup", lambda *_: Speedup(2.0, True))
    cache.parent.mkdir()
    cache.write_text(content)
    layout.in_fast_layout(compact)
    assert all(last in (0, 1) for last in json.loads(cache.read_text()).values())


@pytest.mark.parametrize("last", [False, True])
def test_results_are_those_of_the_network(cache, compact, monkeypatch, last):
    monkeypatch.setattr(layout, "_speedup", lambda *_: Speedup(2.0 if last else 0.5, True))
    image = torch.rand(1, 3, 20, 30)
    result = Upscaler(compact, device="cpu", precision="fp32")(image)
    with torch.inference_mode():
        torch.testing.assert_close(result, compact(image), atol=1e-5, rtol=0)
    assert result.is_contiguous()


@pytest.mark.skipif(not has_kernels(), reason="there are no kernels here")
def test_weights_that_a_kernel_packs_are_not_copied(cache, compact, monkeypatch):
    monkeypatch.setattr(layout, "_speedup", lambda *_: Speedup(2.0, True))
    chosen = layout.in_fast_layout(compact)
    names = [name for name, each in chosen.model.named_modules() if isinstance(each, Convolution)]
    assert len(names) == 5
    for name in names:
        ours, theirs = (each.model.get_submodule(name).weight for each in (chosen, compact))
        assert ours.data_ptr() == theirs.data_ptr()
    image = torch.rand(1, 3, 20, 30)
    before = layout.precisions.run(chosen, image)
    compact.model.double()  # as a host may move its model while we compute
    assert torch.equal(layout.precisions.run(chosen, image), before)


@pytest.mark.skipif(not has_kernels(), reason="there are no kernels here")
def test_weights_that_would_fill_the_memory_are_not_packed(cache, compact, monkeypatch):
    monkeypatch.setattr(layout, "_speedup", lambda *_: Speedup(2.0, True))
    packed = 4 * sum(weight.numel() * 4 for weight in layout.weights_for_kernels(compact.model))
    monkeypatch.setattr(layout.memory, "free_bytes", lambda _: 4 * packed - 4)
    assert layout.in_fast_layout(compact) is compact
    monkeypatch.setattr(layout.memory, "free_bytes", lambda _: 4 * packed)
    assert is_last(layout.in_fast_layout(compact))


def test_a_network_that_is_built_otherwise_stays_as_it_is(cache, compact, monkeypatch, caplog):
    """As another version of spandrel may do."""
    monkeypatch.setattr(layout, "use_kernels", lambda network: network.no_such_layer)
    with caplog.at_level(logging.DEBUG):
        assert layout.in_fast_layout(compact) is compact
    assert "RealESRGAN Compact computes without our kernels" in caplog.text


def test_tensors_of_other_ranks_stay_as_they_are(cache, compact, monkeypatch):
    monkeypatch.setattr(layout, "_speedup", lambda *_: Speedup(2.0, True))
    compact.model.register_parameter("volume", nn.Parameter(torch.rand(1, 2, 3, 4, 5)))
    chosen = layout.in_fast_layout(compact)
    assert is_last(chosen)
    assert chosen.model.volume.is_contiguous()


def test_a_network_whose_results_differ_keeps_its_layout(cache, compact, monkeypatch):
    run = layout.precisions.run
    monkeypatch.setattr(layout.precisions, "run", lambda each, image: run(each, image) + 0.01 * is_last(each))
    assert not is_last(layout.in_fast_layout(compact))


@pytest.mark.parametrize(("gain", "size"), [(1.06, 128), (1.04, 128), (1.5, 32), (0.7, 128)])
def test_what_is_not_a_clear_gain_is_measured_at_a_larger_size(cache, compact, monkeypatch, gain, size):
    measured = []

    def seconds_of(each: ImageModelDescriptor, image: torch.Tensor) -> float:
        return (0.5 if image.shape[-1] == 128 else 0.1) / (1 if each is compact else gain)

    monkeypatch.setattr(layout, "seconds_of", seconds_of)
    monkeypatch.setattr(layout, "speedup", lambda _, __, image: measured.append(image) or Speedup(gain, True))
    layout.in_fast_layout(compact)
    assert [image.shape[-1] for image in measured] == [size]


@pytest.mark.parametrize(("sorts_pixels", "change", "is_taken"), [(True, 0.01, 1), (True, 0.05, 0), (False, 0.01, 0)])
def test_a_network_that_rounding_changes_may_be_changed_as_much(
    cache, compact, monkeypatch, sorts_pixels, change, is_taken
):
    """ATD sorts pixels: which of them see each other may hang on the last bit. Nobody keeps a refusal."""
    run = layout.precisions.run
    usual = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def changed(each: ImageModelDescriptor, image: torch.Tensor) -> torch.Tensor:
        brighter = image.shape[-1] == 32 and not torch.equal(image, usual)
        return run(each, image) + change * is_last(each) + 0.02 * brighter

    monkeypatch.setattr(layout.precisions, "run", changed)
    monkeypatch.setattr(layout, "speedup", lambda *_: Speedup(2.0, True))
    monkeypatch.setattr(layout, "SIZES", (32,))
    monkeypatch.setattr(layout, "UNSTEADY", (compact.architecture.id,) if sorts_pixels else ())
    assert is_last(layout.in_fast_layout(compact)) is bool(is_taken)
    assert cache.exists() is bool(is_taken)
