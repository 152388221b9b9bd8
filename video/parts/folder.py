"""The folder that keeps a job's parts until they are joined, and proves which of them are done.

It lies beside the target, `.supertile-jobs/NAME/`, where NAME is a hash of everything that decides the frames: source,
model, settings, encoder, versions, bounds of the parts. `job.json` says all of that in plain words. A part is the file
`00012.media` and then, once it is complete on disk, its record `00012.json`; without the record it does not exist.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from ...images.io.atomic import atomic_file, part_of, remove_stale_parts, try_lock, unlock_part
from ..errors import NoFrameError, VideoError, reason
from ..frames import ReadReport
from .plan import Part

JOBS = ".supertile-jobs"
JOB_FILE = "job.json"
_FORMAT = 1
_MAX_RECORD_BYTES = 64 * 2**20
_MAX_TICKS = 2**62


@dataclass(frozen=True)
class PartRecord:
    """The record of a part that is done. Times are in the source's time base.

    Attributes:
        pts, durations, sizes: of its packets, in decoding order; sizes in bytes.
        checksum: CRC-32 of the payloads of all packets.
        reorder: by how many packets decoding runs ahead of presentation.
        end: end of the last frame.
        container: FFmpeg's name of the part's container.
        extradata: SHA-256 of the encoder's headers.
        damage: counters of the reader that are not 0, by name.
        missing_at_end: seconds that the source declares after its last frame, as a fraction; "" for none.
        seconds: computing time.
        device: that computed it.
    """

    pts: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    checksum: int = 0
    reorder: int = 0
    end: int = 0
    container: str = "nut"
    extradata: str = ""
    damage: dict[str, int] = field(default_factory=dict)
    missing_at_end: str = ""
    seconds: float = 0.0
    device: str = ""

    @classmethod
    def empty(cls, error: NoFrameError, device: str) -> PartRecord:
        """Return the record of a part none of whose frames can be decoded."""
        damage = {"undecodable_packets": error.undecodable_packets} if error.undecodable_packets else {}
        return cls(damage=damage, device=device)

    @property
    def frames(self) -> int:
        return len(self.pts)

    def is_sound(self, part: Part) -> bool:
        """Return False for a record that no part could have: it was damaged, or not written by this program."""
        numbers = (*self.pts, *self.durations, *self.sizes, self.checksum, self.reorder, self.end)
        counters = vars(ReadReport()).items()
        names = {name for name, value in counters if type(value) is int}
        try:
            return (
                all(type(number) is int and abs(number) < _MAX_TICKS for number in (*numbers, *self.damage.values()))
                and all(type(text) is str for text in (self.container, self.extradata, self.device))
                and type(self.seconds) in (int, float)
                and len(self.pts) == len(self.durations) == len(self.sizes) == len(set(self.pts))
                and all(part.has(pts) for pts in self.pts)
                and min(self.sizes, default=0) >= 0
                and 0 <= self.reorder <= len(self.pts)
                and names.issuperset(self.damage)
                and (not self.missing_at_end or Fraction(self.missing_at_end) >= 0)
            )
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            return False


class JobFolder:
    """The parts of one job.

    Attributes:
        path: the folder.
        parts: all parts, done or not.
        job: `job.json`, as `create` was given it.
        is_locked: True if this process works on the job.
    """

    def __init__(self, path: Path, job: dict[str, Any]) -> None:
        self.path, self.job = path, job
        self.is_locked = False
        try:
            self.parts = [Part(index, *bounds) for index, bounds in enumerate(job["parts"])]
            stops = [part.stop for part in self.parts[:-1]]
            starts = [part.start for part in self.parts]
            is_sound = (
                stops == starts[1:] and starts == sorted(set(starts)) and all(type(each) is int for each in starts)
            )
            dict(job["identity"]), dict(job["settings"])
        except (KeyError, TypeError, ValueError) as error:
            raise VideoError(f"{path} holds no job that this version of Supertile can continue.") from error
        if not is_sound or not self.parts:
            raise VideoError(f"{path} holds a damaged job; start again with --restart.")

    @classmethod
    def create(
        cls,
        target: Path,
        identity: Mapping[str, str],
        parts: Sequence[Part],
        settings: Mapping[str, Any],
        jobs: Path | None = None,
    ) -> JobFolder:
        """Return the folder of a job, which an interrupted run may have left; `begin` makes it.

        Args:
            target: the video file to be.
            identity: what decides the frames, by names that users understand.
            parts: of the job.
            settings: whatever `join` needs, as JSON.
            jobs: the folder of all jobs; None: see `jobs_beside`.
        """
        bounds = [[part.start, part.stop, part.expected, part.checksum] for part in parts]
        job = {
            "format": _FORMAT,
            "target": os.path.abspath(target),
            "identity": dict(identity),
            "settings": dict(settings),
            "parts": bounds,
        }
        text = json.dumps([_FORMAT, job["identity"], bounds], sort_keys=True)
        path = (jobs or jobs_beside(target)) / hashlib.sha256(text.encode()).hexdigest()[:16]
        return cls(path, job)

    def begin(self) -> None:
        """Make the folder and lock it.

        Raises:
            VideoError: another process works on this job, or the folder cannot be written.
        """
        target = self.job["target"]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not try_lock(self.path):
                raise VideoError(f"{target}: another run is working on this very job.")
            self.is_locked = True
            remove_stale_parts(self.path)
            remove_stale_parts(self.path.parent)
            _write_json(self.path / JOB_FILE, self.job)
        except OSError as error:
            raise VideoError(f"{target}: the folder {self.path} cannot be written: {reason(error)}.") from error

    @property
    def has_parts(self) -> bool:
        """True if a part is recorded as done."""
        return any(self.path.glob("[0-9]*.json"))

    @classmethod
    def open(cls, path: Path) -> JobFolder:
        """Open the folder of a job that this or another process has created. Raises VideoError."""
        try:
            return cls(path, _read_json(path / JOB_FILE))
        except (OSError, ValueError) as error:
            raise VideoError(f"{path} holds no job that can be continued.") from error

    @classmethod
    def find(cls, target: Path, jobs: Path | None = None) -> list[JobFolder]:
        """Return the jobs that have been begun for a target, the latest first. See `create` for `jobs`."""
        begun: list[tuple[float, JobFolder]] = []
        with suppress(OSError):
            for path in (jobs or jobs_beside(target)).iterdir():
                with suppress(OSError, ValueError):
                    job = _read_json(path / JOB_FILE)
                    if job.get("format") == _FORMAT and job.get("target") == os.path.abspath(target):
                        begun.append(((path / JOB_FILE).stat().st_mtime, cls(path, job)))
        return [folder for _, folder in sorted(begun, key=lambda each: each[0], reverse=True)]

    def media(self, part: Part) -> Path:
        """Return the path of a part's packets."""
        return self.path / f"{part.index:05}.media"

    def files(self, part: Part) -> list[Path]:
        """Return the paths of a part's packets and record, in the order in which they appear."""
        return [self.media(part), self._record(part)]

    def save(self, part: Part, record: PartRecord) -> None:
        """Record a part whose file is complete. Raises VideoError."""
        try:
            _write_json(self._record(part), asdict(record))
        except OSError as error:
            raise VideoError(f"{self._record(part)} cannot be written: {reason(error)}.") from error

    def load(self, part: Part) -> PartRecord | None:
        """Return the record of a part; None if it is not done, or its record or file is damaged."""
        try:
            record = PartRecord(**_read_json(self._record(part)))
            if not record.is_sound(part):
                return None
            size = self.media(part).stat().st_size if record.pts else 0
        except (OSError, ValueError, TypeError):
            return None
        return record if size >= sum(record.sizes) else None

    def forget(self, part: Part) -> None:
        """Let a part be computed again."""
        self._record(part).unlink(missing_ok=True)

    def done(self) -> Iterator[tuple[Part, PartRecord]]:
        """Yield the parts that are done, in order, with their records."""
        for part in self.parts:
            if self._record(part).exists() and (record := self.load(part)) is not None:
                yield part, record

    def close(self) -> None:
        """Let other processes work on the job."""
        if self.is_locked:
            unlock_part(self.path)
        self.is_locked = False

    def delete(self) -> None:
        """Delete the folder, and that of all jobs if it is empty then, unless another run works on this job."""
        self.is_locked = self.is_locked or try_lock(self.path)
        if not self.is_locked:
            return
        stale = part_of(self.path)  # which `remove_stale_jobs` finds if this process is killed on the way
        try:
            self.path.rename(stale)
        except OSError:
            stale = self.path
        shutil.rmtree(stale, ignore_errors=True)
        self.close()
        with suppress(OSError):
            self.path.parent.rmdir()

    def _record(self, part: Part) -> Path:
        return self.path / f"{part.index:05}.json"


def copy_job(job_file: Path, folder: Path, places: Mapping[Path, Path]) -> None:
    """Write a job without parts into another folder; its source is read from where `places` says. Raises VideoError."""
    try:
        job = _read_json(job_file)
        job["settings"]["source"] = str(places[Path(job["settings"]["source"])])
        _write_json(folder / JOB_FILE, job)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VideoError(f"{job_file} cannot be copied to {folder}: {reason(error)}.") from error


def jobs_beside(target: Path) -> Path:
    """Return the folder that keeps the jobs of targets in one folder, unless another is chosen."""
    return target.parent / JOBS


def remove_stale_jobs(jobs: Path) -> None:
    """Delete what killed processes have left of finished jobs in a folder of jobs. Never raises OSError."""
    remove_stale_parts(jobs)
    with suppress(OSError):
        jobs.rmdir()  # if it is empty


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names in two identities whose values differ."""
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]


def file_identity(path: Path) -> str:
    """Return a text that changes with a file: its size, its time, and a hash of its first and last mebibyte.

    Raises:
        VideoError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        status = path.stat()
        with open(path, "rb") as file:
            digest.update(file.read(2**20))
            file.seek(max(0, status.st_size - 2**20))
            digest.update(file.read(2**20))
    except OSError as error:
        raise VideoError(f"{path} cannot be read: {reason(error)}.") from error
    return f"{status.st_size} bytes, {status.st_mtime_ns}, {digest.hexdigest()[:16]}"


def has_same_content(identity: str, other: str) -> bool:
    """Return True if two results of `file_identity` differ in the time of the file at most."""
    return [identity.split(", ")[number] for number in (0, -1)] == [other.split(", ")[number] for number in (0, -1)]


def _write_json(path: Path, value: Any) -> None:
    with atomic_file(path, overwrite=True) as file:
        file.write(json.dumps(value).encode())


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > _MAX_RECORD_BYTES:
        raise ValueError(f"{path} is no file, or too large")
    try:
        value = json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is no JSON object")
    return value
