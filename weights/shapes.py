"""Helpers to read hyper-parameters off the shapes of a checkpoint's tensors, and arguments known from elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import WrongTensorsError

ShapeMap = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class KnownArguments:
    """Arguments of a network that are known from elsewhere than its weights.

    Attributes:
        arguments: constructor arguments that came with the file (a header of traiNNer-redux or Supertile, a Hugging
            Face config.json).
        mean, base_window: given by the user; they take precedence.
    """

    arguments: Mapping[str, object] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    base_window: tuple[int, int] | None = None

    @classmethod
    def gather(
        cls,
        metadata: Mapping[str, object],
        config: Mapping[str, object],
        mean: tuple[float, ...] | None = None,
        base_window: int | tuple[int, int] | None = None,
    ) -> KnownArguments:
        """Merge all sources; the header of the file itself takes precedence over a config.json beside it."""
        arguments: dict[str, object] = dict(config)
        for key in ("metadata", OWN_METADATA_KEY):
            value = metadata.get(key)
            if isinstance(value, str):
                try:
                    value = json.loads(value)
                except ValueError:
                    continue
            if isinstance(value, Mapping):
                arguments |= value
        if isinstance(base_window, int):
            base_window = (base_window, base_window)
        return cls(arguments, mean, base_window)

    def number(self, name: str, default: float) -> float:
        """Return a finite number among the arguments, else the default."""
        value = self.arguments.get(name)
        usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if usable else default  # type: ignore[arg-type]

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """Return a list of finite numbers among the arguments, else None."""
        value = self.arguments.get(name)
        if not isinstance(value, (list, tuple)) or not value or len(value) > 64:
            return None
        if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in value):
            return None
        return tuple(float(v) for v in value)


OWN_METADATA_KEY = "supertile"
"""The key in a safetensors header under which `supertile convert` stores what shapes cannot tell."""


def shape(shapes: ShapeMap, name: str, dims: int) -> tuple[int, ...]:
    """Return the shape of a tensor. Raises WrongTensorsError if it is missing, empty or of other dimensions."""
    found = shapes.get(name)
    if found is None:
        raise WrongTensorsError(None, f"the tensor {name} is missing, so the file is incomplete; download it again")
    if len(found) != dims or min(found) < 1:
        raise WrongTensorsError(None, f"the tensor {name} has the shape {list(found)}, which no such network has")
    return found


def length(shapes: ShapeMap, prefix: str) -> int:
    """Count `prefix.0`, `prefix.1`, ... up to the first gap."""
    start = len(prefix) + 1
    indices = {name[start:].partition(".")[0] for name in shapes if name.startswith(prefix + ".")}
    count = 0
    while str(count) in indices:
        count += 1
    return count


def exact_root(value: int, counted: str) -> int:
    """Return the root of a number that must be a square. Raises WrongTensorsError, which names what it counts."""
    root = math.isqrt(value)
    if root * root != value:
        raise WrongTensorsError(None, f"it has {value} {counted}, which should be a square number")
    return root


def pixel_shuffle_scale(shapes: ShapeMap, prefix: str) -> int:
    """Return the scale of convolutions and pixel shuffles: the product of sqrt(out / in) over `prefix.N.weight`."""
    scale = 1
    for name, found in shapes.items():
        if name.startswith(prefix + ".") and name.endswith(".weight") and len(found) == 4:
            scale *= exact_root(found[0] // max(found[1], 1), f"times as many channels after {name}")
    return scale


def short(names: list[str]) -> str:
    """Return a few of many names, for an error."""
    return ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
