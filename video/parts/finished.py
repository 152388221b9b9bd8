"""Remember which files are finished, so that the same job under another name is linked instead of computed again.

The records are lines of JSON in the folder of all jobs, `finished.jsonl`, the latest last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

from ...images.io.atomic import atomic_file, copy_times, lock_part, part_of, publish, same_file, unlock_part
from ...inference.errors import Cancelled
from ..errors import VideoError, reason
from ..frames import ReadReport, VideoInfo
from ..pipeline import STAGES, StageTimes
from ..report import VideoReport
from ..write.encoders import Encoding
from .folder import file_identity
from .task import VideoTask

RECORDS = "finished.jsonl"
MAX_RECORDS = 200
_MAX_BYTES = 2**22
_COPY_BYTES = 2**24


@dataclass(frozen=True)
class FinishedFile:
    """The record of a file that is finished.

    Attributes:
        key: see `job_key`.
        path: of the file.
        identity: of the file, see `file_identity`.
        frames: that it has.
        duration: in seconds, as a fraction.
        damage: counters of the reader that are not 0, by name.
        missing_at_end: seconds that the source declares after its last frame, as a fraction; "" for none.
        warnings: of the run that made it.
    """

    key: str
    path: str
    identity: str
    frames: int
    duration: str
    damage: dict[str, int] = field(default_factory=dict)
    missing_at_end: str = ""
    warnings: list[str] = field(default_factory=list)

    def report(self, info: VideoInfo, task: VideoTask, encoding: Encoding) -> VideoReport:
        """Return the report of a run that finds this file instead of computing it anew."""
        read = ReadReport(frames=self.frames)
        for name, count in self.damage.items():
            setattr(read, name, count)
        read.missing_at_end = Fraction(self.missing_at_end) if self.missing_at_end else None
        return VideoReport(
            source=info.name,
            target=str(task.target),
            frames=self.frames,
            source_size=(info.width, info.height),
            target_size=task.framing.size,
            duration=Fraction(self.duration),
            encoder=encoding.encoder,
            pixel_format=encoding.pixel_format.name,
            times=StageTimes(0.0, dict.fromkeys(STAGES, 0.0)),
            read=read,
            video_streams=info.video_streams,
            warnings=list(self.warnings),
            resumed_frames=self.frames,
            copy_of=self.path,
        )


def job_key(identity: Mapping[str, str], target: Path, metadata: Mapping[str, str] | None) -> str:
    """Return a hash of all that decides a file: what decides its frames, its container, and the names of its tags."""
    text = json.dumps([dict(identity), target.suffix.lower(), sorted(metadata or {})], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class FinishedFiles:
    """The finished files of one job.

    Args:
        jobs: the folder of all jobs.
        key: of the job, see `job_key`.
    """

    def __init__(self, jobs: Path, key: str) -> None:
        self._jobs, self._key = jobs, key

    def find(self) -> FinishedFile | None:
        """Return the latest of them that is still what its run has written."""
        for record in reversed(_records(self._jobs)):
            if record.key == self._key:
                with suppress(OSError, ValueError):
                    if os.path.isfile(record.path) and file_identity(Path(record.path)) == record.identity:
                        return record
        return None

    def add(self, report: VideoReport) -> None:
        """Record the file of a finished run. Never raises OSError: without a record, the job is computed again."""
        path, read = os.path.abspath(report.target), report.read
        with suppress(OSError, ValueError):
            record = FinishedFile(
                key=self._key,
                path=path,
                identity=file_identity(Path(path)),
                frames=report.frames,
                duration=str(report.duration),
                damage={name: value for name, value in vars(read).items() if type(value) is int and value},
                missing_at_end=str(read.missing_at_end or ""),
                warnings=report.warnings,
            )
            others = [each for each in _records(self._jobs) if each.path != path]
            self._jobs.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._jobs / RECORDS, overwrite=True) as file:
                for each in [*others, record][-MAX_RECORDS:]:
                    file.write(json.dumps(asdict(each)).encode() + b"\n")


def link_finished(
    finished: FinishedFile, target: Path, *, overwrite: bool, cancelled: Callable[[], bool] = lambda: False
) -> None:
    """Make `target` a hard link of a finished file, or a copy where the file system has no links.

    Raises:
        VideoError: the target cannot be written.
        Cancelled: `cancelled` returned True.
    """
    part = part_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if same_file(Path(finished.path), target):
            return
        try:
            os.link(finished.path, part)
        except OSError:
            _copy(Path(finished.path), part, cancelled)
        publish(part, target, overwrite=overwrite, error=VideoError)
    except OSError as error:
        raise VideoError(f"{target} cannot be written: {reason(error)}.") from error
    finally:
        part.unlink(missing_ok=True)
        unlock_part(part)


def _copy(source: Path, part: Path, cancelled: Callable[[], bool]) -> None:
    lock_part(part)
    with open(source, "rb") as before, open(part, "wb") as after:
        while block := before.read(_COPY_BYTES):
            if cancelled():
                raise Cancelled("the upscaling was cancelled")
            after.write(block)
        after.flush()
        os.fsync(after.fileno())
    copy_times(source, part)


def _records(jobs: Path) -> list[FinishedFile]:
    """Return the records of a folder, the latest last; none from lines or a file that are damaged."""
    records: list[FinishedFile] = []
    path = jobs / RECORDS
    try:
        lines = path.read_bytes().splitlines() if path.stat().st_size <= _MAX_BYTES else []
    except OSError:
        return records
    for line in lines:
        with suppress(ValueError, TypeError):
            records.append(FinishedFile(**json.loads(line)))
    return records
