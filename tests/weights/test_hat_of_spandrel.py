"""HAT as programs get it that load models through spandrel, such as ComfyUI's *Load Upscale Model*."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from spandrel import MAIN_REGISTRY, ImageModelDescriptor, ModelLoader
from supertile.arch import HAT, HATConfig
from supertile.arch.hat import overlap_bias_index, window_bias_index
from supertile.weights.loader import load_model
from torch import Tensor

TINY = HATConfig(
    embed_dim=24, depths=(2,), num_heads=(2,), window_size=8, overlap_window=12, compress_dim=8, squeeze_dim=4,
    mlp_dim=48, oca_mlp_dim=48, num_feat=16, scale=2,
)  # fmt: skip
SPANDRELS = "spandrel.architectures.HAT"


@pytest.fixture
def state(randomized) -> dict[str, Tensor]:
    """A tiny HAT as the authors store it, with their tables of indices."""
    indices = {
        "relative_position_index_SA": window_bias_index(8),
        "relative_position_index_OCA": overlap_bias_index(8, TINY.overlap_window),
    }
    return {**randomized(HAT(TINY)).state_dict(), **indices}


@pytest.fixture
def model(state) -> ImageModelDescriptor:
    return ModelLoader().load_from_state_dict(state).eval()


def test_golden_cases_are_ours_to_the_bit_and_spandrels_within_the_limit(golden):
    if not golden.name.startswith("hat_"):
        pytest.skip("not a HAT")
    weights, image = load_file(golden.path), golden.io["input"]
    loaded = ModelLoader().load_from_state_dict(dict(weights)).eval()
    assert isinstance(loaded.model, HAT)
    with torch.inference_mode():
        result = loaded.model(image)
        assert result.equal(load_model(golden.path).model(image))
        theirs = MAIN_REGISTRY["HAT"].architecture.load(dict(weights)).model.eval()
        torch.testing.assert_close(result, theirs(image), atol=golden.limit, rtol=0)


def test_files_without_the_tables_of_indices_open_too(state, model):
    """As `supertile convert` writes them; spandrel alone takes them for no HAT."""
    image = torch.rand(1, 3, 16, 24)
    bare = ModelLoader().load_from_state_dict({n: t for n, t in state.items() if "index" not in n}).eval()
    assert bare(image.clone()).equal(model(image.clone()))


def test_a_hat_that_only_spandrel_knows_stays_its_own(state):
    """One with an absolute position embedding."""
    with_embedding = state | {"absolute_pos_embed": torch.zeros(1, 64 * 64, TINY.embed_dim)}
    assert type(ModelLoader().load_from_state_dict(with_embedding).model).__module__.startswith(SPANDRELS)


def test_it_says_of_itself_what_spandrels_says(state, model):
    theirs = MAIN_REGISTRY["HAT"].architecture.load(dict(state))
    facts = ("scale", "input_channels", "output_channels", "supports_half", "supports_bfloat16", "purpose", "tiling")
    for fact in facts:
        assert getattr(model, fact) == getattr(theirs, fact), fact
    assert model.architecture.id == model.architecture.name == theirs.architecture.name == "HAT"
    assert all(isinstance(tag, str) for tag in model.tags)
    assert type(model) is type(theirs)
    assert {"purpose", "dtype", "device"} <= set(dir(model))


@torch.inference_mode()
def test_it_bears_what_other_nodes_do_to_a_model(model):
    """Move it, probe it, call its network alone at any size, copy it, replace its call, compute in bfloat16."""
    image = torch.rand(1, 3, 21, 34)
    expected = model(image.clone())
    assert expected.shape == (1, 3, 42, 68)
    assert 0 <= expected.min() <= expected.max() <= 1
    assert model.to("cpu").cpu().eval()(image.clone()).equal(expected)
    assert model(torch.zeros(1, 3, 32, 32)).shape[-1] // 32 == model.scale
    assert model.model(image).clamp(0, 1).equal(expected)
    assert copy.deepcopy(model.model)(image).clamp(0, 1).equal(expected)
    calls = []
    inner, model._call_fn = model._call_fn, lambda network, x: calls.append(x.shape) or inner(network, x)
    assert model(image.clone()).equal(expected)
    assert calls == [image.shape]
    half = model.bfloat16()(image.bfloat16())
    assert half.dtype is torch.bfloat16
    assert (half.float() - expected).abs().max() < 0.05


@pytest.mark.parametrize(
    ("value", "module"), [("0", SPANDRELS), ("1", "supertile.arch.hat"), (None, "supertile.arch.hat")]
)
def test_a_variable_leaves_spandrels_in_place(state, tmp_path, value, module):
    save_file(state, tmp_path / "hat.safetensors")
    code = """
import sys, supertile
from spandrel import ModelLoader
print(type(ModelLoader().load_from_file(sys.argv[1]).model).__module__)
"""
    environment = {name: text for name, text in os.environ.items() if name != "SUPERTILE_SPANDREL_HAT"}
    environment |= {} if value is None else {"SUPERTILE_SPANDREL_HAT": value}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "hat.safetensors")],
        env=environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.strip().startswith(module)
