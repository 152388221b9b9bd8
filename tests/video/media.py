"""Frames to write, and files read back, for the tests of the writing side."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import torch
from supertile.video.frames import Colour, Frame, Layout, StaticHdr, VideoInfo

VFR = [0, 40, 41, 100, 133, 167, 500, 501, 502, 900, 1000, 1234]  # ms
VFR_END = 1400


def picture(layout: Layout, width: int, height: int, number: int = 0) -> tuple[torch.Tensor, ...]:
    """Planes of a smooth picture that changes with `number`, in the middle of the range of codes."""
    planes = []
    for plane in range(layout.planes):
        rows, columns = layout.size_of(plane, width, height)
        y, x = np.mgrid[:rows, :columns]
        wave = 0.5 + 0.3 * np.sin(x / 9 + number / 3 + plane) * np.cos(y / 7 + plane)
        codes = np.round(wave * (2**layout.depth - 1)).astype(np.uint8 if layout.depth <= 8 else np.uint16)
        planes.append(torch.from_numpy(codes))
    return tuple(planes)


def frames(layout: Layout, width: int, height: int, pts: list[int], end: int) -> list[Frame]:
    durations = [b - a for a, b in zip(pts, [*pts[1:], end], strict=True)]
    return [
        Frame(picture(layout, width, height, number), time, duration)
        for number, (time, duration) in enumerate(zip(pts, durations, strict=True))
    ]


def info(width=64, height=48, layout=None, colour=None, time_base=Fraction(1, 1000), rate=Fraction(25), **more):
    return VideoInfo(
        name="test", width=width, height=height, layout=layout or Layout("yuv", 8, (1, 1)), colour=colour or Colour(),
        time_base=time_base, frame_rate=rate, hdr=more.pop("hdr", StaticHdr()), **more,
    )  # fmt: skip


def read_planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The planes of a planar frame, without the padding of lines."""
    dtype = np.uint8 if max(c.bits for c in frame.format.components) <= 8 else np.dtype("<u2")
    return [
        np.frombuffer(plane, dtype)
        .reshape(-1, plane.line_size // np.dtype(dtype).itemsize)[: plane.height, : plane.width]
        .copy()
        for plane in frame.planes
    ]


def decoded(path, options=None) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(container.streams.video[0]))
