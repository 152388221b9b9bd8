"""`upscale_frames`: the upscaled frames of a video as arrays with times, one after the other, without a file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..images.size import Size
from ..inference.errors import OutOfMemoryError, is_out_of_memory
from .frame_upscaler import FrameUpscaler, pinned, wait_for
from .frames import Color, Frame, FrameFormat, FrameSource, Layout, Span, VideoInfo, is_turned, upright
from .read.open import SourceOptions, open_source
from .report import VideoProgress
from .transcode import expected_frames
from .upscale import target_framing

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TimedImage:
    """A frame of a video as an array.

    Attributes:
        image: (H, W, 3) or, with straight alpha, (H, W, 4): RGB of uint8, or uint16 for sources of more than 8 bits.
        pts: seconds from the start of the source's clock, exact.
        duration: seconds, exact.
    """

    image: npt.NDArray[Any]
    pts: Fraction
    duration: Fraction


class FrameStream:
    """The upscaled frames of one source, computed when they are requested. Made by `upscale_frames`.

    An iterator of `TimedImage`. It closes its source after the last frame; a `with` block or `close` does so earlier.

    Attributes:
        width, height: of the images, upright.
        frame_rate: nominal, of the source; frames have times of their own.
        expected: the number of frames that the source declares, or None.
        time_base: of all times, in seconds.
    """

    def __init__(
        self,
        source: FrameSource,
        upscaler: Upscaler,
        size: Size,
        *,
        reuse_static: bool,
        progress: Callable[[VideoProgress], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        info = source.info
        framing = target_framing(size, info, upscaler.scale)
        width, height = framing.size
        layout = Layout("rgb", 8 if info.layout.depth <= 8 else 16, alpha=info.layout.alpha)
        color = Color(0, True, primaries=info.color.primaries, transfer=info.color.transfer)
        target = FrameFormat(width, height, layout, color, framing)
        frame_upscaler = FrameUpscaler(upscaler, info, target, reuse_static=reuse_static, cancelled=cancelled)
        self._source, self._info, self._progress = source, info, progress
        self._frames = frame_upscaler.run(map(pinned(upscaler.device), source))
        self._done, self._started = 0, time.perf_counter()
        self.width, self.height = (height, width) if is_turned(info.display_matrix) else (width, height)
        self.frame_rate, self.time_base = info.frame_rate, Fraction(info.time_base)
        self.expected = expected_frames(info)

    def __iter__(self) -> Iterator[TimedImage]:
        return self

    def __next__(self) -> TimedImage:
        try:
            frame = next(self._frames)
            wait_for(frame)
        except (RuntimeError, MemoryError) as error:
            self.close()
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"there is not enough memory for frames of {self.width}x{self.height} pixels; close other programs, "
                "use another device, or choose a smaller size"
            ) from error
        except BaseException:  # StopIteration too
            self.close()
            raise
        self._done += 1
        if self._progress is not None:
            expected = None if self.expected is None else max(self.expected, self._done)
            self._progress(VideoProgress(self._done, expected, time.perf_counter() - self._started, 0))
        return TimedImage(_image_of(frame, self._info), frame.pts * self.time_base, frame.duration * self.time_base)

    def close(self) -> None:
        """Close the source; no more frames follow. Images that were returned stay valid."""
        self._frames = iter(())
        self._source.close()

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def upscale_frames(
    source: str | Path | BinaryIO | Iterable[Any],
    upscaler: Upscaler,
    *,
    size: Size | str | None = None,
    span: Span = Span(),
    source_options: SourceOptions = SourceOptions(),
    reuse_static: bool = True,
    progress: Callable[[VideoProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    warn: Callable[[str], None] | None = None,
) -> FrameStream:
    """Upscale the frames of a video one after the other, and return an iterator of them as arrays.

    Frames are upright: the rotation that a file declares is applied. Colors are RGB of full range, with the primaries
    and the transfer function of the source; what lies beyond black and white is clamped. Pixels that are not square
    stay so.

    Args:
        source, size, span, source_options, reuse_static: as `upscale_video` takes them.
        upscaler: the model with its device and precision.
        progress: called after each frame, before it is returned.
        cancelled: called before every batch of tiles; if it returns True, `Cancelled` is raised.
        warn: called with one sentence for each problem of the source. Default: the log.

    Returns:
        A `FrameStream` of `TimedImage`. At most a few frames are held at once.

    Raises:
        VideoError: the source cannot be read.
        SizeError: `size` is not a size.
        UpscaleError: the model cannot take such frames, or, from the iterator, memory does not suffice.
        Cancelled: from the iterator: `cancelled` returned True.
    """
    frames = open_source(source, source_options, span=span, warn=warn or _log.warning)
    try:
        return FrameStream(
            frames,
            upscaler,
            Size.coerce(size),
            reuse_static=reuse_static,
            progress=progress,
            cancelled=cancelled,
        )
    except BaseException:
        frames.close()
        raise


def _image_of(frame: Frame, info: VideoInfo) -> npt.NDArray[Any]:
    """Return the planes of RGB as one array (H, W, channels), turned as a player turns them."""
    image = np.stack([plane.numpy() for plane in frame.planes], axis=-1)
    return np.ascontiguousarray(upright(image, info.display_matrix))
