"""Join the parts of a job into one file, with the streams that are copied from the source."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import av

from ..errors import VideoError, reason
from ..write.file import VideoWriter
from .folder import JobFolder, PartRecord
from .plan import Part
from .writer import extradata_hash

PART_CONTAINERS = ("nut", "matroska")


def join(
    folder: JobFolder,
    parts: Sequence[Part],
    writer: VideoWriter,
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Mux the packets of parts, in order, and publish the file.

    Times come from the records, because parts are rounded to a tick of their container; the time between the last frame
    of a part and the first of the next is that frame's duration. Decoding times are computed anew: the n-th packet is
    decoded at the presentation time of the (n - d)-th frame, d being the largest reordering of all parts.

    Args:
        folder: of the job.
        parts: which all are done, and follow each other.
        writer: of the file, whose encoder has the options of the parts.
        cancelled: called for each part; when it returns True, the writer is discarded.

    Raises:
        VideoError: a part is missing or damaged, or was made by another encoder. Nothing is published.
    """
    reorder = max((record.reorder for _, record in _records(folder, parts)), default=0)
    packets = _with_times(folder, parts, reorder, extradata_hash(writer))
    for packet, pts, dts, duration in packets:
        writer.write_packet(packet, pts, dts, duration)
        if packet.is_keyframe and cancelled():
            writer.discard()
            return
    writer.finish(cancelled)


def _with_times(
    folder: JobFolder, parts: Sequence[Part], reorder: int, extradata: str
) -> Iterator[tuple[av.Packet, int, int, int]]:
    """Yield all packets in decoding order, with (pts, dts, duration)."""
    earlier: deque[int] = deque(maxlen=reorder + 1)  # the latest presentation times, sorted
    records = _records(folder, parts)
    current = next(records, None)
    while current is not None:
        part, record = current
        current = next((each for each in records if each[1].pts), None)  # the next with frames
        if not record.pts:
            continue
        if record.extradata != extradata:
            raise VideoError(f"{folder.media(part)} was made by another encoder; start again with --restart.")
        ordered = sorted(record.pts)
        if not earlier:
            earlier.extend(_before(ordered, reorder, record.end))
        elif ordered[0] <= earlier[-1]:
            raise VideoError(f"{folder.media(part)} does not follow the part before it; start again with --restart.")
        after = min(current[1].pts) if current is not None else record.end
        ends = dict(zip(ordered, [*ordered[1:], after], strict=True))
        for number, packet in enumerate(_packets(folder, part, record)):
            earlier.append(ordered[number])
            pts = record.pts[number]
            yield packet, pts, earlier[0], ends[pts] - pts


def _before(ordered: Sequence[int], reorder: int, end: int) -> list[int]:
    """Return `reorder` + 1 times before the first, spaced as the first times are, which is what x264 does."""
    frame = ordered[1] - ordered[0] if len(ordered) > 1 else max(1, end - ordered[0])
    delay = ordered[reorder] - ordered[0] if len(ordered) > reorder else reorder * frame
    leading = ordered[:reorder] if len(ordered) > reorder else [ordered[0] + n * frame for n in range(reorder)]
    return [ordered[0] - delay - frame, *(time - delay for time in leading)]


def _records(folder: JobFolder, parts: Sequence[Part]) -> Iterator[tuple[Part, PartRecord]]:
    for part in parts:
        record = folder.load(part)
        if record is None:
            raise VideoError(f"{folder.media(part)} is missing or damaged; run the upscaling again.")
        yield part, record


def _packets(folder: JobFolder, part: Part, record: PartRecord) -> Iterator[av.Packet]:
    """Yield the packets of a part as the encoder made them. Raises VideoError if they are not."""
    path = folder.media(part)
    damaged = VideoError(f"{path} is damaged; delete it and run the upscaling again.")
    checksum = count = 0
    try:
        if record.container not in PART_CONTAINERS:
            raise damaged
        with av.open(str(path.absolute()), format=record.container) as container:
            for packet in container.demux(container.streams.video[0]):
                if not packet.size:
                    continue
                if count == record.frames or packet.size != record.sizes[count]:
                    raise damaged
                checksum = zlib.crc32(packet, checksum)
                count += 1
                yield packet
    except (av.FFmpegError, OSError, IndexError) as error:
        raise VideoError(f"{path} cannot be read: {reason(error)}.") from error
    if count != record.frames or checksum != record.checksum:
        raise damaged
