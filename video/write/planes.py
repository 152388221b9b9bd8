"""Copy planes into frames of the pixel formats that encoders take.

Samples are not converted: planes are put in the order of the format, interleaved or shifted into the high bits if it
requires that, and gray frames get neutral chroma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import Interpolation
from torch import Tensor

from ..frames import FrameFormat, Layout

_DEPTHS = (8, 9, 10, 12, 14, 16)
_SUBSAMPLING = {"444": (0, 0), "422": (1, 0), "420": (1, 1), "440": (0, 1), "411": (2, 0), "410": (2, 2)}


@dataclass(frozen=True)
class WrittenFormat:
    """A pixel format and the layout it takes.

    Attributes:
        order: for each component of a pixel: its plane in `layout`, or None for padding.
        packing: "planar"; "semi" for luma and one plane of Cb Cr pairs; "packed" for one plane of whole pixels.
        shift: bits by which codes are shifted up, in formats that store 10 bits in the high bits of 16.
    """

    name: str
    layout: Layout
    order: tuple[int | None, ...]
    packing: str = "planar"
    shift: int = 0


def _formats() -> dict[str, WrittenFormat]:
    formats = []
    for depth in _DEPTHS:
        suffix = "" if depth == 8 else f"{depth}le"
        formats.append(WrittenFormat(f"gray{suffix}", Layout("gray", depth), (0,)))
        formats.append(WrittenFormat(f"gbrp{suffix}", Layout("rgb", depth), (1, 2, 0)))
        formats.append(WrittenFormat(f"gbrap{suffix}", Layout("rgb", depth, alpha=True), (1, 2, 0, 3)))
        for chroma, subsampling in _SUBSAMPLING.items():
            formats.append(WrittenFormat(f"yuv{chroma}p{suffix}", Layout("yuv", depth, subsampling), (0, 1, 2)))
            if chroma in ("444", "422", "420"):
                layout = Layout("yuv", depth, subsampling, alpha=True)
                formats.append(WrittenFormat(f"yuva{chroma}p{suffix}", layout, (0, 1, 2, 3)))
    rgb, rgba = Layout("rgb", 8), Layout("rgb", 8, alpha=True)
    formats += [
        WrittenFormat("bgr0", rgb, (2, 1, 0, None), "packed"),
        WrittenFormat("bgra", rgba, (2, 1, 0, 3), "packed"),
        WrittenFormat("rgb24", rgb, (0, 1, 2), "packed"),
        WrittenFormat("ya8", Layout("gray", 8, alpha=True), (0, 1), "packed"),
        WrittenFormat("nv12", Layout("yuv", 8, (1, 1)), (0, 1, 2), "semi"),
        WrittenFormat("p010le", Layout("yuv", 10, (1, 1)), (0, 1, 2), "semi", shift=6),
    ]
    return {format.name: format for format in formats}


FORMATS = _formats()
# NVENC takes 10 bits of 4:4:4 in the high bits of 16.
NVENC_444_10 = WrittenFormat("yuv444p16le", Layout("yuv", 10), (0, 1, 2), shift=6)


def fill_frame(
    pixel_format: WrittenFormat, frames: FrameFormat, planes: Sequence[Tensor], template: av.VideoFrame | None = None
) -> av.VideoFrame:
    """Return a new frame holding `planes`: one copy, no conversion.

    Args:
        pixel_format: of the new frame.
        frames: size and layout of the planes. The layout is that of `pixel_format`, or for a "yuv" format also "gray"
            of the same depth and alpha.
        planes: integer tensors on any device.
        template: a frame of any format whose side data the new frame gets.

    Raises:
        ValueError: the planes do not have the number, sizes or dtype of the layout.
    """
    layout, width, height = frames.layout, frames.width, frames.height
    _check(layout, planes, width, height)
    if template is None:
        frame = av.VideoFrame(width, height, pixel_format.name)
    else:
        frame = template.reformat(width, height, pixel_format.name, interpolation=Interpolation.POINT)
    samples: list[np.ndarray | int] = [plane.cpu().numpy() for plane in planes]
    if layout.model == "gray" and pixel_format.layout.model == "yuv":
        samples[1:1] = [1 << (layout.depth - 1)] * 2  # neutral chroma

    dtype = np.dtype(np.uint8 if pixel_format.layout.depth + pixel_format.shift <= 8 else "<u2")
    targets = [
        np.frombuffer(memoryview(plane), dtype).reshape(
            -1, plane.line_size // dtype.itemsize
        )  # rows with their padding
        for plane in frame.planes
    ]
    if pixel_format.packing == "packed":
        components = len(pixel_format.order)
        for position, index in enumerate(pixel_format.order):
            target = targets[0][:height, position : width * components : components]
            target[...] = 0 if index is None else samples[index]
        return frame

    for position, index in enumerate(pixel_format.order):
        assert index is not None
        rows, columns = pixel_format.layout.size_of(index, width, height)
        if pixel_format.packing == "semi" and position:
            target = targets[1][:rows, position - 1 : 2 * columns : 2]
        else:
            target = targets[position][:rows, :columns]
        if pixel_format.shift:
            np.left_shift(samples[index], pixel_format.shift, out=target, casting="unsafe")
        else:
            target[...] = samples[index]
    return frame


def _check(layout: Layout, planes: Sequence[Tensor], width: int, height: int) -> None:
    expected = [layout.size_of(plane, width, height) for plane in range(layout.planes)]
    if (got := [tuple(plane.shape) for plane in planes]) != expected:
        raise ValueError(f"a frame of {width}x{height} has planes of (height, width) {expected}, not {got}")
    itemsize = 1 if layout.depth <= 8 else 2
    for plane in planes:
        if plane.is_floating_point() or plane.element_size() != itemsize:
            raise ValueError(f"samples of {layout.depth} bits are integers of {itemsize} bytes, not {plane.dtype}")
