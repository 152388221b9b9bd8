"""The cases of the benchmark: networks, images for them, and the question that each case answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Network:
    """A network with random weights, or that of a checkpoint.

    Attributes:
        name: as shown in tables.
        family: HAT, VapSR or HiT-SR, or an architecture of spandrel: its module, and after a dot its class if that has
            another name.
        config: hyper-parameters of a network with random weights.
        file: a checkpoint, or the name of a bundled model; `family` is then only a label.
        channels: of its input.
    """

    name: str
    family: str
    config: Mapping[str, Any] = field(default_factory=dict)
    file: str | Path | None = None
    channels: int = 3


@dataclass(frozen=True)
class Workload:
    """Images of one size that are computed in one pass."""

    width: int
    height: int
    images: int = 1

    @property
    def pixels(self) -> int:
        return self.width * self.height * self.images

    def __str__(self) -> str:
        return f"{self.width}x{self.height}" + (f", {self.images} images" if self.images > 1 else "")


@dataclass(frozen=True)
class Case:
    """A network, images of rising size, and the question that the measurement answers.

    Attributes:
        name: as given to `supertile bench --case`.
        question: "peers" compares with other implementations, and our precisions; "tiles" compares tile sizes;
            "batches" compares batch sizes; "growth" measures time and memory over pixels and frames.
        network: that all contenders compute.
        workloads: the images, by rising size.
        gpu_workloads: the images on an accelerator; empty for the same ones.
    """

    name: str
    question: str
    network: Network
    workloads: tuple[Workload, ...]
    gpu_workloads: tuple[Workload, ...] = ()

    def on(self, device_type: str) -> Case:
        """Return the case with the images for a type of device."""
        return replace(self, workloads=self.gpu_workloads) if self.gpu_workloads and device_type != "cpu" else self

    def shortened(self) -> Case:
        """Return the case with its smallest image only; with the three smallest if it is about growth."""
        return replace(self, workloads=self.workloads[: 3 if self.question == "growth" else 1])


HAT_S: dict[str, Any] = {"embed_dim": 144, "compress_dim": 6, "squeeze_dim": 6, "mlp_dim": 288, "oca_mlp_dim": 288}
HAT_L: dict[str, Any] = {"depths": (6,) * 12, "num_heads": (6,) * 12}
LIGHT: dict[str, dict[str, Any]] = {
    "ATD": {"embed_dim": 48, "upscale": 4, "upsampler": "pixelshuffledirect"},
    "DAT": {
        "embed_dim": 60, "split_size": [8, 32], "depth": [18], "num_heads": [6], "expansion_factor": 2.0, "upscale": 4,
        "resi_connection": "3conv", "upsampler": "pixelshuffledirect",
    },
    "DRCT": {
        "embed_dim": 60, "depths": (6, 6), "num_heads": (6, 6), "gc": 16, "upscale": 4, "upsampler": "pixelshuffle",
    },
    "FDAT": {"embed_dim": 108, "num_groups": 2, "depth_per_group": 3, "num_heads": 4, "scale": 4},
    "OmniSR": {"res_num": 5},
    "RCAN": {"n_resgroups": 5, "n_resblocks": 10},
    "RGT": {
        "embed_dim": 60, "split_size": [8, 32], "depth": [6, 6], "num_heads": [6, 6], "mlp_ratio": 2.0, "c_ratio": 0.5,
        "upscale": 4,
    },
    "Swin2SR": {
        "embed_dim": 60, "depths": [6, 6, 6, 6], "num_heads": [6, 6, 6, 6], "window_size": 8, "mlp_ratio": 2.0,
        "upscale": 4, "upsampler": "pixelshuffledirect",
    },
    "SwinIR": {
        "embed_dim": 60, "num_heads": [6, 6, 6, 6], "window_size": 8, "mlp_ratio": 2.0, "upscale": 4,
        "upsampler": "pixelshuffledirect",
    },
}  # fmt: skip
"""Other architectures of spandrel, of the sizes that their authors call light where there are such."""
SMALL = (Workload(64, 64),)
SQUARES = (Workload(64, 64), Workload(128, 128))
ON_GPU = (Workload(256, 256), Workload(512, 512))
BUNDLED = Network("bundled x4", "VapSR", file="supertile-4x")
BUNDLED_X2 = Network("bundled x2", "VapSR", file="supertile-2x")
FRAMES = (Workload(160, 90), Workload(320, 180), Workload(640, 360))
BATCH = 8
"""Images in one pass of the case about batches."""


def _hitsr(variant: str) -> Case:
    network = Network(f"HiT-{variant} x4", "HiT-SR", {"variant": variant})
    return Case(f"hit-{variant.lower()}", "peers", network, (Workload(64, 64), Workload(192, 192)), ON_GPU)


CASES = {
    case.name: case
    for case in (
        Case("hat-s", "peers", Network("HAT-S x4", "HAT", HAT_S), SQUARES, ON_GPU),
        Case("hat", "peers", Network("HAT x4", "HAT"), SMALL, ON_GPU),
        Case("hat-l", "peers", Network("HAT-L x4", "HAT", HAT_L), SMALL, ON_GPU),
        Case(
            "vapsr",
            "peers",
            Network("VapSR x4", "VapSR"),
            (Workload(320, 180),),
            (Workload(320, 180), Workload(1280, 720)),
        ),
        _hitsr("SRF"),
        _hitsr("SIR"),
        _hitsr("SNG"),
        Case("esrgan", "peers", Network("ESRGAN-23 x4", "ESRGAN"), SMALL, ON_GPU),
        Case(
            "compact", "peers", Network("Compact-16 x2", "Compact", {"upscale": 2}), FRAMES[1:2], (Workload(1280, 720),)
        ),
        Case("span", "peers", Network("SPAN x4", "SPAN", {"num_in_ch": 3, "num_out_ch": 3}), FRAMES[:1], FRAMES[2:]),
        Case("realplksr", "peers", Network("RealPLKSR x4", "PLKSR.RealPLKSR"), (Workload(96, 96),), ON_GPU),
        *(
            Case(name.lower(), "peers", Network(f"{name} x4", name, config), SMALL, ON_GPU)
            for name, config in LIGHT.items()
        ),
        Case("pixels", "peers", BUNDLED, FRAMES, (*FRAMES, Workload(1280, 720), Workload(1920, 1080))),
        Case("tiles", "tiles", BUNDLED_X2, (Workload(576, 576),), (Workload(512, 512), Workload(2048, 2048))),
        Case("tiles-2048", "tiles", BUNDLED_X2, (Workload(256, 256), Workload(512, 512), Workload(2048, 2048))),
        Case("batches", "batches", BUNDLED, (Workload(64, 64, BATCH),), (Workload(128, 128, 4 * BATCH),)),
    )
}
DEFAULT = (
    CASES["hat-s"].shortened(), CASES["vapsr"], CASES["hit-srf"].shortened(), CASES["pixels"], CASES["tiles"],
    CASES["batches"],
)  # fmt: skip
"""The cases of `supertile bench` without options: some minutes on two cores."""

SCALING = (
    Case("megapixels", "growth", BUNDLED_X2, (
        Workload(400, 250), Workload(960, 540), Workload(1920, 1080), Workload(3840, 2160), Workload(7680, 4320),
    )),
    Case("frames", "growth", BUNDLED_X2, tuple(Workload(320, 180, frames) for frames in (1, 4, 16, 64))),
)  # fmt: skip
"""0.1 to 33 megapixels, and 1 to 64 frames."""


def checkpoint_cases(file: str | Path, family: str, scale: int, channels: int) -> list[Case]:
    """Return the cases for a user's own checkpoint: peers and precisions, tiles, batches."""
    network = Network(f"{Path(file).stem} x{scale}", family, file=file, channels=channels)
    return [
        Case("model", "peers", network, SQUARES, ON_GPU),
        Case("model, tiles", "tiles", network, (Workload(256, 256),), (Workload(1024, 1024),)),
        Case("model, batches", "batches", network, (Workload(32, 32, BATCH),), (Workload(128, 128, 4 * BATCH),)),
    ]
