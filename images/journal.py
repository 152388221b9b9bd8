"""Remember which files of a folder are finished, and from what they were made, so that a job can be started again.

The journal is a hidden file of JSON lines in the target folder. A line is written before a finished file gets its name,
so a process killed at any moment leaves no file without its line; a line without its file proves nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from .io.atomic import before_publishing, same_file
from .io.errors import ImageFileError, ImageFileWarning
from .jobs import FileJob

JOURNAL_NAME = ".supertile-done.jsonl"
DONE_BEFORE, EXISTS = "done before", "existed already"

_MAX_LINE_BYTES = 1 << 16
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_MAX_LINES_OF_A_FILE = 4
_SECOND_NS = 10**9
_TYPES = {"settings": dict, **dict.fromkeys(("source", "source_folder", "target", "options", "model_name"), str)}


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the journal.

    Attributes:
        source: relative to `source_folder`, or absolute if that is empty.
        source_folder: the folder among the sources of the job that holds the source.
        target: relative to the journal's folder.
        options: a hash of `settings`.
        settings: everything that decides the result, by name.
        model_name: for messages only; the settings have a hash of the weights.
    """

    source: str
    source_folder: str
    source_size: int
    source_mtime_ns: int
    target: str
    target_size: int
    target_mtime_ns: int
    options: str
    settings: dict[str, str]
    model_name: str

    @classmethod
    def parse(cls, text: bytes) -> _Line | None:
        """Return a line, None if it is not one that this class has written."""
        try:
            values = json.loads(text)
            line = cls(**values)
        except (ValueError, TypeError, RecursionError):
            return None
        if any(type(value) is not _TYPES.get(name, int) for name, value in values.items()):
            return None
        # They are shown to users, and a file that anybody could write must not control their terminal.
        shown = (line.model_name, *line.settings, *line.settings.values())
        return line if all(isinstance(text, str) and text.isprintable() for text in shown) else None


@dataclass(frozen=True)
class PendingFile:
    """A file that is being made: its job, its settings, and the status of its source before it was read."""

    job: FileJob
    settings: Mapping[str, str]
    source: os.stat_result


class Journal:
    """The journal of one target folder. Safe for use by several threads and by several processes at once.

    Nothing that happens to the file is an error: what cannot be read is ignored, and if it cannot be written, there is
    one ImageFileWarning.

    Args:
        folder: the target folder; it need not exist yet.
        jobs: those of this run; what the journal says of other files is not kept in memory.
        sources: as they were given to `plan_jobs`. Files in folders among them are known by their path in the folder,
            so that both folders can be moved.
        version: `supertile.__version__`; results of another version are not trusted.
        model_name: for messages.
    """

    def __init__(
        self,
        folder: str | Path,
        jobs: Iterable[FileJob],
        *,
        sources: Sequence[str | Path] = (),
        version: str,
        model_name: str = "",
    ) -> None:
        self.path = Path(folder) / JOURNAL_NAME
        self._folder = os.path.abspath(folder)
        self._roots = [os.path.abspath(source) for source in sources if os.path.isdir(source)]
        self._version = version
        self._model_name = "".join(letter if letter.isprintable() else "?" for letter in model_name)
        self._lines: dict[str, tuple[_Line, ...]] = {self._target_key(job): () for job in jobs}
        self._known_settings: dict[str, dict[str, str]] = {}
        self._bytes_read = 0
        self._lock = threading.Lock()
        self._warned = False
        self._read_on()

    def record(self, pending: PendingFile, file: Path) -> None:
        """Append the line of a finished file, which may still have a temporary name."""
        source, folder = self._source_key(pending.job.source)
        settings = self._complete(pending.settings)
        with self._one_warning_if_unwritable():
            status = file.stat()
            line = _Line(
                source=source,
                source_folder=folder,
                source_size=pending.source.st_size,
                source_mtime_ns=pending.source.st_mtime_ns,
                target=self._target_key(pending.job),
                target_size=status.st_size,
                target_mtime_ns=status.st_mtime_ns,
                options=_hash(settings),
                settings=settings,
                model_name=self._model_name,
            )
            self._append(line)

    def record_times(self, job: FileJob) -> None:
        """Record that a target in this journal has been given the times of its source.

        Only needed where the file system rounds them: a target with the very time of its source is recognized.
        """
        self._read_on()
        lines = self._lines.get(self._target_key(job), ())
        with self._one_warning_if_unwritable():
            time = job.target.stat().st_mtime_ns
            if lines and time not in (lines[0].target_mtime_ns, lines[0].source_mtime_ns):
                self._append(replace(lines[0], target_mtime_ns=time))

    @contextmanager
    def _one_warning_if_unwritable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._warn(f"cannot be written ({error.strerror}); a further run will not know which files are done.")

    def proves(self, job: FileJob, settings: Mapping[str, str], *, error: type[Exception] = ImageFileError) -> bool:
        """Return True if the target of a job was made from its source with these settings.

        Raises `error` if it was made with other settings, or from its source before that was changed.
        """
        line = self._line_of(job)
        if line is None:
            self._read_on()  # another process may have made it
            line = self._line_of(job)
        if line is None:
            return False
        try:
            source = job.source.stat()
        except OSError:
            return False
        reasons = list(self._differences(line, self._complete(settings)))
        is_from_it = self._is_from(line, job)
        if (line.source_size, line.source_mtime_ns) != (source.st_size, source.st_mtime_ns):
            reasons.insert(0, f"from {job.source} before that was changed" if is_from_it else "from another file")
        elif not is_from_it:
            return False
        if reasons:
            raise error(
                f"{job.target} exists already, made {' and '.join(reasons)}; pass --overwrite (overwrite=True) to "
                "replace it."
            )
        return True

    def _line_of(self, job: FileJob) -> _Line | None:
        """Return the line that was written for the file which a job's target is now."""
        lines = self._lines.get(self._target_key(job), ())
        try:
            target = job.target.stat()
        except OSError:
            return None
        for line in lines:
            times = (line.target_mtime_ns, line.source_mtime_ns)  # the latter after --keep-times
            if target.st_size == line.target_size and target.st_mtime_ns in times:
                return line
        return None

    def _is_from(self, line: _Line, job: FileJob) -> bool:
        source, folder = self._source_key(job.source)
        # Archives store whole seconds only: frames of two of them may agree in name, size and time.
        same_folder = line.source_folder == folder or line.source_mtime_ns % _SECOND_NS != 0
        return line.source == source and same_folder

    def _differences(self, line: _Line, new: Mapping[str, str]) -> Iterator[str]:
        old = line.settings
        for name in {**new, **old}:
            before, now = old.get(name, "default"), new.get(name, "default")
            if before == now:
                continue
            if name == "model":
                before, now = line.model_name, self._model_name
            if before == now:
                yield "with another model of the same name" if now else "with another model"
            else:
                yield f"with another {'version of Supertile' if name == 'version' else name} ({before}, now {now})"

    def _complete(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {**settings, "version": self._version}

    def _target_key(self, job: FileJob) -> str:
        return Path(os.path.relpath(os.path.abspath(job.target), self._folder)).as_posix()

    def _source_key(self, source: Path) -> tuple[str, str]:
        path = Path(os.path.abspath(source))
        for root in self._roots:
            if path.is_relative_to(root):
                return path.relative_to(root).as_posix(), root
        return path.as_posix(), ""

    def _append(self, line: _Line) -> None:
        text = json.dumps(asdict(line), separators=(",", ":")).encode() + b"\n"
        with self._lock:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _FLAGS, 0o666)
            try:
                if not _ends_with_newline(descriptor):
                    text = b"\n" + text  # another process was killed while it wrote
                if os.write(descriptor, text) < len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _read_on(self) -> None:
        """Read the lines that were written since the last time, by whatever process."""
        with self._lock:
            try:
                descriptor = os.open(self.path, os.O_RDONLY | _FLAGS)
                with open(descriptor, "rb") as file:
                    _check_regular(descriptor)
                    file.seek(self._bytes_read)
                    for text in _whole_lines(file):
                        self._bytes_read += len(text)
                        self._keep(text)
            except FileNotFoundError:
                return
            except OSError as error:
                self._warn(f"cannot be read ({error.strerror}); finished files are not recognized.")

    def _keep(self, text: bytes) -> None:
        line = _Line.parse(text)
        if line is None or line.target not in self._lines or line.options != _hash(line.settings):
            return
        line = replace(
            line,
            settings=self._known_settings.setdefault(line.options, line.settings),  # one object for 100,000 lines
            source_folder=sys.intern(line.source_folder),
            options=sys.intern(line.options),
            model_name=sys.intern(line.model_name),
        )
        # Two processes may publish one file, and the last to write its line need not be the last to rename.
        self._lines[line.target] = (line, *self._lines[line.target][: _MAX_LINES_OF_A_FILE - 1])

    def _warn(self, sentence: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"{self.path} {sentence}", ImageFileWarning, stacklevel=3)


def _hash(settings: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _check_regular(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")


def _ends_with_newline(descriptor: int) -> bool:
    """Return True for a file without an unfinished line."""
    _check_regular(descriptor)
    if not os.fstat(descriptor).st_size:
        return True
    os.lseek(descriptor, -1, os.SEEK_END)
    return os.read(descriptor, 1) == b"\n"


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines up to the last that is complete; those that are too long come in several pieces."""
    while text := file.readline(_MAX_LINE_BYTES):
        if not text.endswith(b"\n") and len(text) < _MAX_LINE_BYTES:
            return
        yield text


def reason_to_skip(
    job: FileJob,
    journal: Journal | None,
    settings: Mapping[str, str],
    *,
    skip_existing: bool,
    overwrite: bool,
    error: type[Exception] = ImageFileError,
) -> str:
    """Return why a job need not be done, DONE_BEFORE or EXISTS; "" if it must be done. Raises as `Journal.proves`."""
    if overwrite or not os.path.lexists(job.target):
        return ""
    if journal is not None and journal.proves(job, settings, error=error):
        return DONE_BEFORE
    return EXISTS if skip_existing and job.target.is_file() and not same_file(job.source, job.target) else ""


def pending_file(job: FileJob, settings: Mapping[str, str]) -> PendingFile | None:
    """Note the status of a source before it is read; None if it has none."""
    try:
        return PendingFile(job, settings, job.source.stat())
    except OSError:
        return None


def recording(journal: Journal | None, pending: PendingFile | None) -> AbstractContextManager[None]:
    """Within the block, have `journal` record a file before it is published."""
    if journal is None or pending is None:
        return nullcontext()
    return before_publishing(pending.job.target, partial(journal.record, pending))
