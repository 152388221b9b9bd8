"""Values of the placeholders in a target that the model and the source decide, before the model is loaded."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ..errors import SupertileError
from ..images.io.dimensions import image_size
from ..images.size import Size
from ..video.frames import is_turned
from ..video.kinds import is_pattern, is_video_job
from ..video.read.open import SourceOptions, open_source
from ..video.source_kind import source_kind
from ..video.upscale import target_framing
from ..video.write.encoder_options import EncoderOptions
from ..video.write.open import wants_even_sides
from ..weights.bundle import bundled_for, resolve
from ..weights.loader import inspect_checkpoint

UNKNOWN = "unknown"
"""Stands for each value of a source that cannot be read; upscaling it says why."""


class ResultValues:
    """Finds model, scale, width and height of results.

    Args:
        model: that serves all sources; None: a bundled one, which each source decides.
        size: of the results; None: the scale of the model.
        mean, base_window: as `load_model` takes them.
        codec, pixel_format: of videos, as `EncoderOptions` takes them.
        frame_rate: of numbered images.
    """

    def __init__(
        self,
        model: str | None,
        size: Size | None,
        *,
        mean: Any,
        base_window: int | None,
        codec: str,
        pixel_format: str,
        frame_rate: Any,
    ) -> None:
        self._model, self._size = model, Size.coerce(size)
        self._encoder = EncoderOptions(codec=codec, pixel_format=pixel_format)
        self._numbered = SourceOptions(frame_rate=frame_rate)
        self._scale_of = cache(lambda name: inspect_checkpoint(name, mean=mean, base_window=base_window).scale)

    def of(self, source: Path, result: Path) -> dict[str, str]:
        """Return the values for a source, whose result would be called `result` in a folder. Raises CheckpointError."""
        model = self._model
        if model is None:
            model = bundled_for(self._size.common_factor, degraded=source_kind(source).is_degraded)
        scale = self._scale_of(model)
        name = resolve(model).stem
        try:
            measure = self._video if is_video_job(source, result) else self._image
            factor, width, height = measure(source, result, scale)
        except (SupertileError, OSError):
            return {"model": name, "scale": UNKNOWN, "width": UNKNOWN, "height": UNKNOWN}
        return {"model": name, "scale": f"{factor:.3g}", "width": str(width), "height": str(height)}

    def _image(self, source: Path, _: Path, scale: int) -> tuple[float, int, int]:
        width, height = image_size(source)
        framing = self._size.framing(width, height, scale)
        return framing.scaled[0] / width, *framing.size

    def _video(self, source: Path, result: Path, scale: int) -> tuple[float, int, int]:
        frames = open_source(source, self._numbered if is_pattern(source) else SourceOptions(), warn=lambda _: None)
        frames.close()
        info: Any = frames.info
        framing = target_framing(self._size, info, scale, even=wants_even_sides(result, info, self._encoder))
        shown = framing.turned() if is_turned(info.display_matrix) else framing
        return framing.scaled[0] / info.width, *shown.size
