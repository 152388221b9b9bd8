"""Checkpoints as people have them: architectures that mix precisions, results without numbers, absurd headers."""

from __future__ import annotations

import importlib
import json
import struct
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from spandrel import ImageModelDescriptor, ModelLoader
from spandrel.architectures.ATD import ATD
from spandrel.architectures.Compact import Compact
from spandrel.architectures.DRCT import DRCT
from spandrel.architectures.MoSR import MoSR
from spandrel.architectures.OmniSR import OmniSR
from spandrel.architectures.PLKSR import PLKSR
from spandrel.architectures.RCAN import RCAN
from spandrel.architectures.SPAN import SPAN
from spandrel.architectures.SwinIR import SwinIR
from supertile.inference.errors import UpscaleError
from supertile.inference.upscaler import Upscaler
from supertile.weights.errors import CheckpointError
from supertile.weights.loader import inspect_checkpoint, load_model
from torch import nn

WINDOWS = {"embed_dim": 24, "window_size": 8, "upscale": 2, "upsampler": "pixelshuffle"}
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ATD": lambda: ATD(
        **WINDOWS, img_size=32, depths=(2,), num_heads=(2,), category_size=32, num_tokens=16, reducted_dim=4
    ),
    "RealESRGAN Compact": lambda: Compact(num_feat=16, num_conv=2, upscale=2),
    "DRCT": lambda: DRCT(**WINDOWS, img_size=32, depths=[6], num_heads=[2], gc=8, img_range=1.0),
    "MoSR": lambda: MoSR(upscale=2, n_block=2, dim=16),
    "OmniSR": lambda: OmniSR(num_feat=16, block_num=1, res_num=1, up_scale=2, window_size=8, pe=True),
    "PLKSR": lambda: PLKSR(dim=16, n_blocks=2, upscaling_factor=2),
    "RCAN": lambda: RCAN(scale=2, n_resgroups=2, n_resblocks=2, n_feats=32),
    "SPAN": lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2),
    "SwinIR": lambda: SwinIR(**WINDOWS, img_size=32, depths=[2], num_heads=[2], mlp_ratio=2),
}


def described(make: Callable[[], nn.Module]) -> ImageModelDescriptor:
    torch.manual_seed(0)
    descriptor = ModelLoader().load_from_state_dict(make().state_dict())
    assert isinstance(descriptor, ImageModelDescriptor)
    return descriptor.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_of_any_architecture(name, caplog):
    model = described(NETWORKS[name])
    image = torch.rand(1, 3, 37, 45)  # no multiple of a window
    exact = Upscaler(model, device="cpu", precision="fp32")(image)
    assert exact.shape == (1, 3, 37 * model.scale, 45 * model.scale)
    for precision in ("bf16", "fp16", "auto"):
        caplog.clear()
        upscaler = Upscaler(model, device="cpu", precision=precision)
        assert (upscaler(image) - exact).abs().max() < 0.02
        assert (upscaler(image) - exact).abs().max() < 0.02
        if precision != "auto" and upscaler.dtype == torch.float32:
            [record] = caplog.records
            assert record.getMessage().startswith(f"{model.architecture.name} networks do not compute in {precision} (")
        Upscaler(model, device="cpu", precision=precision)
        assert len(caplog.records) <= 1
    tiles = Upscaler(model, device="cpu", precision="bf16", tile=24, overlap=8)(image)
    assert tiles.shape == exact.shape
    assert torch.isfinite(tiles).all()


class FailsOnLargeImages(nn.Module):
    """Computes the probe in half precision, and larger images in fp32 only, as networks do whose masks depend on it."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value), requires_grad=False)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if batch.shape[-1] > 48 and self.weight.dtype != torch.float32:
            raise RuntimeError("expected m1 and m2 to have the same dtype\nat the second line")
        return batch.repeat_interleave(2, 2).repeat_interleave(2, 3) * self.weight


@pytest.fixture
def describe():
    from spandrel.architectures.Compact import CompactArch

    def make(network: nn.Module) -> ImageModelDescriptor:
        return ImageModelDescriptor(
            network, network.state_dict(), architecture=CompactArch(), purpose="SR", tags=[], supports_half=True,
            supports_bfloat16=True, scale=2, input_channels=3, output_channels=3,
        )  # fmt: skip

    return make


def test_a_network_that_fails_in_half_precision_later_goes_on_in_fp32(describe, caplog):
    upscaler = Upscaler(describe(FailsOnLargeImages()), device="cpu", precision="bf16")
    assert upscaler.dtype == torch.bfloat16
    image = torch.rand(1, 3, 20, 60)
    for _ in range(2):
        assert torch.equal(upscaler(image)[..., ::2, ::2], image)
    [record] = caplog.records
    assert record.getMessage() == (
        "RealESRGAN Compact networks do not compute in bf16 (expected m1 and m2 to have the same dtype), "
        "so fp32 is used."
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "auto"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_result_without_numbers_is_an_error(describe, precision, value):
    upscaler = Upscaler(describe(FailsOnLargeImages(value)), device="cpu", precision=precision)
    with pytest.raises(UpscaleError, match="returns no numbers"):
        upscaler(torch.rand(1, 3, 8, 8) + 0.1)
    with pytest.raises(UpscaleError, match="returns no numbers"):
        list(upscaler.stream([torch.rand(3, 80, 80)]))


def test_a_result_of_ours_without_numbers_is_an_error():
    from supertile.arch.vapsr import VapSR, VapSRConfig
    from supertile.weights.architectures import FAMILIES, build_descriptor
    from supertile.weights.shapes import KnownArguments

    state = VapSR(VapSRConfig(scale=2, num_feat=16, num_blocks=1, attention_dim=16)).state_dict()
    state["conv_first.weight"][:] = 3e38  # finite, but no result is
    vapsr = next(family for family in FAMILIES if family.NAME == "VapSR")
    upscaler = Upscaler(build_descriptor(vapsr, state, KnownArguments()), device="cpu", precision="fp32")
    with pytest.raises(UpscaleError, match="this VapSR network returns no numbers"):
        upscaler(torch.rand(1, 3, 8, 8))


def test_overflow_in_fp16_alone_is_computed_in_fp32(describe, caplog):
    class Overflows(FailsOnLargeImages):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return super().forward(batch * 60000 * 2 / 120000 if batch.dtype == torch.float32 else batch * 60000 * 2)

    upscaler = Upscaler(describe(Overflows()), device="cpu", precision="fp16")
    image = torch.rand(1, 3, 8, 8) * 0.4 + 0.6
    assert torch.isfinite(upscaler(image)).all()
    assert (upscaler(image)[..., ::2, ::2] - image).abs().max() < 1e-5
    assert len(caplog.records) == 1


def test_the_shared_file_with_an_infinite_weight_is_refused():
    from supertile.tests.conftest import SHARED

    path = SHARED / "field" / "more" / "nan_weight.safetensors"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    with pytest.raises(CheckpointError, match="holds NaN or infinite values"):
        load_model(path)


@pytest.mark.parametrize("read", [load_model, inspect_checkpoint])
def test_a_header_of_200_000_tensors_is_refused_at_once(tmp_path, read):
    names: dict[str, object] = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(200_000)}
    header = json.dumps(names).encode()
    path = tmp_path / "many.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    started = time.process_time()
    with pytest.raises(CheckpointError, match="it lists 200000 tensors"):
        read(path)
    assert time.process_time() - started < 2


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """`nodes/folders.py` with a ComfyUI of a few lines, whose models lie in `tmp_path`."""
    host = types.ModuleType("folder_paths")
    host.get_filename_list = lambda kind: sorted(path.name for path in tmp_path.iterdir())  # type: ignore[attr-defined]
    host.get_full_path = lambda kind, name: (  # type: ignore[attr-defined]
        str(tmp_path / name) if (tmp_path / name).exists() else None
    )
    cli_args = types.ModuleType("comfy.cli_args")
    cli_args.args = types.SimpleNamespace(disable_metadata=False)  # type: ignore[attr-defined]
    latest = types.ModuleType("comfy_api.latest")
    latest.io = types.SimpleNamespace(FolderType=object)  # type: ignore[attr-defined]
    modules = {"folder_paths": host, "comfy.cli_args": cli_args, "comfy_api.latest": latest}
    for name, module in {**modules, "comfy": types.ModuleType("comfy"), "comfy_api": types.ModuleType("x")}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return importlib.import_module("supertile.nodes.folders")


def test_a_damaged_file_stays_in_the_general_list(folders, tmp_path, saved):
    (tmp_path / "cut.safetensors").write_bytes(b"\xff" * 7)
    saved(Compact(num_feat=16, num_conv=2, upscale=2), "good.safetensors")
    assert folders.model_files()[:2] == ["cut.safetensors", "good.safetensors"]
    assert "cut.safetensors" not in folders.model_files("VapSR")
    assert "supertile-2x.safetensors" in folders.model_files("VapSR")
    with pytest.raises(CheckpointError, match="cut"):
        load_model(Path(folders.folder_paths.get_full_path("upscale_models", "cut.safetensors")))
