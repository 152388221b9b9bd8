"""An upscaler as values that travel to other processes and machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..weights.combined import blend_models, chain_models
from ..weights.loader import load_model
from .upscaler import Upscaler


@dataclass(frozen=True)
class UpscalerSpec:
    """Everything that `Upscaler` is made of, but the device.

    Attributes:
        model: path of a checkpoint, or the name of a bundled network.
        mean, base_window, denoise: as `load_model` takes them.
        blend: another model to blend it with, and that one's weight, as `blend_models` takes them.
        then: models that run after it, as `chain_models` takes them.
        settings: keyword arguments of `Upscaler`, without `device`.
    """

    model: str | Path
    mean: tuple[float, ...] | None = None
    base_window: Any = None
    denoise: float | None = None
    settings: tuple[tuple[str, Any], ...] = ()
    blend: tuple[str | Path, float] | None = None
    then: tuple[str | Path, ...] = ()

    def build(self, device: str = "auto") -> Upscaler:
        """Load the models and return an upscaler on a device.

        Raises CheckpointError, CombinationError, UpscaleError.
        """
        model = load_model(self.model, mean=self.mean, base_window=self.base_window, denoise=self.denoise)
        if self.blend is not None:
            model = blend_models(model, *self.blend)
        if self.then:
            model = chain_models(model, *self.then)
        return Upscaler(model, device=device, **dict(self.settings))

    def with_settings(self, **settings: Any) -> UpscalerSpec:
        """Return the spec with other settings."""
        return replace(self, settings=tuple({**dict(self.settings), **settings}.items()))

    def with_precision(self, upscaler: Upscaler) -> UpscalerSpec:
        """Return the spec with the precision that an upscaler has chosen, for devices that must agree."""
        return self.with_settings(precision=upscaler.precision)

    @property
    def models(self) -> tuple[str | Path, ...]:
        """All models, in the order in which `with_models` takes them."""
        return (self.model, *([] if self.blend is None else [self.blend[0]]), *self.then)

    def with_models(self, models: Sequence[str | Path]) -> UpscalerSpec:
        """Return the spec with its models at other paths."""
        model, *others = models
        blend = None if self.blend is None else (others.pop(0), self.blend[1])
        return replace(self, model=model, blend=blend, then=tuple(others))

    @property
    def name(self) -> str:
        """The model's name for messages."""
        name = Path(self.model).name
        if self.denoise is not None:
            name += f", denoise {self.denoise:g}"
        if self.blend is not None:
            name += f", blended with {self.blend[1]:g} of {Path(self.blend[0]).name}"
        return ", then ".join([name, *(Path(model).name for model in self.then)])
