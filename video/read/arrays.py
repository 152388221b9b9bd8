"""Read frames from arrays or tensors in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...images.io.picture import Picture
from ..container import check_dimensions
from ..errors import VideoError
from ..frames import Color, Frame, Layout, Span, VideoInfo
from .images import ImageSource, exact_rate


class ArrayReader(ImageSource):
    """RGB frames from any iterable of arrays or tensors, taken one at a time.

    Args:
        frames: numpy arrays (H, W, 3 or 4) of uint8 or uint16, or tensors (3 or 4, H, W) of floats in [0, 1]
            (clamped) or uint8, all of one shape and dtype. The fourth channel is straight alpha. The first frame is
            taken on opening.
        frame_rate: frames per second, as `exact_rate` takes it.
        span: seconds; frames with start <= time < end are returned.
        float_depth: bits that floats are rounded to, 8 or 16.
        name: for messages.

    Raises:
        VideoError: there is no frame in the span, or a frame differs from the first in size or type.
        TypeError: a frame is not such an array or tensor.
    """

    def __init__(
        self,
        frames: Iterable[Any],
        frame_rate: Fraction | float | str,
        *,
        span: Span = Span(),
        float_depth: int = 16,
        name: str = "the given frames",
    ) -> None:
        super().__init__()
        if float_depth not in (8, 16):
            raise ValueError(f"float_depth must be 8 or 16, not {float_depth!r}.")
        rate = exact_rate(frame_rate)
        span.validate()
        first = math.ceil((span.start or 0) * rate)
        last = None if span.end is None else math.ceil(span.end * rate)
        self._depth = float_depth
        self._given = iter(frames)
        opening: tuple[Tensor, ...] | None = None
        for index in range(first + 1):
            given = next(self._given, None)
            if given is None:
                raise VideoError(
                    f"{name}: there are only {index} frames." if index else f"{name}: there are no frames."
                )
            if index == first:
                opening = self._planes(given)
        assert opening is not None
        count = len(frames) if isinstance(frames, Sized) else None
        if count is not None and last is not None:
            count = min(count, last)
        total = count - first if count is not None else None
        height, width = opening[0].shape
        check_dimensions(width, height, name)
        depth = 8 if opening[0].dtype == torch.uint8 else 16
        self.info = VideoInfo(
            name=name, width=width, height=height, layout=Layout("rgb", depth, alpha=len(opening) == 4),
            color=Color(0, True), time_base=1 / rate, frame_rate=rate, start_pts=first, duration=total, frames=total,
        )  # fmt: skip
        self._frames = self._read(opening, last)

    def _read(self, opening: tuple[Tensor, ...], last: int | None) -> Iterator[Frame]:
        pts = self.info.start_pts
        yield Frame(opening, pts, 1)
        wanted = [(plane.shape, plane.dtype) for plane in opening]
        while last is None or pts + 1 < last:
            given = next(self._given, None)
            if given is None:
                return
            pts += 1
            planes = self._planes(given)
            if [(plane.shape, plane.dtype) for plane in planes] != wanted:
                kind = f"{planes[0].shape[1]}x{planes[0].shape[0]}, {len(planes)} channels of {planes[0].dtype}"
                raise VideoError(f"{self.info.name}: frame {pts + 1} differs from the first frame ({kind}).")
            yield Frame(planes, pts, 1)

    def _planes(self, given: Any) -> tuple[Tensor, ...]:
        if isinstance(given, np.ndarray) and given.ndim == 3 and given.shape[2] in (3, 4):
            if given.dtype in (np.uint8, np.uint16) and given.size:
                codes = np.array(given.transpose(2, 0, 1), dtype=given.dtype.newbyteorder("="), order="C")
                return tuple(torch.from_numpy(codes))
        elif isinstance(given, Tensor) and given.dim() == 3 and given.shape[0] in (3, 4) and given.numel():
            if given.dtype == torch.uint8:
                return tuple(given.detach().clone())
            if given.is_floating_point():
                image = Picture(given.detach().float())
                codes = image.codes(self._depth)
                return tuple(torch.from_numpy(np.ascontiguousarray(codes.transpose(2, 0, 1))))
        shape = f"{type(given).__name__} {tuple(getattr(given, 'shape', ()))} {getattr(given, 'dtype', '')}".strip()
        raise TypeError(
            "a frame must be a numpy array (H, W, 3 or 4) of uint8 or uint16, or a tensor (3 or 4, H, W) of floats or "
            f"uint8, not {shape}."
        )

    def close(self) -> None:
        super().close()
        with suppress(AttributeError, ValueError):
            self._given.close()  # type: ignore[attr-defined]
        self._given = iter(())
