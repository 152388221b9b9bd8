"""Frames as raw planes, with their format, and the interfaces of sources and sinks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt
from torch import Tensor

from ..images.framing import Framing
from .errors import VideoError

if TYPE_CHECKING:
    import av

UNSPECIFIED = 2  # the "unspecified" code of AVCOL_* (libavutil/pixfmt.h)


@dataclass(frozen=True)
class Layout:
    """The arrangement of samples in the planes of a frame.

    Planes are (h, w) tensors, uint8 up to 8 bits and uint16 (codes not shifted) above, in the order
    Y [Cb Cr] [A] for "yuv", R G B [A] for "rgb", Y [A] for "gray". Chroma planes of odd frames are rounded up.
    """

    model: str  # "yuv", "rgb" or "gray"
    depth: int = 8  # bits of a sample: 8, 9, 10, 12, 14 or 16
    subsampling: tuple[int, int] = (0, 0)  # log2 of luma samples for a chroma sample: (horizontal, vertical)
    alpha: bool = False

    @property
    def planes(self) -> int:
        return (1 if self.model == "gray" else 3) + self.alpha

    def size_of(self, plane: int, width: int, height: int) -> tuple[int, int]:
        """Return (height, width) of a plane of a frame of width x height."""
        if self.model == "yuv" and plane in (1, 2):
            x, y = self.subsampling
            return -(-height >> y), -(-width >> x)
        return height, width

    def bytes_of(self, width: int, height: int) -> int:
        """Return the bytes of a frame of width x height."""
        samples = sum(math.prod(self.size_of(plane, width, height)) for plane in range(self.planes))
        return samples * (1 if self.depth <= 8 else 2)


@dataclass(frozen=True)
class Color:
    """The meaning of samples. Numbers are the AVCOL_* codes of ITU-T H.273, as in the source.

    Conversion uses `matrix`, `full_range` and `siting`, so they are never unspecified: the reader chooses them if the
    file has no tags (`tagged` is False then). The matrix is ignored for "rgb" and "gray" layouts.
    """

    matrix: int = 1  # AVCOL_SPC_*: 1 BT.709, 5/6 BT.601, 9 BT.2020 (non-constant luminance), 0 RGB, 4 FCC, 7 SMPTE 240M
    full_range: bool = False
    siting: str = "left"  # of 4:2:0 and 4:2:2 chroma: "left", "center" or "topleft"
    primaries: int = UNSPECIFIED  # AVCOL_PRI_*
    transfer: int = UNSPECIFIED  # AVCOL_TRC_*: 16 PQ, 18 HLG
    tagged: bool = True  # False: the matrix was chosen by the frame size

    @property
    def hdr(self) -> bool:
        return self.transfer in (16, 18)

    @property
    def curve(self) -> int:
        """The transfer function if it is linear, PQ or HLG; UNSPECIFIED for all of SDR, which players show alike."""
        return self.transfer if self.transfer in (8, 16, 18) else UNSPECIFIED

    def has_codes_of(self, other: Color, model: str) -> bool:
        """Return True if equal codes of a layout's `model` are equal light in both, as far as their tags say."""
        same = self.curve == other.curve
        if UNSPECIFIED not in (self.primaries, other.primaries):
            same &= self.primaries == other.primaries or {self.primaries, other.primaries} == {6, 7}
        if model != "rgb":
            same &= self.full_range == other.full_range
        if model == "yuv":
            same &= self.matrix == other.matrix or {self.matrix, other.matrix} == {5, 6}
            same &= self.siting == other.siting
        return same


@dataclass(frozen=True)
class FrameFormat:
    """Size, layout and color of frames, as they travel through the job and as an encoder takes them."""

    width: int
    height: int
    layout: Layout
    color: Color
    framing: Framing | None = None  # of the source's frames in these; None: the whole frame, resampled to this size

    @property
    def whole(self) -> Framing:
        """The `framing`, also where there is none."""
        return self.framing or Framing.whole(self.width, self.height)


@dataclass(frozen=True, init=False)
class Span:
    """An interval of time in seconds: start <= time < end. None leaves that side open.

    A float is taken as the decimal number it was written as: 0.4 is 2/5, not the nearest binary number.

    Raises:
        ValueError: a bound is NaN or infinite.
    """

    start: Fraction | None
    end: Fraction | None

    def __init__(self, start: Fraction | float | None = None, end: Fraction | float | None = None) -> None:
        for label, seconds in (("start", start), ("end", end)):
            if seconds is not None and not math.isfinite(seconds):
                raise ValueError(f"{label} must be a time in seconds, zero or more, not {seconds!r}.")
            if isinstance(seconds, float):
                seconds = Fraction(seconds).limit_denominator(1_000_000)
            object.__setattr__(self, label, None if seconds is None else Fraction(seconds))

    def validate(self) -> None:
        """Check that the span can be cut from a video whose first frame is at 0.

        Raises:
            ValueError: a bound is negative.
            VideoError: the end is not after the start.
        """
        for label, seconds in (("start", self.start), ("end", self.end)):
            if seconds is not None and seconds < 0:
                raise ValueError(f"{label} must be a time in seconds, zero or more, not {float(seconds):g}.")
        start = self.start or Fraction(0)
        if self.end is not None and self.end <= start:
            raise VideoError(f"end ({float(self.end):g} s) must lie after start ({float(start):g} s).")

    def shifted(self, seconds: Fraction) -> Span:
        """Return the span moved by `seconds`; open sides stay open."""
        return Span(*(None if bound is None else bound + seconds for bound in (self.start, self.end)))


@dataclass(frozen=True)
class StaticHdr:
    """HDR metadata that holds for the whole video, as the payloads of FFmpeg's side data (None: absent).

    mastering: G, B, R, white point as (x, y) and (max, min) luminance in cd/m2, exact fractions, in that order.
    content_light: (MaxCLL, MaxFALL) in cd/m2.
    """

    mastering: tuple[tuple[Fraction, Fraction], ...] | None = None
    content_light: tuple[int, int] | None = None


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a source of frames. Times are in `time_base` units unless stated otherwise."""

    name: str  # of the source, for messages
    width: int  # before rotation and sample aspect ratio, after cropping
    height: int
    layout: Layout
    color: Color
    time_base: Fraction
    frame_rate: Fraction  # nominal, for encoders that need one; frames have pts
    codec: str = ""  # FFmpeg's name of the source's codec
    start_pts: int = 0
    origin: Fraction = Fraction(0)  # pts in seconds of the first frame of the stream, before trimming
    duration: int | None = None  # declared
    frames: int | None = None  # declared, or counted in advance
    sample_aspect_ratio: Fraction = Fraction(1)
    display_matrix: tuple[int, ...] | None = None  # 9 int32 as FFmpeg's DISPLAYMATRIX; None for the identity
    hdr: StaticHdr = field(default_factory=StaticHdr)
    interlaced: bool = False
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)  # left, top, right, bottom: decoded, but hidden by the container
    geometry: bytes = b""  # stereo mode and spherical projection, as `matroska.HeaderProperties.geometry`
    video_streams: tuple[int, int] = (0, 1)  # which of how many, counted from 0, without cover images
    stream_index: int | None = None  # of the video stream in its container; None for images and arrays

    @property
    def format(self) -> FrameFormat:
        return FrameFormat(self.width, self.height, self.layout, self.color)


def is_turned(display_matrix: tuple[int, ...] | None) -> bool:
    """Return True if a display matrix swaps width and height: a rotation by 90 or 270 degrees."""
    return display_matrix is not None and abs(display_matrix[1]) > abs(display_matrix[0])


def upright(image: npt.NDArray[Any], display_matrix: tuple[int, ...] | None) -> npt.NDArray[Any]:
    """Return a view of an image (H, W, channels) as a display matrix turns and mirrors it.

    x' = a x + c y, y' = b x + d y, with (a, b, c, d) at 0, 1, 3 and 4 of the matrix.
    """
    if display_matrix is None:
        return image
    across, down = display_matrix[0], display_matrix[4]
    if is_turned(display_matrix):
        image = image.swapaxes(0, 1)
        across, down = display_matrix[3], display_matrix[1]
    return image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


@dataclass
class Frame:
    """A frame: planes as in its `Layout`, on any device; `pts` and `duration` in the time base of its VideoInfo.

    color: of this frame, where it differs from that of the VideoInfo. None: that of the VideoInfo.
    captions: a tiny frame whose side data are closed captions (CEA-608, CEA-708), which PyAV copies with a frame only.
    """

    planes: tuple[Tensor, ...]
    pts: int
    duration: int
    color: Color | None = None
    captions: av.VideoFrame | None = None


@dataclass
class ReadReport:
    """Counters of what a reader repaired or could not read, for the user's report."""

    frames: int = 0  # returned
    corrupt_frames: int = 0  # returned although the decoder marked them as damaged
    undecodable_packets: int = 0
    repaired_pts: int = 0  # missing, repeated or decreasing
    resized_frames: int = 0  # in another size than the first frame, rescaled to it
    missing_frames: int = 0  # fewer than declared
    later_files: int = 0  # joined to the file and not read
    missing_at_end: Fraction | None = None  # seconds between the end of the last frame and the declared end
    dropped_metadata: set[str] = field(default_factory=set)  # e.g. "Dolby Vision", "HDR10+"


class FrameSource(Protocol):
    """A source of frames. Used by one thread; closed by the caller that opened it."""

    info: VideoInfo
    report: ReadReport

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class FrameSink(Protocol):
    """A destination of frames. Used by one thread. The target appears under its name in `finish`."""

    format: FrameFormat  # of the frames it takes
    encoder: str  # FFmpeg's names, for the report
    pixel_format: str
    holds_captions: bool  # False: those of the frames are dropped

    @property
    def bytes_written(self) -> int: ...

    def write(self, frame: Frame) -> None: ...

    def finish(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Flush, complete the file and move it to its name.

        cancelled: called for each packet that the encoder still holds, which can be minutes of work. When it returns
            True, nothing is published and everything is discarded.
        """
        ...

    def discard(self) -> None:
        """Delete what was written. May follow `write` or `finish`; never raises."""
        ...
