"""What is measured: networks, images for them, and which question a case asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Network:
    """A network of random weights, or one of a file.

    family: HAT, VapSR or HiT-SR, built by our classes from `config`; or an architecture of spandrel's. Where there is
    a `file` (or the name of a bundled network) it is only a label.
    """

    name: str
    family: str
    config: Mapping[str, Any] = field(default_factory=dict)
    file: str | Path | None = None
    channels: int = 3


@dataclass(frozen=True)
class Input:
    """Images that are computed in one pass."""

    width: int
    height: int
    images: int = 1

    @property
    def pixels(self) -> int:
        return self.width * self.height * self.images

    def __str__(self) -> str:
        return f"{self.width}x{self.height}" + (f", {self.images} of them" if self.images > 1 else "")


@dataclass(frozen=True)
class Case:
    """A network, images by rising size, and what is held against each other.

    what: "peers" (what a user could pick instead, and our precisions), "tiles", "batches", or "growth" (of time and
    memory with pixels and frames). `large` are the images where there is an accelerator.
    """

    name: str
    what: str
    network: Network
    inputs: tuple[Input, ...]
    large: tuple[Input, ...] = ()

    def on(self, device_type: str) -> Case:
        return replace(self, inputs=self.large) if self.large and device_type != "cpu" else self

    def shortened(self) -> Case:
        """The smallest image; of what asks for growth, the first three."""
        return replace(self, inputs=self.inputs[: 3 if self.what == "growth" else 1])


HAT_S: dict[str, Any] = {"embed_dim": 144, "compress_dim": 6, "squeeze_dim": 6, "mlp_dim": 288, "oca_mlp_dim": 288}
HAT_L: dict[str, Any] = {"depths": (6,) * 12, "num_heads": (6,) * 12}
SMALL = (Input(64, 64),)
SQUARES = (Input(64, 64), Input(128, 128))
ON_GPU = (Input(256, 256), Input(512, 512))
BUNDLED = Network("VapSR-S x4", "VapSR", file="supertile-4x")
BUNDLED_X2 = Network("VapSR-S x2", "VapSR", file="supertile-2x")
FRAMES = (Input(160, 90), Input(320, 180), Input(640, 360))
BATCH = 8
"""Images in a pass of the case that asks for batches."""


def _hitsr(variant: str) -> Case:
    network = Network(f"HiT-{variant} x4", "HiT-SR", {"variant": variant})
    return Case(f"hit-{variant.lower()}", "peers", network, (Input(64, 64), Input(192, 192)), ON_GPU)


CASES = {
    case.name: case
    for case in (
        Case("hat-s", "peers", Network("HAT-S x4", "HAT", HAT_S), SQUARES, ON_GPU),
        Case("hat", "peers", Network("HAT x4", "HAT"), SMALL, ON_GPU),
        Case("hat-l", "peers", Network("HAT-L x4", "HAT", HAT_L), SMALL, ON_GPU),
        Case("vapsr", "peers", Network("VapSR x4", "VapSR"), (Input(320, 180),), (Input(320, 180), Input(1280, 720))),
        _hitsr("SRF"),
        _hitsr("SIR"),
        _hitsr("SNG"),
        Case("esrgan", "peers", Network("ESRGAN x4", "ESRGAN"), SMALL, ON_GPU),
        Case("compact", "peers", Network("Compact x4", "Compact"), (Input(640, 360),), (Input(1280, 720),)),
        Case("pixels", "peers", BUNDLED, FRAMES, (*FRAMES, Input(1280, 720), Input(1920, 1080))),
        Case("tiles", "tiles", BUNDLED_X2, (Input(576, 576),), (Input(512, 512), Input(2048, 2048))),
        Case("tiles-2048", "tiles", BUNDLED_X2, (Input(256, 256), Input(512, 512), Input(2048, 2048))),
        Case("batches", "batches", BUNDLED, (Input(64, 64, BATCH),), (Input(128, 128, 4 * BATCH),)),
    )
}
DEFAULT = (
    CASES["hat-s"].shortened(), CASES["vapsr"], CASES["hit-srf"].shortened(), CASES["pixels"], CASES["tiles"],
    CASES["batches"],
)  # fmt: skip
"""Some minutes on two cores."""

SCALING = (
    Case("megapixels", "growth", BUNDLED_X2, (
        Input(400, 250), Input(960, 540), Input(1920, 1080), Input(3840, 2160), Input(7680, 4320),
    )),
    Case("frames", "growth", BUNDLED_X2, tuple(Input(320, 180, frames) for frames in (1, 4, 16, 64))),
)  # fmt: skip
"""0.1 to 33 megapixels, and 1 to 64 frames."""


def of_file(file: str | Path, family: str, scale: int, channels: int) -> list[Case]:
    """What is measured of a user's own checkpoint: peers and precisions, tiles, batches."""
    network = Network(f"{Path(file).stem} x{scale}", family, file=file, channels=channels)
    return [
        Case("model", "peers", network, SQUARES, ON_GPU),
        Case("model, tiles", "tiles", network, (Input(256, 256),), (Input(1024, 1024),)),
        Case("model, batches", "batches", network, (Input(32, 32, BATCH),), (Input(128, 128, 4 * BATCH),)),
    ]
