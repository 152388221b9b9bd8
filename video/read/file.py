"""A video file as a stream of frames of raw planes, each with an exact time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import av
from av.video.reformatter import Interpolation, VideoReformatter

from ..container import check_dimensions, name_of
from ..errors import VideoError
from ..frames import Frame, ReadReport, Span, VideoInfo
from .decoder import Decoder, first_frame
from .deinterlace import Deinterlacer
from .planes import planes_of
from .probe import declared_end, describe, side_data
from .timestamps import Timed, Timeline

DEINTERLACE = ("auto", "yes", "no")


def say_as_warning(text: str) -> None:
    """The usual `warn`: Python's own warnings."""
    warnings.warn(text, stacklevel=3)


class VideoReader:
    """Frames of a video stream of a local file, one by one, in the order and at the times they are shown.

    source: a path, or a seekable binary file object, which is read from its start and left open.
    start, end: seconds from the stream's own first image; frames with start <= time < end are given. None: all.
    deinterlace: "auto" (frames that are flagged interlaced), "yes" (all) or "no"; one frame for each frame.
    stream: which of its video streams, from 0, covers not counted; None: see `video_stream_of`.
    warn: called with a sentence for what was found on the way, each kind once; default Python's warnings.

    `info` is known from the start (the first frame is decoded on opening), with `start_pts`, `duration` and `frames` of
    the part that is given. `report` fills while frames are read. One frame is held back, to know
    how long it lasts (and one more while deinterlacing). Can be iterated once;
    a second iteration goes on where the first stopped. Use as a context manager, or call `close`.

    Raises VideoError, one sentence naming the file, when nothing can be read (missing, no video, not one frame that
    decodes, frames larger than 16384 a side, nothing between start and end); ValueError for arguments out of range.
    Damage in the middle is no error: see `report`.
    """

    info: VideoInfo
    report: ReadReport

    def __init__(
        self,
        source: str | Path | BinaryIO,
        *,
        span: Span = Span(),
        deinterlace: str = "auto",
        stream: int | None = None,
        warn: Callable[[str], None] = say_as_warning,
    ) -> None:
        if deinterlace not in DEINTERLACE:
            raise ValueError(f"deinterlace must be one of {', '.join(DEINTERLACE)}, not {deinterlace!r}.")
        span.validate()
        self.name = name_of(source)
        self.report = ReadReport()
        self._warn = warn
        self._warned: set[str] = set()
        self._reformatter = VideoReformatter()
        self._decoder = Decoder(source, self.report, warn, stream)
        try:
            self._describe_and_seek(span.start or Fraction(0), span.end, deinterlace)
        except BaseException:
            self._decoder.close()
            raise

    def _describe_and_seek(self, start: Fraction, end: Fraction | None, deinterlace: str) -> None:
        decoder = self._decoder
        image = first_frame(decoder)
        check_dimensions(image.width, image.height, self.name)
        info, dynamic = describe(self.name, decoder.container, decoder.stream, image, self._warn)
        self._note_dropped(dynamic)
        self._format = image.format.name
        self._size = (image.width, image.height)

        origin = info.start_pts
        stream_end = declared_end(decoder.container, decoder.stream)
        first = origin + math.ceil(start / info.time_base)
        self._end = origin + math.ceil(end / info.time_base) if end is not None else None
        images = decoder.frames()
        opening: av.VideoFrame | None = image
        if first > origin and image.pts is not None:
            decoder.seek(first)
            images, opening = decoder.frames(), None
        self._timeline = Timeline(
            info.time_base,
            max(1, round(1 / (info.frame_rate * info.time_base))),
            self.report,
            stream_end,
        )
        self._deinterlacer = Deinterlacer(deinterlace)
        # Other containers count empty packets, which repeat a frame, or do not count at all.
        counts = not start and end is None and decoder.container.format.name.startswith("mov")
        self._declared_frames = info.frames if counts else None
        self._frames = self._read(opening, images, first if start else None)
        self._held = next(self._frames, None)
        if self._held is None:
            raise VideoError(f"{self.name} has no frame between {float(start):g} s and {_words(end)}.")

        start_pts = self._held.pts
        ends = [e for e in (stream_end, self._end) if e is not None and e > start_pts]
        whole = not start and (end is None or (stream_end is not None and self._end is not None
                                               and self._end >= stream_end))  # fmt: skip
        self.info = replace(
            info,
            start_pts=start_pts,
            origin=origin * info.time_base,
            duration=min(ends) - start_pts if ends else None,
            frames=info.frames if whole else None,
        )

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self._held or next(self._frames, None)) is not None:
            self._held = None
            self.report.frames += 1
            yield frame

    def _read(
        self, opening: av.VideoFrame | None, images: Iterator[av.VideoFrame], first: int | None
    ) -> Iterator[Frame]:
        timed = self._timed(opening, images, first)
        for entry in self._timeline.durations(self._deinterlacer(timed)):
            assert entry.pts is not None
            assert entry.duration is not None
            duration = entry.duration
            if self._end is not None:
                duration = max(1, min(duration, self._end - entry.pts))
            try:
                planes = planes_of(entry.item, self._reformatter)
            except (av.FFmpegError, OSError, ValueError, KeyError) as error:
                raise VideoError(
                    f"{self.name} decodes to {entry.item.format.name}, a pixel format that cannot be read."
                ) from error
            yield Frame(planes, entry.pts, duration)
        self._look_at_end()

    def _timed(
        self, opening: av.VideoFrame | None, images: Iterator[av.VideoFrame], first: int | None
    ) -> Iterator[Timed[av.VideoFrame]]:
        """Images of the wanted span, alike in size and format, with repaired times."""
        if opening is not None:
            yield from self._in_span(opening, first)
        for image in images:
            for entry in self._in_span(image, first):
                if self._end is not None and entry.pts is not None and entry.pts >= self._end:
                    return
                yield entry

    def _in_span(self, image: av.VideoFrame, first: int | None) -> Iterator[Timed[av.VideoFrame]]:
        own = image.pts if image.pts is not None else image.dts
        if first is not None and own is not None and own < first and self._timeline.is_untouched:
            return
        pts = self._timeline.repaired(own)
        if self._end is not None and pts >= self._end:
            yield Timed(image, pts)  # tells `_timed` to stop
            return
        if image.is_corrupt:
            self.report.corrupt_frames += 1
            self._warn_once("corrupt", "has damaged frames; they are kept as the decoder patched them.")
        self._note_dropped(side_data(image)[2])
        yield Timed(self._alike(image), pts, image.duration or None)

    def _alike(self, image: av.VideoFrame) -> av.VideoFrame:
        """The image, in the size and format of the first."""
        if (image.width, image.height) == self._size and image.format.name == self._format:
            return image
        check_dimensions(image.width, image.height, self.name)
        self.report.resized_frames += 1
        was = f"{image.width}x{image.height} {image.format.name}"
        width, height = self._size
        self._warn_once("size", f"changes to {was} on the way; it is brought back to {width}x{height} {self._format}.")
        return self._reformatter.reformat(
            image, width, height, self._format, interpolation=Interpolation.BICUBIC
        )  # fmt: skip

    def _look_at_end(self) -> None:
        """Compare where the last frame ended, and how many there were, with what the stream said."""
        timeline = self._timeline
        if self._declared_frames and self._timeline.count < self._declared_frames:
            self.report.missing_frames = self._declared_frames - self._timeline.count
            self._warn(
                f"{self.name} declares {self._declared_frames} frames, {self._timeline.count} could be decoded; those "
                "before a gap are shown longer."
            )
        declared, end = timeline.declared_end, timeline.end
        if declared is None or end is None:
            return
        if self._end is not None:
            declared = min(declared, self._end)
        missing = declared - end
        if 2 * missing > 3 * timeline.nominal:
            self.report.missing_at_end = missing * timeline.time_base
            self._warn(
                f"{self.name} ends early: {float(self.report.missing_at_end):.2f} s before its declared end no more "
                "frames could be decoded."
            )

    def _note_dropped(self, dynamic: set[str]) -> None:
        for kind in sorted(dynamic - self.report.dropped_metadata):
            self.report.dropped_metadata.add(kind)
            self._warn(f"{self.name} carries {kind} metadata, which changes from frame to frame and is left out.")

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(f"{self.name} {text}")

    def close(self) -> None:
        """Free the decoder and the file. Frames given out stay valid."""
        self._held, self._frames = None, iter(())
        self._decoder.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _words(end: Fraction | None) -> str:
    return f"{float(end):g} s" if end is not None else "its end"
