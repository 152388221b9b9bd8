"""Read a video file as frames of raw planes with exact times."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import av
from av.video.reformatter import Interpolation, VideoReformatter

from ..container import StreamChoice, check_dimensions, name_of
from ..errors import NoFrameError, VideoError
from ..frames import Color, Frame, Layout, ReadReport, Span, VideoInfo
from .decoder import Decoder, first_frame
from .deinterlace import Deinterlacer
from .planes import cropped, pixel_format, planes_of
from .probe import color_of, color_tags, declared_end, has_captions, probe, side_data
from .timestamps import Timed, Timeline

DEINTERLACE = ("auto", "yes", "no")


def python_warning(text: str) -> None:
    """Issue a Python warning: the default `warn` of readers."""
    warnings.warn(text, stacklevel=3)


class VideoReader:
    """Frames of a video stream of a local file, in presentation order.

    `info` is complete after opening, which decodes the first frame; its `start_pts`, `duration` and `frames` are those
    of the span. `report` is filled while frames are read. One frame is held back to compute its duration, and one more
    while deinterlacing. A second iteration continues where the first stopped. Use as a context manager or call `close`.

    Args:
        source: a path, or a seekable binary file object, which is read from its start and left open.
        span: seconds from the first frame of the stream; frames with start <= time < end are returned.
        deinterlace: "auto" (frames flagged as interlaced), "yes" (all) or "no".
        stream: which video stream.
        warn: called with one sentence for each kind of problem. Default: Python's warnings.

    Raises:
        VideoError: no frame can be read: the file is missing or has no video, no frame of it can be decoded, frames
            are larger than 16384 pixels per side, or the span is empty. Damage in the middle is counted in `report`
            instead.
        ValueError: an argument is out of range.
    """

    info: VideoInfo
    report: ReadReport

    def __init__(
        self,
        source: str | Path | BinaryIO,
        *,
        span: Span = Span(),
        deinterlace: str = "auto",
        stream: StreamChoice = None,
        warn: Callable[[str], None] = python_warning,
    ) -> None:
        if deinterlace not in DEINTERLACE:
            raise ValueError(f"deinterlace must be one of {', '.join(DEINTERLACE)}, not {deinterlace!r}.")
        if stream not in (None, "first") and not (isinstance(stream, Integral) and stream >= 0):
            raise ValueError(f"stream must be a number from 0, 'first' or None, not {stream!r}.")
        span.validate()
        self.name = name_of(source)
        self.report = ReadReport()
        self._warn = warn
        self._warned: set[str] = set()
        self._reformatter, self._captions = VideoReformatter(), VideoReformatter()
        self._decoder = Decoder(source, self.report, warn, stream)
        try:
            self._probe_and_seek(span.start or Fraction(0), span.end, deinterlace)
        except BaseException:
            self._decoder.close()
            raise

    def _probe_and_seek(self, start: Fraction, end: Fraction | None, deinterlace: str) -> None:
        decoder = self._decoder
        frame = first_frame(decoder)
        check_dimensions(frame.width, frame.height, self.name)
        info, dynamic = probe(self.name, decoder.container, decoder.stream, decoder.clock, frame, self._warn)
        self._note_dropped(dynamic)
        self._format = frame.format.name
        self._size = (frame.width, frame.height)
        # By tags: the color of frames whose tags differ from those of the first; None if it is the same.
        self._colors: dict[tuple[int, ...], Color | None] = {color_tags(frame): None}
        self._first_color = info.color
        self._layout, self._crop = info.layout, info.crop

        origin = info.start_pts
        stream_end = declared_end(decoder.container, decoder.stream, decoder.clock)
        first = origin + math.ceil(start / info.time_base)
        self._end = origin + math.ceil(end / info.time_base) if end is not None else None
        frames = decoder.frames()
        opening: av.VideoFrame | None = frame
        if first > origin and frame.pts is not None:
            needs_previous = deinterlace == "yes" or (deinterlace == "auto" and info.interlaced)
            decoder.seek(first - 1 if needs_previous else first)
            frames, opening = decoder.frames(), None
        self._timeline = Timeline(
            info.time_base,
            max(1, round(1 / (info.frame_rate * info.time_base))),
            self.report,
            stream_end,
        )
        self._deinterlacer = Deinterlacer(deinterlace)
        self._counts_frames = not start and end is None
        self._frames = self._read(opening, frames, first if start else None)
        self._held = next(self._frames, None)
        if self._held is None:
            error = NoFrameError(f"{self.name} has no frame between {float(start):g} s and {_end_text(end)}.")
            error.undecodable_packets = self.report.undecodable_packets
            raise error

        start_pts = self._held.pts
        ends = [e for e in (stream_end, self._end) if e is not None and e > start_pts]
        whole = not start and (end is None or (stream_end is not None and self._end is not None
                                               and self._end >= stream_end))  # fmt: skip
        left, top, right, bottom = info.crop
        self.info = replace(
            info,
            width=info.width - left - right,
            height=info.height - top - bottom,
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
        self, opening: av.VideoFrame | None, frames: Iterator[av.VideoFrame], first: int | None
    ) -> Iterator[Frame]:
        timed = self._timed(opening, frames, first)
        for entry in self._timeline.durations(self._deinterlacer(timed)):
            assert entry.pts is not None
            assert entry.duration is not None
            duration = entry.duration
            if self._end is not None:
                if entry.pts >= self._end:  # read for the deinterlacing and the duration of the frame before
                    break
                duration = max(1, min(duration, self._end - entry.pts))
            try:
                planes = cropped(planes_of(entry.item, self._reformatter), self._layout, self._crop)
            except (av.FFmpegError, OSError, ValueError, KeyError) as error:
                raise VideoError(
                    f"{self.name} decodes to {entry.item.format.name}, a pixel format that cannot be read."
                ) from error
            yield Frame(planes, entry.pts, duration, self._other_color(entry.item), self._captions_of(entry.item))
        self._look_at_end()

    def _timed(
        self, opening: av.VideoFrame | None, frames: Iterator[av.VideoFrame], first: int | None
    ) -> Iterator[Timed[av.VideoFrame]]:
        """Yield the frames of the span, and the one after it, in one size and format, with repaired times."""
        if opening is not None:
            yield from self._in_span(opening, first)
        for frame in frames:
            for entry in self._in_span(frame, first):
                yield entry
                if self._end is not None and entry.pts is not None and entry.pts >= self._end:
                    self._timeline.next_pts = entry.pts
                    return

    def _in_span(self, frame: av.VideoFrame, first: int | None) -> Iterator[Timed[av.VideoFrame]]:
        own = frame.pts if frame.pts is not None else frame.dts
        if first is not None and own is not None and own < first and self._timeline.is_untouched:
            self._deinterlacer.previous = frame
            return
        pts = self._timeline.repaired(own)
        if self._end is not None and pts >= self._end:
            yield Timed(frame, pts)  # the last of `_timed`
            return
        if frame.is_corrupt:
            self.report.corrupt_frames += 1
            self._warn_once("corrupt", "has damaged frames. They are kept as the decoder repaired them.")
        self._note_dropped(side_data(frame)[2])
        yield Timed(self._in_first_format(frame), pts, frame.duration or None)

    def _in_first_format(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame in the size and pixel format of the first."""
        same_size = (frame.width, frame.height) == self._size
        if same_size and frame.format.name == self._format:
            return frame
        if same_size and _layout(frame.format.name) == _layout(self._format):  # yuvj420p, nv12: other names of 4:2:0
            return frame
        check_dimensions(frame.width, frame.height, self.name)
        self.report.resized_frames += 1
        changed = f"{frame.width}x{frame.height} {frame.format.name}"
        width, height = self._size
        self._warn_once(
            "size", f"changes to {changed} in mid-stream. Those frames are rescaled to {width}x{height} {self._format}."
        )
        return self._reformatter.reformat(
            frame, width, height, self._format, interpolation=Interpolation.BICUBIC
        )  # fmt: skip

    def _captions_of(self, frame: av.VideoFrame) -> av.VideoFrame | None:
        """Return a tiny copy of a frame with closed captions, since PyAV can copy side data but not set it."""
        if not has_captions(frame):
            return None
        return self._captions.reformat(frame, 2, 2, "yuv420p", interpolation=Interpolation.POINT)

    def _other_color(self, frame: av.VideoFrame) -> Color | None:
        """Return the color of a frame if it is not that of the first."""
        tags = color_tags(frame)
        if tags not in self._colors:
            color = color_of(self.name, self._decoder.stream, frame, lambda _: None, first=False)
            alike = color.has_codes_of(self._first_color, self._layout.model)
            self._colors[tags] = None if alike else color
            if not alike:
                self._warn_once(
                    "color",
                    "changes its color range, matrix or transfer function in mid-stream. Those frames are converted to "
                    "the color of the first.",
                )
        return self._colors[tags]

    def _look_at_end(self) -> None:
        """Compare the number of frames and the end of the last one with what the stream declares."""
        timeline = self._timeline
        clock = self._decoder.clock
        if number := clock.file.later_files:
            self.report.later_files = number
            files = "Another file was" if number == 1 else f"{number} other files were"
            self._warn(f"{files} appended to {self.name}. Only the first is read; split them to upscale all.")
        if clock.file.continues:
            self._warn(f"{self.name} gives its streams other numbers in mid-stream. The parts are joined.")
        if later := clock.seconds_of_later_video():
            self.report.missing_at_end = later
            self._warn(
                f"{self.name} continues in another video stream for {float(later):.2f} s. That stream is not upscaled."
            )
            return
        if jumps := clock.jumps:
            more = f" and {len(jumps) - 1} more times" if len(jumps) > 1 else ""
            if not clock.file.continues:
                self._warn(
                    f"{self.name} was joined from several recordings, or its signal was lost: its clock jumps after "
                    f"{float(jumps[0] - self.info.origin):.2f} s{more}. All streams continue there without a gap."
                )
            return  # the declared end was computed across the jumps
        if self._counts_frames and (missing := self._decoder.missing_frames(timeline.count)):
            self.report.missing_frames = missing
            self._warn(
                f"{self.name} declares {timeline.count + missing} frames, but only {timeline.count} could be "
                "decoded. Frames before a gap are shown longer."
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
                f"{self.name} ends early: its last {float(self.report.missing_at_end):.2f} s could not be decoded."
            )

    def _note_dropped(self, dynamic: set[str]) -> None:
        for kind in sorted(dynamic - self.report.dropped_metadata):
            self.report.dropped_metadata.add(kind)
            self._warn(f"{self.name} contains {kind} metadata, which changes from frame to frame. It is dropped.")

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(f"{self.name} {text}")

    def close(self) -> None:
        """Close the decoder and the file. Frames that were returned stay valid."""
        self._held, self._frames = None, iter(())
        self._decoder.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _layout(format: str) -> Layout | None:
    try:
        return pixel_format(format).layout
    except KeyError:
        return None


def _end_text(end: Fraction | None) -> str:
    return f"{float(end):g} s" if end is not None else "its end"
