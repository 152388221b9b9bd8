"""Families describe themselves, and nothing else has to know of a new one."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from supertile import Upscaler
from supertile.arch.costs import conv_flops
from supertile.arch.layers import to_features
from supertile.arch.network import Grid, Network, NetworkConfig
from supertile.arch.strip_layers import Upsample, conv2d
from supertile.arch.strips import StripPlan, Strips, split_rows, strip_bounds
from supertile.benchmarks.flops import flops
from supertile.inference import precision
from supertile.training import networks as training
from supertile.weights import architectures
from supertile.weights.loader import load_model
from supertile.weights.shapes import KnownArguments, ShapeMap, length, shape
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

FAMILIES = [family.NETWORK for family in architectures.FAMILIES]
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)


@every_family
def test_a_family_says_all_that_the_core_asks(family):
    network = family(family.config_class())
    grid = network.grid()
    assert grid.multiple % grid.step == 0
    assert network.cpu_tile % 64 == 0
    half, single = (network.bytes_per_pixel(dtype) for dtype in (torch.float16, torch.float32))
    assert 0 < half <= single
    for device in (torch.device("cpu"), torch.device("cuda")):
        assert network.min_rows(device) % network.row_multiple == 0
        low, high = (network.strip_bytes(height, 640, 64, device, torch.float32) for height in (64, 2000))
        assert 0 < low <= high
    assert network.config.flops(20, 10) > 0


@every_family
def test_layers_that_stay_in_fp32_are_there(family):
    """Each alternative of the expression names some layer of some network of the family."""
    configs = [family.config_class()]
    if family.__name__ == "HiTSR":
        more = {"variant": "SNG", "resi_connection": "3conv", "upsampler": "nearest+conv"}
        configs.append(family.config_class(**more))
    names = [name for config in configs for name, _ in family(config).named_modules()]
    for alternative in re.sub(r"\(proj\|spatial_linear\)", "(proj)", family.fp32_layers).split("|"):
        assert any(re.fullmatch(alternative, name) for name in names), alternative


def test_networks_know_no_back_end():
    """They import `kernels.ops`, which decides, and what it works with: never a kernel for CPUs or CUDA."""
    folder = Path(architectures.__file__).parents[1] / "arch"
    imported = set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("kernels"):
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert imported
    assert {name for name in imported if ".cpu" in name or ".cuda" in name or "autotune" in name} == set()


# --- a fourth family, as CONTRIBUTING describes it: one file here, one in weights, one line in the list ---


@dataclass(frozen=True)
class TinyConfig(NetworkConfig):
    scale: int = 2
    in_channels: int = 3
    num_feat: int = 8
    num_blocks: int = 2

    def flops(self, height: int, width: int) -> float:
        c, f = self.in_channels, self.num_feat
        head = conv_flops(f, 4 * f) + 4 * conv_flops(f, c)
        return height * width * (conv_flops(c, f) + self.num_blocks * conv_flops(f, f) + head)


class Tiny(Network):
    """Residual 3x3 convolutions, then a pixel shuffle."""

    config_class = TinyConfig
    fp32_layers = r"conv_first|conv_last"

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        c = self.config = config
        self.conv_first = nn.Conv2d(c.in_channels, c.num_feat, 3, padding=1)
        self.tiny_body = nn.ModuleList(nn.Conv2d(c.num_feat, c.num_feat, 3, padding=1) for _ in range(c.num_blocks))
        self.upsample = Upsample(c.scale, c.num_feat)
        self.conv_last = nn.Conv2d(c.num_feat, c.in_channels, 3, padding=1)

    def strips(self, image: Tensor, plan: StripPlan) -> Strips:
        pixels = split_rows(to_features(image), strip_bounds(image.shape[2], plan.rows))
        x = conv2d(plan.reported(pixels), self.conv_first)
        for conv in self.tiny_body:
            x = conv2d(x.map(F.relu), conv) + x
        return conv2d(self.upsample(x), self.conv_last).map(torch.Tensor.float)

    def grid(self) -> Grid:
        return Grid(step=1, multiple=1, overlap=16)

    def bytes_per_pixel(self, dtype: torch.dtype) -> int:
        return 4 * 4 * self.config.num_feat * self.config.scale**2

    def strip_bytes(self, height: int, width: int, rows: int, device: torch.device, dtype: torch.dtype) -> int:
        return self.bytes_per_pixel(dtype) * width * min(rows + 2 * self.config.num_blocks, height)


def detect(shapes: ShapeMap) -> bool:
    return "tiny_body.0.weight" in shapes


def read_config(shapes: ShapeMap, known: KnownArguments) -> TinyConfig:
    num_feat, in_channels, _, _ = shape(shapes, "conv_first.weight", 4)
    return TinyConfig(2, in_channels, num_feat, length(shapes, "tiny_body"))


@pytest.fixture
def fourth(monkeypatch):
    """The module in `weights`, and the line in its list."""
    module = SimpleNamespace(
        NAME="Tiny", NETWORK=Tiny, SIGNATURE=("tiny_body.",), OPTIONS=frozenset(), IN_SPANDREL=False,
        SUPPORTS_HALF=True, detect=detect, read_config=read_config, build=Tiny,
        variant=lambda config: "Tiny", not_inferable=lambda config: (), header_metadata=lambda config: {},
    )  # fmt: skip
    monkeypatch.setattr(architectures, "FAMILIES", (*architectures.FAMILIES, module))
    made = architectures.SupertileArchitecture(module)
    monkeypatch.setitem(architectures.ARCHITECTURES, "Tiny", made)
    monkeypatch.setitem(training.FAMILIES, "Tiny", Tiny)  # made of that list when it is imported
    return module


def test_a_fourth_family_is_loaded_and_upscales_in_tiles_and_in_strips(fourth, tmp_path, randomized):
    network = randomized(Tiny(TinyConfig()))
    save_file(network.state_dict(), tmp_path / "tiny.safetensors")
    model = load_model(tmp_path / "tiny.safetensors")
    assert model.architecture.name == "Tiny"
    image = torch.rand(1, 3, 150, 90)
    with torch.no_grad():
        expected = network(image).clamp(0, 1)
    for tile in ("whole", 64, "auto"):
        result = Upscaler(model, device="cpu", precision="fp32", tile=tile)(image)
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
    by_strips = torch.cat(list(network.strips(image, StripPlan(rows=16))), 1).permute(0, 3, 1, 2)
    torch.testing.assert_close(by_strips.clamp(0, 1), expected, atol=1e-5, rtol=0)


def test_a_fourth_family_has_half_precision_flops_and_training(fourth):
    network = training.build("Tiny", {"num_blocks": 3}, seed=0)
    descriptor = SimpleNamespace(model=network, scale=2, architecture=None)
    half = precision.cast(descriptor, torch.bfloat16, torch.device("cpu")).model
    assert {name for name, p in half.named_parameters() if p.dtype == torch.float32} == {
        f"{layer}.{kind}" for layer in ("conv_first", "conv_last") for kind in ("weight", "bias")
    }
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, 9, 7))
    assert flops(network.config, 9, 7) == counter.get_total_flops()
