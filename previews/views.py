"""An image, or a frame of a video, to choose places in and to cut crops from; upright."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ..images.framing import LUMA
from ..images.io.picture import Picture
from ..images.region import Box, RegionPlan, upscale_region
from ..images.size import Size, runs_of_the_model
from ..inference.resample import Part, resample
from ..video.frame_region import StillFrame, region_plan, upscale_frame_region
from ..video.frames import VideoInfo, is_turned, upright
from ..video.upscale import target_framing

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

Planes = tuple[Tensor, Tensor | None]
"""Color (1 or 3, H, W) float32 in [0, 1], and alpha (1, H, W) or None."""

_BOARD = (0.62, 0.78)  # grays of the checkerboard behind transparency
_FIELD = 8  # pixels: side of a field of the board


class View(Protocol):
    """Interface of an image and of a frame."""

    @property
    def seconds(self) -> Fraction | None:
        """Time of a frame; None for an image."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        ...

    @property
    def planes(self) -> Planes:
        """All of it, as the source has it."""
        ...

    def target(self, upscaler: Upscaler, size: Size) -> tuple[int, int]:
        """Return (width, height) of the whole result. Raises SizeError."""
        ...

    def works(self, box: Box, upscaler: Upscaler, size: Size) -> tuple[int, int]:
        """Return the pixels that go through the network for a part, and for all of it."""
        ...

    def upscaled(self, box: Box, upscaler: Upscaler, size: Size, cancelled: Callable[[], bool] | None) -> Planes:
        """Return part of the result. Raises UpscaleError, Cancelled."""
        ...


@dataclass(frozen=True, eq=False)
class ImageView:
    """A single image."""

    picture: Picture
    seconds: None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.width, self.picture.height

    @property
    def planes(self) -> Planes:
        return self.picture.color, self.picture.alpha

    def target(self, upscaler: Upscaler, size: Size) -> tuple[int, int]:
        return size.framing(*self.size, upscaler.scale).scaled

    def works(self, box: Box, upscaler: Upscaler, size: Size) -> tuple[int, int]:
        target = self.target(upscaler, size)
        return RegionPlan.of(box, self.size, target, upscaler).work, _work(self.size, target, upscaler)

    def upscaled(self, box: Box, upscaler: Upscaler, size: Size, cancelled: Callable[[], bool] | None) -> Planes:
        part = upscale_region(self.picture, box, upscaler, size=size, cancelled=cancelled)
        return part.color, part.alpha


@dataclass(frozen=True, eq=False)
class FrameView:
    """A frame of a video, an animation or numbered images.

    even: sides of results are even, as `upscale_video` makes them for the target.
    """

    still: StillFrame
    even: bool

    @property
    def seconds(self) -> Fraction:
        return self.still.seconds

    @property
    def size(self) -> tuple[int, int]:
        return self._shown(self._info.width, self._info.height)

    @property
    def planes(self) -> Planes:  # computed anew: as floats, many frames would fill the memory
        color, alpha = self.still.rgb()
        return self._turned(color), None if alpha is None else self._turned(alpha)

    def target(self, upscaler: Upscaler, size: Size) -> tuple[int, int]:
        return self._shown(*self._stored_target(upscaler, size))

    def works(self, box: Box, upscaler: Upscaler, size: Size) -> tuple[int, int]:
        target = self._stored_target(upscaler, size)
        part = region_plan(self.still, self._stored(box), upscaler, target).work
        return part, _work((self._info.width, self._info.height), target, upscaler)

    def upscaled(self, box: Box, upscaler: Upscaler, size: Size, cancelled: Callable[[], bool] | None) -> Planes:
        target = self._stored_target(upscaler, size)
        color, alpha = upscale_frame_region(self.still, self._stored(box), upscaler, target, cancelled=cancelled)
        return self._turned(color), None if alpha is None else self._turned(alpha)

    @property
    def _info(self) -> VideoInfo:
        return self.still.info

    def _shown(self, width: int, height: int) -> tuple[int, int]:
        return (height, width) if is_turned(self._info.display_matrix) else (width, height)

    def _stored_target(self, upscaler: Upscaler, size: Size) -> tuple[int, int]:
        return target_framing(size, self._info, upscaler.scale, even=self.even).scaled

    def _turned(self, planes: Tensor) -> Tensor:
        turned = upright(planes.cpu().movedim(0, -1).numpy(), self._info.display_matrix)
        return torch.from_numpy(turned.copy()).movedim(-1, 0).contiguous()

    def _stored(self, box: Box) -> Box:
        """Return where the pixels of an upright box are stored: `upright` undone."""
        matrix = self._info.display_matrix
        if matrix is None:
            return box
        turned, (width, height) = is_turned(matrix), self.size
        across, down = (matrix[3], matrix[1]) if turned else (matrix[0], matrix[4])
        left, top, right, bottom = box
        if across < 0:
            left, right = width - right, width - left
        if down < 0:
            top, bottom = height - bottom, height - top
        return Box(top, left, bottom, right) if turned else Box(left, top, right, bottom)


def _work(source: tuple[int, int], target: tuple[int, int], upscaler: Upscaler) -> int:
    return sum(width * height for width, height in runs_of_the_model(*source, target, upscaler.scale))


def luma_of(view: View) -> Tensor:
    """Return luma (H, W) in [0, 1], on mid-gray where the view is transparent."""
    color, alpha = view.planes
    luma = color[0] if color.shape[0] == 1 else (color * color.new_tensor(LUMA)[:, None, None]).sum(0)
    return luma if alpha is None else luma * alpha[0] + 0.5 * (1 - alpha[0])


def bicubic(view: View, box: Box, target: tuple[int, int]) -> Planes:
    """Return part of a view, enlarged to `target` as image viewers do: bicubic, of the values as they are."""
    color, alpha = view.planes
    size = view.size
    part = Part(size, (0, 0), box.scaled(size, target))
    if alpha is None:
        return resample(color, target, part=part).clamp(0, 1), None
    large_alpha = resample(alpha, target, part=part).clamp(0, 1)
    visible = resample(color * alpha, target, part=part) / large_alpha.clamp_min(1 / 65536)
    return visible.clamp(0, 1), large_alpha


def thumbnail(view: View, longest: int) -> Tensor:
    """Return all of a view (3, h, w) in [0, 1], at most `longest` pixels a side."""
    color, alpha = view.planes
    width, height = view.size
    shrink = min(1.0, longest / max(width, height))
    step = max(1, math.floor(0.5 / shrink))  # far too many pixels are thinned out first
    small = max(1, round(width * shrink)), max(1, round(height * shrink))
    color, alpha = color[:, ::step, ::step], None if alpha is None else alpha[:, ::step, ::step]
    color = resample(color, small).clamp(0, 1)
    return flat((color, None if alpha is None else resample(alpha, small).clamp(0, 1)))


def flat(planes: Planes) -> Tensor:
    """Return color (3, H, W), on a checkerboard where it is transparent."""
    color, alpha = planes
    color = color.detach().float().cpu().expand(3, -1, -1)
    if alpha is None:
        return color
    alpha = alpha.detach().float().cpu()
    y, x = (torch.arange(side) // _FIELD for side in color.shape[-2:])
    board = torch.tensor(_BOARD)[(y[:, None] + x) % 2]
    return color * alpha + board * (1 - alpha)
