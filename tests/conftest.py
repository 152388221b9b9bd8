"""What the tests share: the golden cases and official files outside the repository, and networks of random weights.

The shared data lies in the folder that SUPERTILE_SHARED names, else in `shared` beside the repository. Tests that need
it are skipped, with the reason, where it is absent.
"""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from spandrel import ImageModelDescriptor, ModelTiling
from spandrel.architectures.Compact import CompactArch
from supertile.arch import VapSR, VapSRConfig
from torch import Tensor, nn


def write_small_vapsr(path: Path, num_feat: int = 16) -> str:
    """Write a VapSR x2 of one block with random weights, always the same; return its path as text."""
    torch.manual_seed(0)
    net = VapSR(VapSRConfig(scale=2, num_feat=num_feat, num_blocks=1, attention_dim=num_feat))
    save_file(net.state_dict(), path)
    return str(path)


SHARED = Path(os.environ.get("SUPERTILE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
GOLDEN = SHARED / "checkpoints" / "golden"


@dataclass(frozen=True)
class GoldenCase:
    """A checkpoint in the official key layout, and what the official code makes of an input with it, unclamped."""

    name: str
    facts: dict

    @property
    def path(self) -> Path:
        return GOLDEN / f"{self.name}.sd.safetensors"

    @cached_property
    def io(self) -> dict[str, Tensor]:
        return load_file(GOLDEN / f"{self.name}.io.safetensors")

    @property
    def limit(self) -> float:
        """How far fp32 may be off; the one network with outputs up to 6 may be farther off."""
        return 2e-4 if self.name == "hit_sir_small_3conv_ps_x2" else 5e-5

    @property
    def options(self) -> dict:
        """What has to be told to `load_model`, because weights do not tell it."""
        told, options = self.facts["not_inferable"], {}
        if "mean" in told:
            options["mean"] = tuple(told["mean"])
        if "base_win_size" in told:
            options["base_window"] = tuple(told["base_win_size"])
        return options


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `golden` runs once for each golden case."""
    if "golden" not in metafunc.fixturenames:
        return
    if not GOLDEN.is_dir():
        reason = pytest.mark.skip(reason=f"there are no golden files in {GOLDEN}")
        metafunc.parametrize("golden", [pytest.param(None, marks=reason, id="absent")])
        return
    facts = json.loads((GOLDEN / "index.json").read_text())
    metafunc.parametrize("golden", [GoldenCase(name, each) for name, each in facts.items()], ids=list(facts))


def hear_interrupts() -> None:
    """For `preexec_fn`: what a shell starts in the background ignores SIGINT, and so do its children; tests too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def golden_case() -> Callable[[str], GoldenCase]:
    """One golden case by its name."""
    if not GOLDEN.is_dir():
        pytest.skip(f"there are no golden files in {GOLDEN}")
    facts = json.loads((GOLDEN / "index.json").read_text())
    return lambda name: GoldenCase(name, facts[name])


@pytest.fixture(scope="session")
def official_vapsr() -> Callable[[str], Path]:
    """Path of an official VapSR file, which is test data only and never part of the repository."""

    def path(name: str) -> Path:
        file = SHARED / "checkpoints" / "vapsr" / name
        if not file.is_file():
            pytest.skip(f"there is no {file}")
        return file

    return path


@pytest.fixture(scope="session")
def nasa() -> Path:
    """A real clip with two video streams, two sounds and subtitles."""
    path = SHARED / "videos" / "nasa_13013.mp4"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    return path


@pytest.fixture(scope="session")
def image_pairs() -> Callable[[str, int], list[tuple[Path, Path]]]:
    """The small and the large image of every pair of Set5 or Set14."""

    def pairs(name: str, scale: int) -> list[tuple[Path, Path]]:
        folder = SHARED / "images" / name / f"x{scale}"
        if not folder.is_dir():
            pytest.skip(f"there is no {folder}")
        return [(p, p.with_name(p.name.replace("_LR", "_HR"))) for p in sorted(folder.glob("*_LR.png"))]

    return pairs


@pytest.fixture(scope="session")
def read_rgb() -> Callable[[Path], Tensor]:
    """(3, H, W) in [0, 1] of an 8-bit file."""
    return lambda path: torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="session")
def randomized() -> Callable[..., nn.Module]:
    """Gives a network weights in which every tensor matters, and makes it ready to use."""

    def fill(net: nn.Module, seed: int = 0) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                if parameter.dim() > 1 and "bias_table" not in name:
                    parameter.copy_(noise * 0.7 / math.sqrt(parameter[0].numel()))
                else:
                    is_gain = parameter.dim() == 1 and name.endswith("weight")
                    parameter.copy_(0.2 * noise + is_gain)
        return net.eval().requires_grad_(False)

    return fill


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Writes a network's state dict as safetensors and gives the path."""

    def save(net: nn.Module, name: str = "network.safetensors", **metadata: str) -> Path:
        path = tmp_path / name
        save_file({n: t.contiguous() for n, t in net.state_dict().items()}, path, metadata or None)
        return path

    return save


class Enlarger(nn.Module):
    """Repeats every pixel `scale` times; what it is given and what happens before is told to `before`."""

    def __init__(self, scale: int = 2, before: Callable[[Tensor], None] = lambda batch: None) -> None:
        super().__init__()
        self.scale, self.before = scale, before
        self.one = nn.Parameter(torch.ones(1), requires_grad=False)
        self.batches: list[tuple[int, ...]] = []

    def forward(self, batch: Tensor) -> Tensor:
        self.before(batch)
        self.batches.append((batch.shape[0], *batch.shape[2:]))
        return batch.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3) * self.one


@pytest.fixture(scope="session")
def described() -> Callable[..., ImageModelDescriptor]:
    """Any network as spandrel would hand it over, of no family of ours."""

    def describe(net: nn.Module, scale: int = 2, tiling: ModelTiling = ModelTiling.SUPPORTED) -> ImageModelDescriptor:
        return ImageModelDescriptor(
            net, net.state_dict(), architecture=CompactArch(), purpose="SR", tags=[], supports_half=True,
            supports_bfloat16=True, scale=scale, input_channels=3, output_channels=3, tiling=tiling,
        )  # fmt: skip

    return describe


@pytest.fixture(scope="session")
def enlarger(described) -> Callable[..., ImageModelDescriptor]:
    def make(*arguments: object, **options: object) -> ImageModelDescriptor:
        net = Enlarger(*arguments, **options)
        return described(net, scale=net.scale)

    return make
