"""Write frames to a video file with exact times; the file appears when it is complete."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
from av.bitstream import BitStreamFilterContext

from ...images.io.atomic import check_target, lock_part, part_of, publish, unlock_part
from ..container import metadata_errors
from ..errors import VideoError, reason
from ..frames import Color, Frame, StaticHdr, VideoInfo
from ..matroska import TITLE_PADDING, set_display_size, tagged_video
from ..priority import not_in_real_time
from ..remux.tags import custom_tags
from .encoder_options import holds_captions
from .encoders import Encoding
from .planes import fill_frame

if TYPE_CHECKING:
    from ..remux.copier import StreamCopier

_MAX_FRAME_RATE = {"libsvtav1": 240}  # for rate control only: times are always pts
_MAX_TIMESCALE = 2**31 - 1
_MAX_SAMPLE_DESCRIPTION = 1 << 20  # bytes from the start of an MP4 file with its head in front


class VideoWriter:
    """A FrameSink that encodes into a container and interleaves the streams of a StreamCopier.

    Times are exact to the container's tick: 1 ms in Matroska and WebM, the source's time base in MP4 and MOV.

    Args:
        target: path of the file.
        info: of the source: its time base, frame rate and display matrix are kept.
        encoding: encoder and options, and the format of the frames to come.
        sample_aspect_ratio: of the target.
        overwrite: replace an existing file.
        copied: the other streams, chapters and tags; closed by this writer. None: nothing is copied.
        metadata: global tags, which override those of the source.
        shift: subtracted from the pts of every frame, in the source's time base: the start of a trimmed video.
        on_packet: called with each packet of the video before it is muxed, in decoding order.

    Raises:
        VideoError: the target cannot be written, or the encoder or muxer refuses the options.
    """

    def __init__(
        self,
        target: Path,
        info: VideoInfo,
        encoding: Encoding,
        *,
        sample_aspect_ratio: Fraction = Fraction(1),
        overwrite: bool = False,
        copied: StreamCopier | None = None,
        metadata: Mapping[str, str] | None = None,
        shift: int = 0,
        on_packet: Callable[[av.Packet], None] | None = None,
    ) -> None:
        self.format = encoding.frames
        self.encoder, self.pixel_format = encoding.encoder, encoding.pixel_format.name
        self.holds_captions = holds_captions(encoding.encoder)
        self.target, self.frames = target, 0
        self._encoding, self._overwrite, self._shift, self._copied = encoding, overwrite, shift, copied
        self._on_packet = on_packet
        self._time_base = Fraction(info.time_base)
        # For `set_display_size`; other containers take it from the encoder.
        self._ratio = Fraction(sample_aspect_ratio) if encoding.container in ("matroska", "webm") else Fraction(1)
        self._geometry = info.geometry
        self._durations: dict[int, int] = {}  # by pts, of frames inside the encoder
        self._first_dts: int | None = None
        self._start = self._end = 0  # pts, over all frames
        self._last_pts: int | None = None
        self._held: av.Packet | None = None
        self._finished = False
        self._is_encoder_used = False
        self._output: av.container.OutputContainer | None = None
        self._part = part_of(target)
        try:
            check_target(target, overwrite=overwrite, error=VideoError)
            with self._named_errors():
                target.parent.mkdir(parents=True, exist_ok=True)
                lock_part(self._part)
                self._open(info, sample_aspect_ratio, metadata or {})
        except BaseException:
            self.discard()
            raise

    def _open(self, info: VideoInfo, sample_aspect_ratio: Fraction, metadata: Mapping[str, str]) -> None:
        encoding, copied = self._encoding, self._copied
        if copied is not None:
            metadata = copied.tags_with(metadata)
        # FFmpeg never mistakes an absolute path for a protocol.
        output = self._output = av.open(
            os.path.abspath(self._part),
            "w",
            format=encoding.container,
            container_options=self._container_options(metadata),
            **metadata_errors("surrogateescape"),
        )
        if copied is None:
            stream = self._add_video(info, sample_aspect_ratio)
        else:
            stream = copied.add_streams(output, lambda: self._add_video(info, sample_aspect_ratio))
        output.metadata.update(metadata)
        self._stream = stream
        try:
            with not_in_real_time():
                stream.codec_context.open()
        except (av.error.FFmpegError, OSError) as error:
            size = f"{self.format.width}x{self.format.height}"
            raise VideoError(
                f"{self.target} cannot be written: {encoding.encoder} refuses {size} in {encoding.pixel_format.name} "
                f"({reason(error)})."
            ) from error
        output.start_encoding()  # writes the header, so the muxer refuses bad options here

    def _container_options(self, metadata: Mapping[str, str]) -> dict[str, str]:
        # Packets come in order of time, those of copied streams included, so the muxer need not buffer many.
        options = {"max_interleave_delta": "1000000"}
        if self._encoding.container not in ("mp4", "mov"):
            return options
        flags = "+faststart"
        if custom_tags(metadata, self._encoding.container):
            flags += "+use_metadata_tags"
        options |= {"movflags": flags, "strict": "experimental"}
        timescale = self._time_base.denominator
        if timescale <= _MAX_TIMESCALE:
            options["video_track_timescale"] = str(timescale)
            # The unit of edit lists, which hold the offsets of tracks; 1 ms by default.
            common = math.lcm(timescale, 1000, *(self._copied.clock_rates if self._copied else ()))
            options["movie_timescale"] = str(common if common <= _MAX_TIMESCALE else timescale)
        return options

    def _add_video(self, info: VideoInfo, sample_aspect_ratio: Fraction) -> av.VideoStream:
        encoding = self._encoding
        assert self._output is not None
        rate = Fraction(info.frame_rate or 25).limit_denominator(100_000)
        rate = min(
            max(rate, Fraction(1, 1000)), Fraction(_MAX_FRAME_RATE.get(encoding.encoder, 100_000)), 1 / self._time_base
        )
        options = dict(encoding.options)
        stream = cast("av.VideoStream", self._output.add_stream(encoding.encoder, rate=rate, options=options))
        context = stream.codec_context
        if encoding.container_hdr is not None or info.geometry:
            self._set_side_data(stream, encoding.container_hdr or StaticHdr(), info.geometry)
            context.framerate = rate
        context.width, context.height = self.format.width, self.format.height
        context.pix_fmt = encoding.pixel_format.name
        context.time_base = self._time_base
        context.sample_aspect_ratio = sample_aspect_ratio
        context.thread_count = encoding.threads
        _tag(context, self.format.color)
        if encoding.codec_tag:
            context.codec_tag = encoding.codec_tag
        if info.display_matrix is not None:
            stream.set_display_matrix(info.display_matrix)
        if self._ratio != 1:
            stream.metadata["title"] = TITLE_PADDING  # `finish` replaces it by the display size
        if encoding.encoder == "libvpx-vp9" and self.format.layout.alpha:
            stream.metadata["alpha_mode"] = "1"
        return stream

    def _set_side_data(self, stream: av.VideoStream, hdr: StaticHdr, geometry: bytes) -> None:
        """Let the muxer write HDR metadata and geometry: a null bitstream filter copies them from a template stream."""
        template, tagged = tagged_video(self._encoding.codec, self.format.width, self.format.height, hdr, geometry)
        BitStreamFilterContext("null", in_stream=tagged, out_stream=stream)
        template.close()

    @property
    def bytes_written(self) -> int:
        """Size of the file so far."""
        try:
            return self._part.stat().st_size
        except OSError:  # published or discarded
            return 0

    def write(self, frame: Frame) -> None:
        """Encode a frame in `format`, with a pts above that of the previous frame. Raises VideoError."""
        assert self._output is not None, "written to after finish or discard"
        pts = frame.pts - self._shift
        if self._last_pts is not None and pts <= self._last_pts:
            raise VideoError(
                f"{self.target}: a frame at {pts} follows one at {self._last_pts}. Timestamps must increase."
            )
        try:
            captions = frame.captions if self.holds_captions else None
            video_frame = fill_frame(self._encoding.pixel_format, self.format, frame.planes, captions)
        except ValueError as error:
            raise VideoError(f"{self.target}: {error}.") from error
        video_frame.pts, video_frame.time_base, video_frame.duration = pts, self._time_base, frame.duration
        video_frame.pict_type = 0  # the encoder chooses
        _tag(video_frame, self.format.color)  # ProRes ignores the context

        if self._last_pts is None:
            self._start = pts
        self._last_pts, self._end = pts, max(self._end, pts + frame.duration)
        self._durations[pts] = frame.duration
        self._is_encoder_used = True
        with self._named_errors():
            self._take(self._stream.encode(video_frame))
        self.frames += 1

    @property
    def encoding(self) -> Encoding:
        """The encoder with its options."""
        return self._encoding

    @property
    def extradata(self) -> bytes:
        """Headers of the encoder, which hold for all packets."""
        return self._stream.codec_context.extradata or b""

    def write_packet(self, packet: av.Packet, pts: int, dts: int, duration: int) -> None:
        """Take a packet that an equal encoder has made, in decoding order; then no frames may be written.

        Args:
            packet: whose times are replaced.
            pts, dts, duration: in the source's time base; `dts` must increase.

        Raises:
            VideoError: the packet cannot be written.
        """
        packet.stream, packet.time_base = self._stream, self._time_base
        packet.pts, packet.dts = pts - self._shift, dts - self._shift
        self._durations[packet.pts] = duration
        self._start = packet.pts if not self.frames else min(self._start, packet.pts)
        self._end = max(self._end, packet.pts + duration)
        with self._named_errors():
            self._take([packet])
        self.frames += 1

    def finish(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Flush, complete the file and move it to its name.

        Args:
            cancelled: called for each packet that the encoder still holds; when it returns True, all is discarded.

        Raises:
            VideoError: the file cannot be written. Nothing appears under its name.
        """
        if self._finished:
            return
        output = self._output
        assert output is not None, "finished after discard"
        try:
            if not self.frames:
                raise VideoError(f"{self.target} was not written, because the source had no frames.")
            with self._named_errors():
                for packet in self._stream.encode_lazy(None) if self._is_encoder_used else ():
                    if self.frames <= 2 and packet.pts is not None:
                        packet.dts = packet.pts  # x265 invents dts for videos this short; there is no reordering
                    packet.stream = self._stream  # unlike `encode`, `encode_lazy` does not set it
                    self._take([packet])
                    if cancelled():
                        self.discard()
                        return
                self._release()
                output.close()
                if self._geometry and self._encoding.container == "mp4":
                    _hide_spatial_box(self._part)
                if self._ratio != 1:
                    set_display_size(self._part, self.format.width, self.format.height, self._ratio)
                _sync(self._part)
                publish(self._part, self.target, overwrite=self._overwrite, error=VideoError)
        except BaseException:
            self.discard()
            raise
        self._finished, self._output = True, None
        self._close_copied()

    def discard(self) -> None:
        """Delete what was written. After `finish` the published file stays. Never raises."""
        output, self._output = self._output, None
        with suppress(OSError):
            self._part.unlink()  # before closing, or MP4 would rewrite the whole file
        if output is not None:
            with suppress(Exception):
                output.close()
            with suppress(OSError):
                self._part.unlink()
        unlock_part(self._part)
        self._close_copied()

    def _take(self, packets: Iterable[av.Packet]) -> None:
        """Mux encoded packets, but hold back the last: its duration depends on the next."""
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration)
            if self._first_dts is None:
                self._first_dts = packet.dts
            if self._held is not None:
                self._mux(self._held)
            self._held = packet

    def _release(self) -> None:
        """Mux the last packet and the rest of the copied streams."""
        last = self._held
        assert last is not None
        assert last.dts is not None
        assert self._first_dts is not None
        if self._encoding.container in ("mp4", "mov"):
            # They count durations in decoding order, whose sum must be the duration of the video.
            last.duration = self._end - self._start - (last.dts - self._first_dts)
        self._mux(last)
        self._held = None
        if self._copied is not None:
            assert self._output is not None
            self._copied.mux_until(self._output, None)

    def _mux(self, packet: av.Packet) -> None:
        assert self._output is not None
        assert packet.dts is not None
        if self._copied is not None:
            self._copied.mux_until(self._output, packet.dts * self._time_base)
        if self._on_packet is not None:
            self._on_packet(packet)
        self._output.mux(packet)  # which rounds times to the container's tick: 1 ms in Matroska

    def _close_copied(self) -> None:
        copied, self._copied = self._copied, None
        if copied is not None:
            with suppress(Exception):
                copied.close()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turn errors of FFmpeg and the system into a VideoError that names the file."""
        try:
            yield
        except VideoError:
            raise
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"{self.target} cannot be written: {reason(error)}.") from error


def _tag(tagged: av.VideoFrame | av.VideoCodecContext, color: Color) -> None:
    tagged.color_primaries, tagged.color_trc, tagged.colorspace = color.primaries, color.transfer, color.matrix
    tagged.color_range = 2 if color.full_range else 1


def _hide_spatial_box(path: Path) -> None:
    """Turn Apple's box for spatial video into free space.

    FFmpeg writes it without the arrangement of the views, and readers prefer it to the complete box of stereo video.
    """
    with open(path, "r+b") as file:
        head = file.read(_MAX_SAMPLE_DESCRIPTION)
        if (position := head.find(b"vexu")) >= 0 and b"stsd" in head[:position]:
            file.seek(position)
            file.write(b"free")


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
