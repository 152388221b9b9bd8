"""What travels between reading, upscaling and writing: a frame as raw planes, and what its samples mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

from torch import Tensor

# AVCOL_* values (libavutil/pixfmt.h) of what is not said.
UNSPECIFIED = 2


@dataclass(frozen=True)
class Layout:
    """How the samples of a frame lie in its planes.

    Planes are (h, w) tensors, uint8 up to 8 bits and uint16 (codes not shifted) above, in the order
    Y [Cb Cr] [A] for "yuv", R G B [A] for "rgb", Y [A] for "gray". Chroma planes of an odd image are rounded up.
    """

    model: str  # "yuv", "rgb" or "gray"
    depth: int = 8  # bits of a sample: 8, 9, 10, 12, 14 or 16
    subsampling: tuple[int, int] = (0, 0)  # log2 of luma samples for a chroma sample: (horizontal, vertical)
    alpha: bool = False

    @property
    def planes(self) -> int:
        return (1 if self.model == "gray" else 3) + self.alpha

    def size_of(self, plane: int, width: int, height: int) -> tuple[int, int]:
        """(height, width) of a plane of a frame of width x height."""
        if self.model == "yuv" and plane in (1, 2):
            x, y = self.subsampling
            return -(-height >> y), -(-width >> x)
        return height, width


@dataclass(frozen=True)
class Color:
    """What the samples mean. Numbers are the AVCOL_* codes of ITU-T H.273 as FFmpeg writes them, kept as they came.

    `matrix`, `full_range` and `siting` are what conversion uses, so they are never unspecified: the reader decides
    them where the file is silent (`tagged` tells). For "rgb" and "gray" layouts the matrix counts for nothing.
    """

    matrix: int = 1  # AVCOL_SPC_*: 1 BT.709, 5/6 BT.601, 9 BT.2020 (non-constant luminance), 0 RGB, 4 FCC, 7 SMPTE 240M
    full_range: bool = False
    siting: str = "left"  # of 4:2:0 and 4:2:2 chroma: "left", "center" or "topleft"
    primaries: int = UNSPECIFIED  # AVCOL_PRI_*
    transfer: int = UNSPECIFIED  # AVCOL_TRC_*: 16 PQ, 18 HLG
    tagged: bool = True  # False: the matrix is the reader's guess from the size of the image

    @property
    def hdr(self) -> bool:
        return self.transfer in (16, 18)


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
    """A source of frames, before the first is decoded. Times are in `time_base` units unless said otherwise."""

    name: str  # for messages
    width: int  # of the frames as they are stored: not turned, pixels not made square
    height: int
    layout: Layout
    color: Color
    time_base: Fraction
    frame_rate: Fraction  # nominal, for encoders that want one; time is always pts
    codec: str = ""  # FFmpeg's name of the source's codec
    start_pts: int = 0
    origin: Fraction = Fraction(0)  # seconds: when the stream's own first image is shown, before any trimming
    duration: int | None = None  # declared
    frames: int | None = None  # declared, or counted in advance where that is cheap
    sample_aspect_ratio: Fraction = Fraction(1)
    display_matrix: tuple[int, ...] | None = None  # 9 int32 as FFmpeg's DISPLAYMATRIX; None for the identity
    hdr: StaticHdr = field(default_factory=StaticHdr)
    interlaced: bool = False
    stream_index: int | None = None  # of the stream read in its container; None where there is none


def is_turned(display_matrix: tuple[int, ...] | None) -> bool:
    """Whether a display matrix shows what is stored as width as height: a turn by 90 or 270 degrees."""
    return display_matrix is not None and abs(display_matrix[1]) > abs(display_matrix[0])


@dataclass
class Frame:
    """One image: planes as `Layout` says, on any device. `pts` and `duration` in the time base of its VideoInfo."""

    planes: tuple[Tensor, ...]
    pts: int
    duration: int


@dataclass
class ReadReport:
    """What was found on the way through a source: counters end up in the user's report, warnings were said already."""

    frames: int = 0  # given out
    corrupt_frames: int = 0  # given out although the decoder marked them damaged
    undecodable_packets: int = 0
    repaired_pts: int = 0  # missing, doubled or backward
    resized_frames: int = 0  # of another size than the first, brought back to it
    missing_frames: int = 0  # fewer than declared
    missing_at_end: Fraction | None = None  # seconds between the end of the last frame and the declared end
    dropped_metadata: set[str] = field(default_factory=set)  # e.g. "Dolby Vision", "HDR10+"


class FrameSource(Protocol):
    """Anything frames come from. Used by one thread; closed by whoever opened it."""

    info: VideoInfo
    report: ReadReport

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class FrameSink(Protocol):
    """Anything frames go to. Used by one thread. Nothing is seen under the target's name until `finish`."""

    layout: Layout  # of the frames it takes
    color: Color
    width: int
    height: int
    encoder: str  # FFmpeg's names, for the report
    pixel_format: str

    @property
    def bytes_written(self) -> int: ...

    def write(self, frame: Frame) -> None: ...

    def finish(self, given_up: Callable[[], bool] = lambda: False) -> None:
        """Flush, complete the file and publish it under its name.

        given_up: asked on the way, because an encoder may hold back minutes of work; when it returns True nothing is
            published, and `discard` follows.
        """
        ...

    def discard(self) -> None:
        """Throw away what was written. May follow `write` or `finish`; never raises."""
        ...
