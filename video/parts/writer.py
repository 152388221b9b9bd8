"""Encode frames into the parts they belong to, each a file of its own."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from time import perf_counter

import av

from ..errors import VideoError
from ..frames import Frame, ReadReport, VideoInfo
from ..write.encoder_options import holds_captions
from ..write.encoders import Encoding
from ..write.file import VideoWriter
from .folder import JobFolder, PartRecord
from .plan import Part


class PartsWriter:
    """A FrameSink that begins a new file with each part. A part that is finished stays, whatever follows.

    A part is on disk and recorded before the next begins, so that a kill costs one part at most.

    Args:
        folder: of the job.
        parts: a run of parts, each beginning where the one before ends.
        info: of the source.
        encoding: of the target; parts are encoded alike.
        sample_aspect_ratio: of the target.
        read: counters of the reader, whose changes are recorded with the part in which they were seen.
        device: for the records.
        finished: called with each part and its record.
    """

    def __init__(
        self,
        folder: JobFolder,
        parts: Sequence[Part],
        info: VideoInfo,
        encoding: Encoding,
        *,
        sample_aspect_ratio: Fraction,
        read: ReadReport,
        device: str = "",
        finished: Callable[[Part, PartRecord], None] = lambda part, record: None,
    ) -> None:
        self.format = encoding.frames
        self.encoder, self.pixel_format = encoding.encoder, encoding.pixel_format.name
        self.holds_captions = holds_captions(encoding.encoder)
        # Both keep packets as the encoder made them; HDR metadata of containers is added by the join.
        container = "matroska" if encoding.codec == "prores" else "nut"
        self._encoding = replace(encoding, container=container, codec_tag=None, container_hdr=None)
        self._info = replace(info, display_matrix=None, geometry=b"")
        self._folder, self._ratio, self._device, self._finished = folder, sample_aspect_ratio, device, finished
        self._read, self._seen = read, _counters(read)
        self._waiting = list(reversed(parts))
        self._part: _Part | None = None
        self._bytes = 0

    @property
    def bytes_written(self) -> int:
        return self._bytes + (self._part.writer.bytes_written if self._part else 0)

    def write(self, frame: Frame) -> None:
        """Encode a frame into its part. Raises VideoError."""
        while self._part is None or not self._part.part.has(frame.pts):
            self._complete(lambda: False)
            self._begin(frame.pts)
        self._part.writer.write(frame)
        self._part.end = frame.pts + frame.duration

    def finish(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Complete the last part. A part that `cancelled` interrupts is not recorded."""
        self._complete(cancelled)
        while self._waiting and not cancelled():
            self._record_empty(self._waiting.pop())

    def discard(self) -> None:
        """Delete the part that is not finished."""
        if self._part is not None:
            self._part.writer.discard()
            self._part = None

    def _begin(self, pts: int) -> None:
        while self._waiting:
            part = self._waiting.pop()
            if part.has(pts):
                self._part = _Part(part, self._folder, self._info, self._encoding, self._ratio)
                return
            self._record_empty(part)
        raise VideoError(f"{self._info.name} has a frame at {pts}, which belongs to no part of the job.")

    def _record_empty(self, part: Part) -> None:
        """Record a part none of whose frames could be decoded."""
        record = PartRecord(device=self._device, damage=self._new_damage())
        self._folder.save(part, record)
        self._finished(part, record)

    def _complete(self, cancelled: Callable[[], bool]) -> None:
        part = self._part
        if part is None:
            return
        part.writer.finish(cancelled)
        self._part = None
        if cancelled():
            return
        record = part.record(self._new_damage(), str(self._read.missing_at_end or ""), self._device)
        self._bytes += sum(record.sizes)
        self._folder.save(part.part, record)
        self._finished(part.part, record)

    def _new_damage(self) -> dict[str, int]:
        now = _counters(self._read)
        before, self._seen = self._seen, now
        return {name: now[name] - before[name] for name in now if now[name] != before[name]}


class _Part:
    """The part that is being written, and what its record will say."""

    def __init__(self, part: Part, folder: JobFolder, info: VideoInfo, encoding: Encoding, ratio: Fraction) -> None:
        self.part, self.end = part, 0
        self._container = encoding.container
        self._pts: list[int] = []
        self._durations: list[int] = []
        self._sizes: list[int] = []
        self._checksum = 0
        self._started = perf_counter()
        self.writer = VideoWriter(
            folder.media(part),
            info,
            encoding,
            sample_aspect_ratio=ratio,
            overwrite=True,
            on_packet=self._note,
        )

    def _note(self, packet: av.Packet) -> None:
        assert packet.pts is not None
        self._pts.append(packet.pts)
        self._durations.append(packet.duration or 0)
        self._sizes.append(packet.size)
        self._checksum = zlib.crc32(packet, self._checksum)

    def record(self, damage: dict[str, int], missing_at_end: str, device: str) -> PartRecord:
        ranks = {pts: rank for rank, pts in enumerate(sorted(self._pts))}
        return PartRecord(
            pts=self._pts,
            durations=self._durations,
            sizes=self._sizes,
            checksum=self._checksum,
            reorder=max(place - ranks[pts] for place, pts in enumerate(self._pts)),
            end=self.end,
            container=self._container,
            extradata=extradata_hash(self.writer),
            damage=damage,
            missing_at_end=missing_at_end,
            seconds=perf_counter() - self._started,
            device=device,
        )


def extradata_hash(writer: VideoWriter) -> str:
    """Return the SHA-256 of a writer's encoder headers."""
    return hashlib.sha256(writer.extradata).hexdigest()


def _counters(read: ReadReport) -> dict[str, int]:
    return {name: value for name, value in vars(read).items() if isinstance(value, int) and name != "frames"}
