"""What people download loads: every container, wrapper and dtype comes out as the same tensors under the same names.

What must not load is in test_refused_files.py.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from supertile.weights.errors import CheckpointError, NotAModelError, WrongTensorsError
from supertile.weights.files import clean_names, drop_training_buffers, read_checkpoint, read_header, select_state

SHARED = Path(os.environ.get("SUPERTILE_SHARED") or Path(__file__).parents[2].parent / "shared")


def network(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """The state dict of a small network, with an index buffer as HAT has one."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "conv_first.weight": torch.randn(8, 3, 3, 3, generator=generator).to(dtype),
        "conv_first.bias": torch.randn(8, generator=generator).to(dtype),
        "relative_position_index_SA": torch.arange(256).reshape(16, 16),
        "layers.0.norm.weight": torch.randn(8, generator=generator).to(dtype),
        "conv_last.weight": torch.randn(3, 8, 3, 3, generator=generator).to(dtype),
    }


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def assert_same(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(got) == list(expected)
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype, name
        assert torch.equal(got[name], tensor), name


CONTAINERS = {
    "": lambda good, bad: good,
    "params_ema": lambda good, bad: {"params": bad, "params_ema": good},
    "params-ema": lambda good, bad: {"params-ema": good, "params": bad},
    "ema": lambda good, bad: {"model": bad, "ema": good},
    "params": lambda good, bad: {"params": good},
    "state_dict": lambda good, bad: {"epoch": 3, "state_dict": OrderedDict(good), "optimizer_states": [{"m": bad}]},
    "model_state_dict": lambda good, bad: {"model_state_dict": good, "optimizer_state_dict": {"state": {0: bad}}},
    "net_g": lambda good, bad: {"net_d": bad, "net_g": good, "iter": torch.tensor(5)},
    "generator > params_ema": lambda good, bad: {"generator": {"params": bad, "params_ema": good}},
    "model": lambda good, bad: {"model": good, "net": bad},
    "weights": lambda good, bad: {"iteration": 5, "weights": good},  # a key nobody agreed on
    "params_ema, none": lambda good, bad: {"params_ema": None, "params": good},
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("where", list(CONTAINERS))
def test_every_pickled_container_gives_the_network(tmp_path: Path, where: str, legacy: bool):
    path = tmp_path / "model.pth"
    torch.save(CONTAINERS[where](network(), network(seed=1)), path, _use_new_zipfile_serialization=not legacy)
    header, tensors = read_checkpoint(path)
    assert_same(tensors, network())
    kind = "PyTorch legacy pickle" if legacy else "PyTorch zip"
    where = "params" if where == "params_ema, none" else where
    assert header.container == (f"{kind}, {where}" if where else kind)
    assert {name: info.shape for name, info in header.tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in network().items()
    }
    assert read_header(path) == header


@pytest.mark.parametrize("extension", ["safetensors", "sft", "pth", "pt", "ckpt", "bin", "weights", ""])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_the_content_decides_not_the_extension(tmp_path: Path, kind: str, extension: str):
    path = tmp_path / f"model.{extension}"
    if kind == "safetensors":
        save_file(network(), path)
    else:
        torch.save(network(), path, _use_new_zipfile_serialization=kind == "zip")
    header, tensors = read_checkpoint(path)
    assert kind in header.container
    assert_same(dict(sorted(tensors.items())), dict(sorted(network().items())))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_tensors_keep_their_dtype(tmp_path: Path, kind: str, dtype: torch.dtype):
    path = tmp_path / "model"
    state = network(dtype=dtype)
    state["layers.0.norm.weight"] = state["layers.0.norm.weight"].float()  # a network with its norms in float32
    state["scalar"], state["empty"] = torch.tensor(2.5), torch.zeros(0, 3)
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    header, tensors = read_checkpoint(path)
    assert header.dtype == dtype
    assert_same({name: tensors[name] for name in state}, state)


def test_parameters_views_and_tied_tensors(tmp_path: Path):
    path = tmp_path / "model.pth"
    flat = torch.randn(1000)
    state = {
        "conv_first.weight": torch.nn.Parameter(flat[:216].view(8, 3, 3, 3)),
        "transposed": flat[216:316].view(10, 10).T,
        "tied.0": flat[400:],
        "tied.1": flat[400:],
        "note": "not a tensor",
        "count": 7,
    }
    torch.save(state, path)
    _, tensors = read_checkpoint(path)
    assert list(tensors) == ["conv_first.weight", "transposed", "tied.0", "tied.1"]
    assert all(torch.equal(tensor, state[name]) for name, tensor in tensors.items())
    assert tensors["transposed"].is_contiguous()
    assert not tensors["conv_first.weight"].requires_grad
    assert tensors["tied.0"].data_ptr() == tensors["tied.1"].data_ptr()
    assert tensors["conv_first.weight"].untyped_storage().nbytes() == 216 * 4  # the rest of `flat` is not kept


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_tensors_do_not_depend_on_the_file(tmp_path: Path, kind: str):
    path = tmp_path / "model"
    if kind == "safetensors":
        save_file(network(), path)
    else:
        torch.save(network(), path, _use_new_zipfile_serialization=kind == "zip")
    _, tensors = read_checkpoint(path)
    path.write_bytes(bytes(path.stat().st_size))  # in place: a mapped file would change under the tensors
    assert_same({name: tensors[name] for name in network()}, network())


def test_a_safetensors_header_is_read_without_the_tensors(tmp_path: Path):
    path = tmp_path / "large.safetensors"
    entries = {"conv_first.weight": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 4 * 10**9)  # sparse: takes no space on the disk
    start = time.process_time()
    assert read_header(path).tensors["conv_first.weight"].nbytes == 4 * 10**9
    assert time.process_time() - start < 0.5


class AttributeDict(dict[str, object]):
    """A trainer's own class."""


class Callback:
    def __init__(self) -> None:
        self.best = 3.5


def test_numpy_scalars_and_classes_of_trainers_beside_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "epoch=3.ckpt"
    torch.save(
        {
            "state_dict": AttributeDict(network()),
            "loss": np.float64(0.5),
            "history": np.arange(3),
            "hyper_parameters": AttributeDict(lr=1e-4),
            "callbacks": {Callback: Callback()},
            "folder": Path("runs"),
            "torch": torch.torch_version.TorchVersion("2.5"),
        },
        path,
    )
    monkeypatch.delattr(sys.modules[__name__], "Callback")  # as on any machine but the trainer's
    header, tensors = read_checkpoint(path)
    assert header.container == "PyTorch zip, state_dict"
    assert_same(tensors, network())


@pytest.mark.parametrize("protocol", [2, 3])
def test_pickle_protocols(tmp_path: Path, protocol: int):
    torch.save(network(), tmp_path / "a.pth", pickle_protocol=protocol)
    assert_same(read_checkpoint(tmp_path / "a.pth")[1], network())


# ---- names


PURE = ["module.", "_orig_mod.", "netG.", "net_g."]
WRAPPERS = [*PURE, "generator.", "model."]


@given(st.lists(st.sampled_from(WRAPPERS), max_size=6).map("".join))
def test_any_stack_of_wrappers_is_stripped_from_a_network(prefix: str):
    assert_same(clean_names(prefixed(prefix, network())), network())


@given(st.lists(st.sampled_from(WRAPPERS), max_size=3).map("".join))
def test_the_network_is_taken_out_of_a_mixture(prefix: str):
    mixture = {**prefixed("net_d.", network(seed=1)), **prefixed(prefix + "net_g.", network()), "loss.w": torch.ones(1)}
    assert_same(clean_names(mixture), network())


@given(st.lists(st.sampled_from(PURE), max_size=6).map("".join))
def test_unknown_architectures_lose_pure_wrappers_only(prefix: str):
    esrgan = {"model.0.weight": 1, "model.1.sub.0.RDB1.conv1.0.weight": 2}
    lama = {"generator.model.1.bn_l.running_mean": 3, "generator.model.1.ffc.weight": 4}
    for names in (esrgan, lama):
        assert clean_names({prefix + name: value for name, value in names.items()}) == names


@pytest.mark.parametrize(
    "names",
    [
        {"model.0.weight": 1, "module.0.weight": 2},  # no prefix in common
        {"net_d.0.weight": 1, "net_g.0.weight": 2},  # nothing says which is wanted
        {"mean": 1, "step": 2, "body.0.weight": 3, "n_averaged": 4},  # may be weights of theirs
        {"a._orig_mod.b": 1, "a.b": 2},  # stripping would make one of two
        {"module.": 1},
        {},
    ],
)
def test_uncertain_names_stay(names: dict[str, int]):
    assert clean_names(names) == names


def test_averaging_wrappers_and_partial_compilation():
    averaged = {"n_averaged": torch.tensor(3), **prefixed("module.", network())}
    assert_same(clean_names(averaged), network())
    assert clean_names({"n_averaged": 0, "module.body.weight": 1}) == {"body.weight": 1}
    ema = {"initted": 1, "step": 2, "online_model.conv_first.weight": 3, "ema_model.conv_first.weight": 4}
    assert clean_names(ema) == {"conv_first.weight": 4}
    assert clean_names({"conv_first.weight": 1, "layers.0._orig_mod.norm.weight": 2}) == {
        "conv_first.weight": 1,
        "layers.0.norm.weight": 2,
    }


def test_strays_are_dropped_and_nothing_else():
    strays = [
        "n_averaged", "step", "initted", "std_ema", "mean", "relative_position_index_SA", "relative_position_index_OCA",
        "layers.0.residual_group.blocks.1.attn_mask", "layers.0.residual_group.blocks.0.attn.relative_position_index",
        "norm.num_batches_tracked",
    ]  # fmt: skip
    weights = ["layers.0.attn.relative_position_bias_table", "body.mean", "step.weight", "norm.weight", "conv.bias"]
    assert list(drop_training_buffers(dict.fromkeys(strays + weights))) == weights


def test_lightning_checkpoint_from_a_file(tmp_path: Path):
    path = tmp_path / "epoch=3.ckpt"
    state = {**prefixed("net_g._orig_mod.", network()), **prefixed("net_d.", network(seed=1))}
    torch.save({"epoch": 3, "state_dict": state, "callbacks": {}, "optimizer_states": [], "lr": 1e-4}, path)
    header, tensors = read_checkpoint(path)
    assert_same(tensors, network())
    assert list(header.tensors) == list(network())


def test_select_state_looks_at_real_tensors_too():
    where, state = select_state({"params_ema": network(), "params": network(seed=1)})
    assert where == "params_ema"
    assert_same(state, network())
    cyclic: dict[str, object] = {"epoch": 1}
    cyclic["model"] = cyclic
    with pytest.raises(NotAModelError, match="this state dict"):
        select_state(cyclic)


# ---- what stands beside the tensors


ARGUMENTS = {"depths": [6, 6], "conv_scale": 0.01, "img_range": 1.0, "upsampler": "pixelshuffle"}


def test_constructor_arguments_of_redux(tmp_path: Path):
    save_file(network(), tmp_path / "a.safetensors", metadata={"format": "pt", "metadata": json.dumps(ARGUMENTS)})
    assert read_header(tmp_path / "a.safetensors").metadata == {"format": "pt", "metadata": ARGUMENTS}
    torch.save({"metadata": ARGUMENTS, "params": network()}, tmp_path / "a.pth")
    header = read_header(tmp_path / "a.pth")
    assert (header.metadata, header.container) == ({"metadata": ARGUMENTS}, "PyTorch zip, params")


@pytest.mark.parametrize("text", ["no json", "[1]", "[" * 5000, "3"])
def test_metadata_of_others_stays_text(tmp_path: Path, text: str):
    save_file(network(), tmp_path / "a.safetensors", metadata={"metadata": text})
    assert read_header(tmp_path / "a.safetensors").metadata == {"metadata": text}


def test_config_belongs_to_a_hub_file_or_to_the_only_checkpoint(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"base_win_size": [8, 8]}')
    config = {"base_win_size": [8, 8]}
    save_file(network(), tmp_path / "renamed.safetensors")
    assert read_header(tmp_path / "renamed.safetensors").config == config
    save_file(network(), tmp_path / "model.safetensors")
    assert read_header(tmp_path / "model.safetensors").config == config
    assert read_header(tmp_path / "renamed.safetensors").config == {}


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "\xff", "[" * 100_000, '{"a": "' + "x" * 1_000_000 + '"}'])
def test_a_config_of_no_use_is_ignored(tmp_path: Path, content: str):
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    save_file(network(), tmp_path / "model.safetensors")
    assert read_header(tmp_path / "model.safetensors").config == {}


def test_errors_are_one_sentence_and_survive_pickling():
    error = WrongTensorsError("a/b.pth", "two tensors are missing.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is WrongTensorsError
    assert isinstance(copy, CheckpointError)
    assert str(copy) == str(error) == f"Cannot load {Path('a/b.pth')}: two tensors are missing."
    assert copy.path == Path("a/b.pth")


# ---- real files


@pytest.mark.skipif(not (SHARED / "checkpoints/vapsr").is_dir(), reason="the official VapSR files are not at hand")
@pytest.mark.parametrize(("name", "count"), [("VapSR_X2", 248), ("VapSR_X3", 248), ("VapSR_X4", 260), ("VapSR-S", 140)])
def test_official_vapsr_files_give_params_ema(name: str, count: int):
    path = SHARED / f"checkpoints/vapsr/{name}.pth"
    official = torch.load(path, weights_only=True)
    assert not torch.equal(official["params"]["conv_first.weight"], official["params_ema"]["conv_first.weight"])
    header, tensors = read_checkpoint(path)
    assert_same(tensors, official["params_ema"])
    assert (header.container, header.dtype, len(tensors)) == ("PyTorch zip, params_ema", torch.float32, count)


@pytest.mark.skipif(not (SHARED / "checkpoints/golden").is_dir(), reason="the golden files are not at hand")
@pytest.mark.parametrize("name", ["hat_odd_x3", "hit_sng_x3", "hit_sir_small_3conv_ps_x2", "vapsr_odd_x3"])
def test_golden_files_equal_the_safetensors_library(name: str):
    path = SHARED / f"checkpoints/golden/{name}.sd.safetensors"
    expected = load_file(path)
    _, tensors = read_checkpoint(path)
    assert_same(dict(sorted(tensors.items())), dict(sorted(expected.items())))
