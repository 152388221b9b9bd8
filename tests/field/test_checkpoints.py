"""Checkpoints as people have them: architectures that mix precisions, results without numbers, absurd headers."""

from __future__ import annotations

import importlib
import io
import json
import struct
import sys
import time
import types
from pathlib import Path

import pytest
import torch
from spandrel import ImageModelDescriptor
from spandrel.architectures.Compact import Compact
from supertile.inference import layout
from supertile.inference.errors import UpscaleError
from supertile.inference.precision import _cpu_has_bf16
from supertile.inference.upscaler import Upscaler
from supertile.weights.errors import CheckpointError
from supertile.weights.files import read_header
from supertile.weights.loader import inspect_checkpoint, load_model
from supertile.weights.other_families import load_with_spandrel
from torch import nn

WINDOWS = {"embed_dim": 24, "window_size": 8, "upscale": 2, "upsampler": "pixelshuffle"}
# Every architecture of spandrel that turns one image into another, as small as its code allows; a name in brackets
# tells variants of one apart.
NETWORKS: dict[str, tuple[str, dict[str, object]]] = {
    "ATD": (
        "ATD",
        dict(**WINDOWS, img_size=32, depths=(2,), num_heads=(2,), category_size=32, num_tokens=16, reducted_dim=4),
    ),
    "CRAFT": ("CRAFT", dict(embed_dim=12, depths=[2], num_heads=[6], upscale=2)),
    "RealESRGAN Compact": ("Compact", dict(num_feat=16, num_conv=2, upscale=2)),
    "DAT": ("DAT", dict(img_size=64, embed_dim=24, split_size=[8, 16], depth=[2], num_heads=[2], upscale=2)),
    "DCTLSA": ("DCTLSA", dict(nf=10, num_modules=6, upscale=2, num_head=5)),
    "DITN": ("DITN", dict(dim=12, ITL_blocks=1, SAL_blocks=1, UFONE_blocks=1, upscale=2)),
    "DRCT": ("DRCT", dict(**WINDOWS, img_size=32, depths=[6], num_heads=[2], gc=8, img_range=1.0)),
    "DRUNet": ("DRUNet", dict(in_nc=4, out_nc=3, nc=[8, 16, 24, 32], nb=2)),
    "DnCNN": ("DnCNN", dict(in_nc=3, out_nc=3, nc=8, nb=9, act_mode="R")),
    "DnCNN (FDnCNN)": ("DnCNN", dict(in_nc=4, out_nc=3, nc=8, nb=9, act_mode="R", mode="FDnCNN")),
    "ESRGAN": ("ESRGAN", dict(num_filters=8, num_blocks=1, scale=2)),
    "FBCNN": ("FBCNN", dict(nc=[8, 8, 8, 512], nb=4)),
    "FDAT": (
        "FDAT",
        dict(scale=2, embed_dim=12, num_groups=1, depth_per_group=2, num_heads=2, mid_dim=8,
             upsampler_type="pixelshuffle"),
    ),
    "FFTformer": ("FFTformer", dict(dim=8, num_blocks=[1, 1, 1], num_refinement_blocks=1)),
    "GRL": (
        "GRL",
        dict(img_size=32, embed_dim=12, upscale=2, upsampler="pixelshuffle", depths=[2], num_heads_window=[1],
             num_heads_stripe=[1], mlp_ratio=2),
    ),
    "HAT": (
        "HAT",
        dict(**WINDOWS, img_size=32, depths=(1,), num_heads=(2,), compress_ratio=3, squeeze_factor=6, mlp_ratio=2),
    ),
    "HVI-CIDNet": ("HVICIDNet", dict(channels=[8, 8, 16, 32], heads=[1, 2, 4, 8])),
    "IPT": ("IPT", dict(patch_size=24, patch_dim=3, n_feats=8, scale=[2], num_heads=4, num_layers=1)),
    "KBNet": ("KBNet", dict(width=8, middle_blk_num=1, enc_blk_nums=[1, 1, 1, 1], dec_blk_nums=[1, 1, 1, 1])),
    "MMRealSR": (
        "MMRealSR",
        dict(num_in_ch=3, num_out_ch=3, num_feat=8, num_block=1, num_grow_ch=4, num_feats=[8, 8, 8, 8],
             num_blocks=[1, 1, 1, 1]),
    ),
    "MixDehazeNet": ("MixDehazeNet", dict(embed_dims=[8, 16, 24, 16, 8], depths=[1, 1, 1, 1, 1])),
    "MoESR": ("MoESR", dict(scale=2, dim=8, n_blocks=1, n_block=1, upsampler="pixelshuffledirect", upsample_dim=8)),
    "MoSR": ("MoSR", dict(upscale=2, n_block=2, dim=16)),
    "NAFNet": ("NAFNet", dict(width=8, middle_blk_num=1, enc_blk_nums=[1, 1, 1, 1], dec_blk_nums=[1, 1, 1, 1])),
    "OmniSR": ("OmniSR", dict(num_feat=16, block_num=1, res_num=1, up_scale=2, window_size=8, pe=True)),
    "PLKSR": ("PLKSR", dict(dim=16, n_blocks=2, upscaling_factor=2)),
    "PLKSR (RealPLKSR)": ("PLKSR", dict(dim=16, n_blocks=2, upscaling_factor=2, norm_groups=4)),
    "PLKSR (DySample)": ("PLKSR", dict(dim=16, n_blocks=2, upscaling_factor=2, norm_groups=4, dysample=True)),
    "RCAN": ("RCAN", dict(scale=2, n_resgroups=1, n_resblocks=1, n_feats=16)),
    "RGT": (
        "RGT",
        dict(img_size=32, embed_dim=12, depth=[2], num_heads=[2], mlp_ratio=2, upscale=2, split_size=[8, 8]),
    ),
    "RestoreFormer": ("RestoreFormer", dict(n_embed=64, embed_dim=32, ch=32, z_channels=32)),
    "RetinexFormer": ("RetinexFormer", dict(n_feat=8, stage=1, num_blocks=[1, 1, 1])),
    "SAFMN": ("SAFMN", dict(dim=16, n_blocks=2, upscaling_factor=2)),
    "SAFMN BCIE": ("SAFMNBCIE", dict(dim=16, n_blocks=2, num_layers=2, upscaling_factor=2)),
    "SCUNet": ("SCUNet", dict(config=[1, 1, 1, 1, 1, 1, 1], dim=64)),
    "SPAN": ("SPAN", dict(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2)),
    "SeemoRe": ("SeemoRe", dict(scale=2, num_experts=3, num_layers=1, embedding_dim=16)),
    "Swift-SRGAN": ("SwiftSRGAN", dict(num_channels=8, num_blocks=1, upscale_factor=2)),
    "Swin2SR": ("Swin2SR", dict(**WINDOWS, img_size=32, depths=[2], num_heads=[2], mlp_ratio=2)),
    "SwinIR": ("SwinIR", dict(**WINDOWS, img_size=32, depths=[2], num_heads=[2], mlp_ratio=2)),
}  # fmt: skip
CLASSES = {
    "KBNet": "KBNet_s", "PLKSR (RealPLKSR)": "RealPLKSR", "PLKSR (DySample)": "RealPLKSR",
}  # fmt: skip
ELSEWHERE = {"AuraSR", "GFPGAN", "LaMa", "RealCUGAN", "Uformer"}
"""Large whatever their arguments, or with tests of their own below."""

_SLOW = ("FBCNN", "GRL", "IPT", "RestoreFormer", "SCUNet")
"""Networks that take many seconds for an image in fp16 on a CPU, and in bf16 on one that does not multiply it."""


def described(name: str) -> ImageModelDescriptor:
    """Return a network of random weights, enlarged until its output is not flat."""
    torch.manual_seed(0)
    module, arguments = NETWORKS[name]
    make = getattr(importlib.import_module(f"spandrel.architectures.{module}"), CLASSES.get(name, module))
    state = {key: tensor.contiguous().clone() for key, tensor in make(**arguments).state_dict().items()}
    descriptor = load_with_spandrel(Path(name), state)
    assert descriptor.architecture.name == name.partition(" (")[0]
    probe = torch.rand(1, descriptor.input_channels, 32, 32)
    for _ in range(12):
        if descriptor(probe).std() > 0.05:
            break
        for weight in descriptor.model.parameters():
            if weight.dim() > 1:
                weight.data.mul_(1.2)
    return descriptor


def test_the_list_of_architectures_is_complete():
    from spandrel import MAIN_REGISTRY

    known = {each.architecture.name for each in MAIN_REGISTRY.architectures()}
    assert known - {"VapSR", "HiT-SR"} == {name.partition(" (")[0] for name in NETWORKS} | ELSEWHERE


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_of_any_architecture(name, caplog, monkeypatch):
    monkeypatch.setattr(layout, "SIZES", (32,))  # which layout is faster matters elsewhere
    model = described(name)
    image = torch.rand(1, 3, 16, 16) if name in _SLOW else torch.rand(1, 3, 37, 53)  # no multiple of a window
    exact = Upscaler(model, device="cpu", precision="fp32")(image)
    assert exact.shape == (1, 3, image.shape[2] * model.scale, image.shape[3] * model.scale)
    assert exact.std() > 0.02
    half = ("bf16",) if _cpu_has_bf16() else ()
    for precision in half if name in _SLOW else ("bf16", "fp16", "auto"):
        caplog.clear()
        upscaler = Upscaler(model, device="cpu", precision=precision)
        for _ in range(1 if name in _SLOW else 2):
            assert (upscaler(image) - exact).abs().max() < 0.02
        if precision != "auto" and upscaler.dtype == torch.float32:
            [record] = caplog.records
            assert record.getMessage().startswith(f"{model.architecture.name} networks do not compute in {precision} (")
        Upscaler(model, device="cpu", precision=precision)
        assert len(caplog.records) <= 1


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in _SLOW])
def test_any_size_in_tiles_and_batches(name):
    model = described(name)
    for height, width in ((16, 16), (5, 7), (1, 1)):
        result = Upscaler(model, device="cpu", precision="fp32")(torch.rand(1, 3, height, width))
        assert result.shape == (1, 3, height * model.scale, width * model.scale)
        assert torch.isfinite(result).all()
    images = torch.rand(2, 3, 37, 53)
    alone = [Upscaler(model, device="cpu", precision="fp32", tile="whole")(image[None])[0] for image in images]
    both = Upscaler(model, device="cpu", precision="fp32", tile="whole", batch=2)(images)
    torch.testing.assert_close(both, torch.stack(alone), atol=1e-4, rtol=0)
    tiles = Upscaler(model, device="cpu", precision="fp32", tile=24, overlap=8, batch=4)(images[:1])
    assert tiles.shape == both[:1].shape
    assert torch.isfinite(tiles).all()


def test_networks_for_faces_are_not_cut_into_tiles(describe):
    model = described("RestoreFormer")
    assert len(Upscaler(model, device="cpu", precision="fp32", tile=64).plan(100, 300)) == 1
    gfpgan = types.SimpleNamespace(name="GFPGAN")
    face = describe(FailsOnLargeImages(), architecture=gfpgan, purpose="FaceSR")
    upscaler = Upscaler(face, device="cpu", precision="fp32", tile=64)
    assert len(upscaler.plan(512, 512)) == 1
    with pytest.raises(UpscaleError, match=r"one face of at most 512x512 pixels, and the image has 513x100; crop"):
        upscaler(torch.rand(1, 3, 100, 513))


def test_a_network_that_needs_a_mask_is_refused():
    from spandrel.architectures.LaMa import LaMa

    with torch.device("meta"):
        state = LaMa(in_nc=4).state_dict()
    state = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in state.items()}
    with pytest.raises(CheckpointError, match="it is a LaMa network, which does not turn one image into another"):
        load_with_spandrel(Path("lama.pth"), state)


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

    def make(network: nn.Module, architecture: object = None, purpose: str = "SR") -> ImageModelDescriptor:
        return ImageModelDescriptor(
            network, network.state_dict(), architecture=architecture or CompactArch(), purpose=purpose, tags=[],
            supports_half=True, supports_bfloat16=True, scale=2, input_channels=3, output_channels=3,
        )  # fmt: skip

    return make


def test_a_network_that_fails_in_half_precision_later_goes_on_in_fp32(describe, caplog):
    upscaler = Upscaler(describe(FailsOnLargeImages()), device="cpu", precision="fp16")
    assert upscaler.dtype == torch.float16
    image = torch.rand(1, 3, 20, 60)
    for _ in range(2):
        assert torch.equal(upscaler(image)[..., ::2, ::2], image)
    [record] = caplog.records
    assert record.getMessage() == (
        "RealESRGAN Compact networks do not compute in fp16 (expected m1 and m2 to have the same dtype), "
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


def test_a_legacy_file_is_described_without_its_weights(tmp_path, monkeypatch):
    """Of 64 MB of weights, the list of a folder reads the pickles and the lengths, not the weights."""
    path = tmp_path / "old.pth"
    tensors = {f"body.{i}.weight": torch.zeros(1024, 1024) for i in range(16)}
    torch.save({"params_ema": tensors}, path, _use_new_zipfile_serialization=False)
    read = 0

    class Counting(io.FileIO):
        def readinto(self, buffer) -> int:  # which a BufferedReader calls
            nonlocal read
            count = super().readinto(buffer)
            read += count or 0
            return count

    monkeypatch.setattr(Path, "open", lambda self, mode="r": io.BufferedReader(Counting(self, "rb")))
    header = read_header(path)
    assert (header.container, len(header.tensors)) == ("PyTorch legacy pickle, params_ema", 16)
    assert 0 < read < 1_000_000 < path.stat().st_size
