"""convert_checkpoint: the same network under the official names, with what shapes cannot tell written beside it."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from spandrel.architectures.Compact import Compact
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from supertile.weights.errors import CheckpointError, UnreadableCheckpointError, WrongTensorsError
from supertile.weights.loader import convert_checkpoint, inspect_checkpoint, load_model

HAT_TINY = {
    "scale": 2, "embed_dim": 12, "depths": (2,), "num_heads": (2,), "window_size": 4, "overlap_window": 6,
    "compress_dim": 4, "squeeze_dim": 3, "mlp_dim": 16, "oca_mlp_dim": 20, "num_feat": 8,
}  # fmt: skip
HIT_TINY = {
    "variant": "SIR", "scale": 2, "embed_dim": 20, "depths": (3,), "num_heads": (2,), "window_ratios": (0.5, 1, 2),
}  # fmt: skip
VAPSR_TINY = {"scale": 2, "num_feat": 8, "num_blocks": 2, "attention_dim": 12}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def header(path: Path) -> dict[str, object]:
    """What our key of the safetensors header says, read by the safetensors library."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["supertile"])


def test_a_golden_file_converted_is_the_same_network(golden, tmp_path):
    target = tmp_path / "converted.safetensors"
    told = convert_checkpoint(golden.path, target, **golden.options)
    before, after = load_file(golden.path), load_file(target)
    tables = {name for name in before if "relative_position_index" in name}
    assert set(after) == set(before) - tables
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert told == inspect_checkpoint(target)
    first = inspect_checkpoint(golden.path, **golden.options)
    assert told.hyperparameters == first.hyperparameters, "without being told again"
    assert (told.family, told.variant, told.parameters) == (first.family, first.variant, first.parameters)
    assert told.not_inferable == first.not_inferable, "a default does not become knowledge by being written down"
    assert header(target)["family"] == told.family
    assert header(target)["scale"] == golden.facts["scale"]
    with torch.inference_mode():
        error = (load_model(target).model(golden.io["input"]) - golden.io["output"]).abs().max()
    assert error <= golden.limit


def test_an_official_file_becomes_less_than_half(official_vapsr, tmp_path):
    source, target = official_vapsr("VapSR_X4.pth"), tmp_path / "VapSR x4.safetensors"
    info = convert_checkpoint(source, target)
    averaged, converted = torch.load(source, weights_only=True)["params_ema"], load_file(target)
    assert info.container == "safetensors"
    assert set(converted) == set(averaged)
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in converted.items())
    assert target.stat().st_size < source.stat().st_size / 2


def test_wrappers_and_strays_are_left_behind(tmp_path, randomized):
    net = randomized(HAT(HATConfig(**HAT_TINY)))
    state = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    state |= {"module.relative_position_index_SA": torch.zeros(16, 16), "n_averaged": torch.tensor(1)}
    torch.save({"state_dict": state, "optimizer": {"lr": 1.0}}, tmp_path / "a.ckpt")
    convert_checkpoint(tmp_path / "a.ckpt", tmp_path / "a.safetensors")
    assert set(load_file(tmp_path / "a.safetensors")) == set(net.state_dict())


@pytest.mark.parametrize("dtype", ["keep", *DTYPES])
@pytest.mark.parametrize("stored", list(DTYPES))
def test_the_dtype_is_the_wanted_one(tmp_path, randomized, stored, dtype):
    net = randomized(VapSR(VapSRConfig(**VAPSR_TINY)))
    before = {name: tensor.to(DTYPES[stored]) for name, tensor in net.state_dict().items()}
    save_file(before, tmp_path / "a.safetensors")
    info = convert_checkpoint(tmp_path / "a.safetensors", tmp_path / "b.safetensors", dtype=dtype)
    wanted = stored if dtype == "keep" else dtype
    after = load_file(tmp_path / "b.safetensors")
    assert info.dtype == wanted
    assert {tensor.dtype for tensor in after.values()} == {DTYPES[wanted]}
    assert all(torch.equal(after[name], tensor.to(DTYPES[wanted])) for name, tensor in before.items())
    loaded = load_model(tmp_path / "b.safetensors").model.state_dict()
    assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in after.items())


def test_what_was_told_needs_no_telling_again(saved, tmp_path, randomized):
    config = HiTSRConfig(base_window=(4, 6), mean=(0.5, 0.4, 0.3), **HIT_TINY)
    net = randomized(HiTSR(config))
    target = tmp_path / "b.safetensors"
    info = convert_checkpoint(saved(net), target, mean=config.mean, base_window=config.base_window)
    assert info.not_inferable == ("img_range",)
    assert (header(target)["mean"], header(target)["base_window"]) == ([0.5, 0.4, 0.3], [4, 6])
    assert load_model(target).model.config == config
    assert load_model(target, mean=(0.1,)).model.config.mean == (0.1,), "who says otherwise is still heard"


def test_what_nobody_told_is_not_written(saved, tmp_path, randomized):
    target = tmp_path / "b.safetensors"
    for net in (HAT(HATConfig(**HAT_TINY)), HiTSR(HiTSRConfig(**HIT_TINY))):
        info = convert_checkpoint(saved(randomized(net)), target, overwrite=True)
        guesses = {"mean", "img_range", "conv_scale", "qk_scale", "base_window"}
        assert not guesses & set(header(target))
        assert "mean" in info.not_inferable


def test_ratios_that_shapes_hide_are_kept(saved, tmp_path, randomized):
    """1, 1 has the shapes of 0.5, 1, which is what every published network begins with."""
    net = randomized(HiTSR(HiTSRConfig(**{**HIT_TINY, "window_ratios": (1, 1, 2)})))
    told = {"base_window": [8, 8], "window_ratios": [1, 1, 2]}
    source = saved(net, supertile=json.dumps(told))
    assert load_model(source).model.config == net.config
    convert_checkpoint(source, tmp_path / "b.safetensors")
    assert load_model(tmp_path / "b.safetensors").model.config == net.config


def test_constructor_arguments_of_another_program_stay(saved, tmp_path, randomized):
    arguments = {"conv_scale": 0.5, "qk_scale": 0.7, "img_range": 2.0, "window_size": 4, "img_size": 4}
    net = randomized(HAT(HATConfig(conv_scale=0.5, qk_scale=0.7, img_range=2.0, shifted=False, **HAT_TINY)))
    source, target = saved(net, metadata=json.dumps(arguments), author="somebody"), tmp_path / "b.safetensors"
    convert_checkpoint(source, target)
    assert load_model(target).model.config == load_model(source).model.config == net.config
    with safe_open(target, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["metadata"]) == arguments
    assert (metadata["author"], metadata["format"]) == ("somebody", "pt")


def test_arguments_of_a_pickle_reach_the_header(tmp_path, randomized):
    net = randomized(HAT(HATConfig(conv_scale=0.5, **HAT_TINY)))
    arguments = {"conv_scale": 0.5, "img_range": 1.0, "window_size": 4}
    torch.save({"metadata": arguments, "params": net.state_dict()}, tmp_path / "a.pth")
    convert_checkpoint(tmp_path / "a.pth", tmp_path / "b.safetensors")
    assert load_model(tmp_path / "b.safetensors").model.config == net.config


def test_converting_twice_changes_nothing(golden_case, tmp_path):
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    convert_checkpoint(golden_case("hat_tiny_neosr_mean_x4").path, first, mean=(0.5,))
    convert_checkpoint(first, second)
    with safe_open(first, "pt") as one, safe_open(second, "pt") as other:
        assert one.metadata() == other.metadata()
        assert one.keys() == other.keys()
        assert all(torch.equal(one.get_tensor(name), other.get_tensor(name)) for name in one.keys())  # noqa: SIM118


def test_other_families_keep_their_names(tmp_path):
    net = Compact(num_feat=8, num_conv=2, upscale=2)
    torch.save({"params_ema": net.state_dict(), "params": {}}, tmp_path / "a.pth")
    info = convert_checkpoint(tmp_path / "a.pth", tmp_path / "b.safetensors", dtype="fp16")
    assert (info.family, info.dtype) == ("RealESRGAN Compact", "fp16")
    after = load_file(tmp_path / "b.safetensors")
    assert {name: tensor.half().tolist() for name, tensor in net.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in after.items()
    }


# --- what can go wrong -------------------------------------------------------------------------------------------


@pytest.fixture
def source(saved, randomized) -> Path:
    return saved(randomized(VapSR(VapSRConfig(**VAPSR_TINY))), "source.safetensors")


def test_a_file_is_not_overwritten_unasked(source, tmp_path):
    target = tmp_path / "b.safetensors"
    target.write_bytes(b"precious")
    with pytest.raises(CheckpointError, match=r"b\.safetensors: it exists already"):
        convert_checkpoint(source, target)
    assert target.read_bytes() == b"precious"
    convert_checkpoint(source, target, overwrite=True)
    assert load_model(target).scale == 2


def test_a_file_is_not_converted_onto_itself(source, tmp_path):
    (tmp_path / "link.safetensors").symlink_to(source)
    before = source.read_bytes()
    for target in (source, tmp_path / "link.safetensors", tmp_path / "." / source.name):
        with pytest.raises(CheckpointError, match="it is the source"):
            convert_checkpoint(source, target, overwrite=True)
    assert source.read_bytes() == before


@pytest.mark.parametrize("name", ["b.pth", "b", "b.safetensors.bin"])
def test_another_extension_would_mislead(source, tmp_path, name):
    with pytest.raises(CheckpointError, match=r"must be called \.safetensors"):
        convert_checkpoint(source, tmp_path / name)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("name", ["b.sft", "B.SAFETENSORS"])
def test_both_extensions_of_safetensors_will_do(source, tmp_path, name):
    assert convert_checkpoint(source, tmp_path / name).path == tmp_path / name


def test_an_impossible_target_is_one_sentence_and_leaves_nothing(source, tmp_path):
    with pytest.raises(CheckpointError, match=r"none/b\.safetensors: it cannot be written \(No such file"):
        convert_checkpoint(source, tmp_path / "none" / "b.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert_checkpoint(source, tmp_path / "folder.safetensors", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.safetensors", source.name]


@pytest.mark.parametrize("content", [b"", b"<!doctype html>" + b" " * 600, b"\x00" * 600])
def test_what_cannot_be_read_is_not_converted(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UnreadableCheckpointError, match=r"a\.pth"):
        convert_checkpoint(tmp_path / "a.pth", tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()


def test_numbers_too_large_for_half_precision_are_refused(tmp_path, randomized):
    state = dict(randomized(VapSR(VapSRConfig(**VAPSR_TINY))).state_dict())
    state["conv_body.bias"] = torch.full((8,), 1e5)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(WrongTensorsError, match=r"tensor conv_body\.bias does not fit into fp16; convert it to bf16"):
        convert_checkpoint(tmp_path / "a.safetensors", tmp_path / "b.safetensors", dtype="fp16")
    assert not (tmp_path / "b.safetensors").exists()
    convert_checkpoint(tmp_path / "a.safetensors", tmp_path / "b.safetensors", dtype="bf16")


def test_wrong_arguments(source, tmp_path):
    with pytest.raises(ValueError, match="the dtype is keep, fp32, fp16, bf16, not 'fp8'"):
        convert_checkpoint(source, tmp_path / "b.safetensors", dtype="fp8")
    with pytest.raises(CheckpointError, match="VapSR subtracts none"):
        convert_checkpoint(source, tmp_path / "b.safetensors", mean=(0.5,))
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are another matter there")
def test_the_file_has_the_permissions_of_any_new_file(source, tmp_path):
    mask = os.umask(0o027)
    try:
        convert_checkpoint(source, tmp_path / "b.safetensors")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "b.safetensors").stat().st_mode) == 0o640
