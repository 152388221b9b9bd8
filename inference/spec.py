"""An upscaler as values that travel to other processes and machines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..weights.loader import load_model
from .upscaler import Upscaler


@dataclass(frozen=True)
class UpscalerSpec:
    """Everything that `Upscaler` is made of, but the device.

    Attributes:
        model: path of a checkpoint, or the name of a bundled network.
        mean, base_window, denoise: as `load_model` takes them.
        settings: keyword arguments of `Upscaler`, without `device`.
    """

    model: str | Path
    mean: tuple[float, ...] | None = None
    base_window: Any = None
    denoise: float | None = None
    settings: tuple[tuple[str, Any], ...] = ()

    def build(self, device: str = "auto") -> Upscaler:
        """Load the model and return an upscaler on a device. Raises CheckpointError, UpscaleError."""
        model = load_model(self.model, mean=self.mean, base_window=self.base_window, denoise=self.denoise)
        return Upscaler(model, device=device, **dict(self.settings))

    def with_settings(self, **settings: Any) -> UpscalerSpec:
        """Return the spec with other settings."""
        return replace(self, settings=tuple({**dict(self.settings), **settings}.items()))

    def with_precision(self, upscaler: Upscaler) -> UpscalerSpec:
        """Return the spec with the precision that an upscaler has chosen, for devices that must agree."""
        return self.with_settings(precision=precision_name(upscaler))

    @property
    def name(self) -> str:
        """The model's name for messages."""
        name = Path(self.model).name
        return name if self.denoise is None else f"{name}, denoise {self.denoise:g}"


def precision_name(upscaler: Upscaler) -> str:
    """Return the precision of an upscaler as its argument `precision` takes it."""
    names = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
    return names[str(upscaler.dtype).removeprefix("torch.")]
