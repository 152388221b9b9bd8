"""load_model and inspect_checkpoint: what a file is, is told from its tensors alone, and what is told is what runs."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from spandrel import ImageModelDescriptor
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.SPAN import SPAN
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from supertile.weights.errors import CheckpointError, UnknownArchitectureError, WrongTensorsError
from supertile.weights.loader import inspect_checkpoint, load_model
from torch import nn

HAT_TINY = HATConfig(
    scale=2, embed_dim=12, depths=(2,), num_heads=(2,), window_size=4, overlap_window=6, compress_dim=4, squeeze_dim=3,
    mlp_dim=16, oca_mlp_dim=20, num_feat=8,
)  # fmt: skip
HIT_TINY = HiTSRConfig(
    variant="SIR", scale=2, embed_dim=20, depths=(3,), num_heads=(2,), window_ratios=(0.5, 1, 2), mlp_dim=24
)
VAPSR_TINY = VapSRConfig(scale=2, num_feat=8, num_blocks=2, attention_dim=12)
CLASSES = {HATConfig: HAT, HiTSRConfig: HiTSR, VapSRConfig: VapSR}


def shapes_of(config) -> dict[str, tuple[int, ...]]:
    """What the state dict of a network of this configuration looks like, without the network's weights."""
    with torch.device("meta"):
        net = CLASSES[type(config)](config)
    return {name: tuple(t.shape) for name, t in net.state_dict().items()}


def hollow_file(path: Path, shapes: Mapping[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> Path:
    """A valid safetensors file of these shapes whose weights are a hole: large networks take no time and no space."""
    entries, end = {"__metadata__": metadata} if metadata else {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * torch.Size(shape).numel()
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


# --- golden files ------------------------------------------------------------------------------------------------


def test_a_golden_file_becomes_a_descriptor_ready_to_use(golden):
    model = load_model(golden.path, **golden.options)
    stored = load_file(golden.path)
    assert isinstance(model, ImageModelDescriptor)
    assert model.scale == golden.facts["scale"]
    assert (model.input_channels, model.output_channels) == (
        golden.facts["input_shape"][1],
        golden.facts["output_shape"][1],
    )
    assert model.purpose == ("Restoration" if model.scale == 1 else "SR")
    assert not any(module.training for module in model.model.modules())
    parameters = dict(model.model.named_parameters())
    assert list(model.model.state_dict()) == list(parameters), "nothing but parameters is stored"
    for name, parameter in parameters.items():
        assert torch.equal(parameter, stored.pop(name)), name
        assert (parameter.dtype, parameter.device.type) == (torch.float32, "cpu"), name
        assert not parameter.requires_grad, name
        assert not parameter.is_inference(), name
    assert all("relative_position_index" in name for name in stored), "nothing but tables was left out"


def test_inspection_says_what_loading_gives(golden):
    info = inspect_checkpoint(golden.path, **golden.options)
    model = load_model(golden.path, **golden.options)
    loaded = dataclasses.asdict(model.model.config)
    if "mean" in loaded:
        loaded["mean"] = model.model.mean
    assert info.hyperparameters == loaded
    assert info.parameters == sum(p.numel() for p in model.model.parameters())
    assert (info.scale, info.input_channels, info.output_channels) == (
        model.scale,
        model.input_channels,
        model.output_channels,
    )
    assert info.family == model.architecture.name
    assert [info.variant] == model.tags
    assert info.file_bytes == golden.path.stat().st_size
    assert info.path == golden.path


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what a process reads")
def test_inspection_reads_the_header_alone(tmp_path):
    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    path = hollow_file(tmp_path / "large.safetensors", shapes_of(HATConfig()))
    header = int.from_bytes(path.open("rb").read(8), "little")
    before = bytes_read()
    assert inspect_checkpoint(path).variant == "HAT"
    assert bytes_read() - before < header + 50_000 < path.stat().st_size / 100


# --- families and variants ---------------------------------------------------------------------------------------

HAT_S = {"embed_dim": 144, "compress_dim": 6, "squeeze_dim": 6, "mlp_dim": 288, "oca_mlp_dim": 288}
HAT_L = {"depths": (6,) * 12, "num_heads": (6,) * 12}
NEOSR = {
    "variant": "SRF", "embed_dim": 180, "num_heads": (6,) * 6, "depths": (6,) * 6, "mlp_dim": 360,
    "upsampler": "pixelshuffle", "base_window": (16, 16),
}  # fmt: skip

# Names and numbers of parameters as the authors' own code gives them.
PUBLISHED = [
    *(("HAT", "HAT-S", HATConfig(scale=s, **HAT_S), n) for s, n in ((2, 9_473_471), (3, 9_658_111), (4, 9_621_183))),
    *(("HAT", "HAT", HATConfig(scale=s), n) for s, n in ((2, 20_624_795), (3, 20_809_435), (4, 20_772_507))),
    *(("HAT", "HAT-L", HATConfig(scale=s, **HAT_L), n) for s, n in ((2, 40_698_863), (3, 40_883_503), (4, 40_846_575))),
    ("VapSR", "VapSR", VapSRConfig(scale=2, num_blocks=20), 329_236),
    ("VapSR", "VapSR", VapSRConfig(scale=3, num_blocks=20), 336_811),
    ("VapSR", "VapSR", VapSRConfig(), 342_220),
    ("VapSR", "VapSR-S", VapSRConfig(num_feat=32, num_blocks=11, conv_groups=2), 154_956),
    *(
        ("HiT-SR", f"HiT-{variant}", HiTSRConfig(variant=variant, scale=scale), count)
        for variant, counts in (
            ("SIR", (772_064, 780_179, 791_540)),
            ("SNG", (1_012_584, 1_020_699, 1_032_060)),
            ("SRF", (846_944, 855_059, 866_420)),
        )
        for scale, count in zip((2, 3, 4), counts, strict=True)
    ),
    ("HiT-SR", "HiT-SRF (180 channels, 36 blocks)", HiTSRConfig(**NEOSR), 10_754_763),
    (
        "HiT-SR",
        "HiT-SRF (180 channels, 72 blocks)",
        HiTSRConfig(**{**NEOSR, "depths": (6,) * 12, "num_heads": (6,) * 12, "base_window": (24, 24)}),
        20_811_087,
    ),
]


@pytest.mark.parametrize(
    ("family", "variant", "config", "count"), PUBLISHED, ids=[f"{case[1]} x{case[2].scale}" for case in PUBLISHED]
)
def test_published_networks_are_known_by_their_shapes(tmp_path, family, variant, config, count):
    info = inspect_checkpoint(hollow_file(tmp_path / "named so that it tells nothing", shapes_of(config)))
    assert (info.family, info.variant, info.scale, info.parameters) == (family, variant, config.scale, count)
    expected = dataclasses.asdict(config)
    if "mean" in expected:
        expected["mean"] = (0.4488, 0.4371, 0.4040)
    assert info.hyperparameters == expected


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (dataclasses.replace(HAT_TINY, embed_dim=24), "HAT (24 channels, 2 blocks, window 4)"),
        (HATConfig(resi_connection="identity"), "HAT (180 channels, 36 blocks, window 16)"),
        (HIT_TINY, "HiT-SIR (20 channels, 3 blocks)"),
        (VAPSR_TINY, "VapSR (8 channels, 2 blocks)"),
        (VapSRConfig(num_blocks=20), "VapSR (48 channels, 20 blocks)"),
    ],
)
def test_other_networks_are_described(tmp_path, config, words):
    assert inspect_checkpoint(hollow_file(tmp_path / "a.safetensors", shapes_of(config))).variant == words


@pytest.mark.parametrize(
    ("name", "variant", "blocks"),
    [("VapSR_X2", "VapSR", 20), ("VapSR_X3", "VapSR", 20), ("VapSR_X4", "VapSR", 21), ("VapSR-S", "VapSR-S", 11)],
)
def test_official_vapsr_files(official_vapsr, name, variant, blocks):
    path = official_vapsr(f"{name}.pth")
    info, model = inspect_checkpoint(path), load_model(path)
    assert (info.family, info.variant, info.container) == ("VapSR", variant, "PyTorch zip, params_ema")
    assert len(model.model.body) == blocks
    averaged = torch.load(path, weights_only=True)["params_ema"]
    assert all(torch.equal(tensor, averaged[n]) for n, tensor in model.model.state_dict().items())


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_files_are_loaded_as_fp32(tmp_path, randomized, dtype):
    net = randomized(VapSR(VAPSR_TINY))
    half = {n: t.to({"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]) for n, t in net.state_dict().items()}
    save_file(half, tmp_path / "a.safetensors")
    model = load_model(tmp_path / "a.safetensors").model
    assert inspect_checkpoint(tmp_path / "a.safetensors").dtype == dtype
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, half[name].float()), name


def test_strays_of_training_programs_do_not_matter(tmp_path, randomized):
    net = randomized(HAT(HAT_TINY))
    strays = {
        "n_averaged": torch.tensor(3),
        "relative_position_index_SA": torch.zeros(16, 16, dtype=torch.int32),
        "layers.0.residual_group.blocks.1.attn_mask": torch.zeros(4, 16, 16),
        "mean": torch.zeros(1, 3, 1, 1),
    }
    torch.save({"params": {f"module.{n}": t for n, t in {**strays, **net.state_dict()}.items()}}, tmp_path / "a.pth")
    model = load_model(tmp_path / "a.pth").model
    image = torch.rand(1, 3, 9, 7)
    torch.testing.assert_close(model(image), net(image), atol=1e-6, rtol=1e-5)


def test_a_model_loaded_in_inference_mode_can_still_be_trained(saved, randomized):
    path = saved(randomized(HAT(HAT_TINY)))
    with torch.inference_mode():
        model = load_model(path).model
    model.requires_grad_(True)(torch.rand(1, 3, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


# --- what weights cannot tell ------------------------------------------------------------------------------------


def test_a_mean_that_is_told_is_used(saved, randomized):
    path = saved(randomized(HAT(HAT_TINY)))
    image = torch.rand(1, 3, 8, 8)
    told, usual = load_model(path, mean=(0.5, 0.4, 0.3)).model, load_model(path).model
    assert inspect_checkpoint(path).not_inferable == ("mean", "img_range", "conv_scale", "qk_scale")
    assert "mean" not in inspect_checkpoint(path, mean=(0.5, 0.4, 0.3)).not_inferable
    shift = torch.tensor([0.4488 - 0.5, 0.4371 - 0.4, 0.4040 - 0.3]).view(1, 3, 1, 1)
    torch.testing.assert_close(told(image), usual(image + shift) - shift, atol=1e-5, rtol=1e-5)
    one = load_model(path, mean=(0.5,)).model
    assert torch.equal(one(image), load_model(path, mean=(0.5, 0.5, 0.5)).model(image))


def test_a_base_window_that_is_told_is_used(saved, randomized):
    config = dataclasses.replace(HIT_TINY, base_window=(4, 6))
    net = randomized(HiTSR(config))
    path = saved(net)
    image = torch.rand(1, 3, 9, 17)
    assert load_model(path).model.config.base_window == (8, 8)
    assert (load_model(path).model(image) - net(image)).abs().max() > 1e-3
    torch.testing.assert_close(load_model(path, base_window=(4, 6)).model(image), net(image), atol=1e-6, rtol=1e-5)
    assert load_model(path, base_window=4).model.config == dataclasses.replace(config, base_window=(4, 4))
    assert inspect_checkpoint(path).not_inferable == ("mean", "img_range", "base_window")
    assert inspect_checkpoint(path, base_window=8).not_inferable == ("mean", "img_range")


def test_ngrams_tell_their_base_window(saved, randomized):
    config = dataclasses.replace(HIT_TINY, variant="SNG", base_window=(4, 6), num_heads=(1,))
    path = saved(randomized(HiTSR(config)))
    info = inspect_checkpoint(path)
    assert info.hyperparameters["base_window"] == (4, 6)
    assert info.not_inferable == ("mean", "img_range")
    assert load_model(path, base_window=(4, 6)).model.config == config
    with pytest.raises(WrongTensorsError, match=r"network\.safetensors: its base window is 4x6, as its weights tell"):
        load_model(path, base_window=8)


@pytest.mark.parametrize(
    ("config", "options", "words"),
    [
        (VAPSR_TINY, {"mean": (0.5,)}, "a mean was given, but VapSR subtracts none"),
        (VAPSR_TINY, {"base_window": 8}, "a base window was given, but VapSR has none"),
        (HAT_TINY, {"base_window": 8}, "a base window was given, but HAT has none"),
        (HAT_TINY, {"mean": (0.5, 0.5)}, "a mean of 2 values does not fit 3 channels"),
        (HIT_TINY, {"mean": (0.5,) * 4}, "a mean of 4 values does not fit 3 channels"),
        (HIT_TINY, {"base_window": 0}, "a base window of 0x0 is not possible"),
        (HIT_TINY, {"base_window": (8, -8)}, "a base window of 8x-8 is not possible"),
        (HIT_TINY, {"base_window": 4096}, "a base window of 4096x4096 is not possible"),
        (
            HIT_TINY,
            {"base_window": 1},
            r"is a HiT-SR network, but .* \(a window of \(0, 0\) is neither smaller than nor",
        ),
    ],
)
def test_options_that_fit_nothing_are_refused(tmp_path, config, options, words):
    path = hollow_file(tmp_path / "it.safetensors", shapes_of(config))
    with pytest.raises(CheckpointError, match=words) as raised:
        load_model(path, **options)
    assert raised.value.path == path


def test_constructor_arguments_in_the_header_are_used(saved, randomized):
    """traiNNer-redux stores them as JSON under "metadata"."""
    net = randomized(HAT(dataclasses.replace(HAT_TINY, conv_scale=0.5, qk_scale=0.7, img_range=2.0)))
    arguments = {"conv_scale": 0.5, "qk_scale": 0.7, "img_range": 2.0, "window_size": 4, "img_size": 64}
    path = saved(net, metadata=json.dumps(arguments))
    image = torch.rand(1, 3, 9, 7)
    torch.testing.assert_close(load_model(path).model(image), net(image), atol=1e-6, rtol=1e-5)
    assert inspect_checkpoint(path).not_inferable == ("mean",)
    assert inspect_checkpoint(path).metadata["metadata"] == arguments


def test_a_training_size_of_one_window_switches_the_shift_off(saved, randomized):
    path = saved(randomized(HAT(HAT_TINY)), metadata=json.dumps({"img_size": 4, "img_range": 1.0}))
    assert load_model(path).model.config.shift == 0


def test_a_config_from_the_hub_tells_the_base_window(tmp_path, randomized):
    net = randomized(HiTSR(dataclasses.replace(HIT_TINY, base_window=(16, 16))))
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"base_win_size": [16, 16], "hier_win_ratios": [0.5, 1, 2]}))
    assert load_model(tmp_path / "model.safetensors").model.config.base_window == (16, 16)
    assert load_model(tmp_path / "model.safetensors", base_window=4).model.config.base_window == (4, 4)


# --- files that do not fit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        HAT_TINY,
        dataclasses.replace(HIT_TINY, variant="SRF", depths=(1,), window_ratios=(2,)),
        dataclasses.replace(HIT_TINY, variant="SNG", depths=(1,), window_ratios=(2,), num_heads=(1,)),
        VAPSR_TINY,
        dataclasses.replace(VAPSR_TINY, scale=4),
    ],
    ids=["HAT", "HiT-SRF", "HiT-SNG", "VapSR", "VapSR x4"],
)
def test_no_tensor_can_be_missing_or_of_another_shape(tmp_path, config):
    """Each in turn: a network is whole or it is refused, in a sentence that names the file and what does not fit."""
    shapes = shapes_of(config)
    path = tmp_path / "damaged.safetensors"
    for name, shape in shapes.items():
        without = {n: s for n, s in shapes.items() if n != name}
        larger = {**shapes, name: (shape[0] + 1, *shape[1:])}
        flat = {**shapes, name: (*shape, 1)}
        for changed in (without, larger, flat):
            with pytest.raises(WrongTensorsError) as raised:
                inspect_checkpoint(hollow_file(path, changed))
            sentence = r"Cannot load .*damaged\.safetensors: (it is a|its? |the tensor ).+\."
            assert re.fullmatch(sentence, str(raised.value)), raised.value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda s: s.pop("layers.0.residual_group.blocks.1.mlp.fc2.bias"),
            r"HAT network, but tensors are missing \(layers\.0\.residual_group\.blocks\.1\.mlp\.fc2\.bias\)",
        ),
        (
            lambda s: s.update({"conv_after_body.bias": torch.zeros(9)}),
            r"HAT network, but tensors have a wrong shape \(conv_after_body\.bias is \[9\] where \[12\] fits the",
        ),
        (
            lambda s: s.update({"layers.0.extra.weight": torch.zeros(9)}),
            r"resembles HAT, but has tensors that no HAT network has \(layers\.0\.extra\.weight\)",
        ),
        (lambda s: s.update(absolute_pos_embed=torch.zeros(1, 9, 12)), "absolute position embedding"),
    ],
)
def test_loading_says_what_is_wrong_with_a_network(tmp_path, randomized, change, words):
    state = dict(randomized(HAT(HAT_TINY)).state_dict())
    change(state)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=words) as raised:
        load_model(tmp_path / "a.safetensors")
    assert raised.value.path == tmp_path / "a.safetensors"


def test_a_namesake_that_computes_something_else_is_refused(saved, randomized):
    arguments = {"conv_scale": 0.01, "window_size": 4, "embed_dim": 12}  # of HAT_iLN: no img_range
    with pytest.raises(UnknownArchitectureError, match="HAT-iLN"):
        load_model(saved(randomized(HAT(HAT_TINY)), metadata=json.dumps(arguments)))


# --- other families ----------------------------------------------------------------------------------------------

OTHERS = {
    "ESRGAN": lambda: ESRGAN(num_filters=8, num_blocks=1, scale=4),
    "RealESRGAN Compact": lambda: Compact(num_feat=8, num_conv=2, upscale=2),
    "SPAN": lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2),
}


@pytest.mark.parametrize("extension", ["safetensors", "pth"])
@pytest.mark.parametrize("name", list(OTHERS))
@torch.inference_mode()
def test_other_families_run_through_spandrel(tmp_path, name, extension):
    net = OTHERS[name]().eval()
    path = tmp_path / f"a.{extension}"
    state = {n: t.clone() for n, t in net.state_dict().items()}
    if extension == "pth":
        torch.save({"params_ema": state, "params": {}}, path)
    else:
        save_file(state, path)
    model, info = load_model(path), inspect_checkpoint(path)
    image = torch.rand(1, 3, 12, 16)
    torch.testing.assert_close(model.model(image), net(image), atol=1e-5, rtol=1e-5)
    assert not model.model.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in model.model.parameters())
    assert (info.family, info.scale, info.hyperparameters) == (name, model.scale, {})
    assert info.parameters == sum(p.numel() for p in model.model.parameters())
    for option in ({"mean": (0.5,)}, {"base_window": 8}):
        with pytest.raises(CheckpointError, match="but this architecture"):
            load_model(path, **option)


@pytest.mark.parametrize("prefix", ["net_g_ema.", "model.", "params_ema.", "trainer.student."])
@pytest.mark.parametrize("family", ["ESRGAN", "SPAN", "VapSR"])
def test_a_prefix_that_all_tensors_share_is_taken_off(tmp_path, family, prefix):
    net = VapSR(VAPSR_TINY) if family == "VapSR" else OTHERS[family]()
    save_file({f"{prefix}{n}": t.clone() for n, t in net.state_dict().items()}, tmp_path / "a.safetensors")
    assert inspect_checkpoint(tmp_path / "a.safetensors").family == family
    state = load_model(tmp_path / "a.safetensors").model.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in net.state_dict().items() if family != "ESRGAN")


def test_the_averaged_generator_is_taken_out_of_a_mixture(tmp_path):
    net, other = OTHERS["RealESRGAN Compact"](), OTHERS["RealESRGAN Compact"]()
    mixture = {f"net_g.{n}": t for n, t in other.state_dict().items()}
    mixture |= {f"net_g_ema.{n}": t for n, t in net.state_dict().items()}
    save_file({**mixture, "net_d.conv.weight": torch.ones(3)}, tmp_path / "a.safetensors")
    state = load_model(tmp_path / "a.safetensors").model.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in net.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("family", ["SPAN", "VapSR"])
def test_weights_that_are_no_numbers_are_refused(tmp_path, family, value):
    net = VapSR(VAPSR_TINY) if family == "VapSR" else OTHERS[family]()
    name, weight = next(iter(net.named_parameters()))
    weight.data.view(-1)[1] = value
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(WrongTensorsError, match=rf"a\.safetensors: the tensor {re.escape(name)} holds NaN or infinite"):
        load_model(tmp_path / "a.safetensors")


def test_unknown_architectures_are_named_by_what_they_resemble(tmp_path):
    save_file(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 3, 3)).state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(UnknownArchitectureError, match="does not resemble HAT, VapSR or HiT-SR"):
        load_model(tmp_path / "a.safetensors")
    parts = {n: s for n, s in shapes_of(HAT_TINY).items() if ".overlap_attn." not in n and "index" not in n}
    for read in (load_model, inspect_checkpoint):
        with pytest.raises(UnknownArchitectureError, match=r"b\.safetensors.*nearest supported family is HAT"):
            read(hollow_file(tmp_path / "b.safetensors", parts))


# --- spandrel's registry -----------------------------------------------------------------------------------------


def run_python(code: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], check=True, timeout=120)


def test_importing_the_package_imports_neither_torch_nor_spandrel():
    run_python("""
        import sys
        import supertile
        supertile.__all__, supertile.__version__
        heavy = {"torch", "spandrel", "torchvision", "numpy", "PIL", "av"} & set(sys.modules)
        assert not heavy, heavy
    """)


@pytest.mark.parametrize("order", ["supertile spandrel", "spandrel supertile"])
def test_spandrel_opens_vapsr_and_hit_sr_once_the_package_is_imported(tmp_path, randomized, order):
    """In whichever order the two are imported, any number of times; and HAT stays spandrel's own."""
    for name, net in (("VapSR", VapSR(VAPSR_TINY)), ("HiT-SR", HiTSR(HIT_TINY)), ("HAT", HAT(HAT_TINY))):
        net = randomized(net)
        state = dict(net.state_dict())
        if name == "HAT":
            state |= {"relative_position_index_SA": torch.zeros(16, 16), "relative_position_index_OCA": torch.zeros(1)}
        save_file(state, tmp_path / f"{name}.safetensors")
        save_file({"in": torch.ones(1, 3, 8, 8), "out": net(torch.ones(1, 3, 8, 8))}, tmp_path / f"{name}.io")
    run_python(
        """
        import importlib, sys
        for name in sys.argv[2].split():
            importlib.import_module(name)
        import torch
        from pathlib import Path
        from safetensors.torch import load_file
        from spandrel import MAIN_REGISTRY, ModelLoader
        import spandrel.architectures.HAT
        from supertile.weights import architectures
        for _ in range(2):
            architectures.register()
            architectures = importlib.reload(architectures)
        ids = [support.architecture.id for support in MAIN_REGISTRY]
        assert ids.count("VapSR") == ids.count("HiT-SR") == ids.count("HAT") == 1, ids
        assert type(MAIN_REGISTRY["HAT"].architecture) is spandrel.architectures.HAT.HATArch
        assert ids.count("Supertile/HAT") == 1, ids
        for name in ("HAT", "VapSR", "HiT-SR"):
            file = Path(sys.argv[1]) / f"{name}.safetensors"
            io = load_file(file.with_suffix(".io"))
            for model in (ModelLoader().load_from_file(file), ModelLoader().load_from_state_dict(load_file(file))):
                assert model.architecture.name == model.architecture.id == name
                assert type(model.model).__module__.startswith("supertile.")
                torch.testing.assert_close(model.model.eval()(io["in"]), io["out"], atol=1e-6, rtol=1e-5)
        assert not any(type(finder).__name__ == "_WaitForSpandrel" for finder in sys.meta_path)
        """,
        tmp_path,
        order,
    )
