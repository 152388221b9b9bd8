"""Remember which files of a folder are finished, and from what they were made, so that a job can be started again.

The journal is a hidden file of JSON lines in the target folder. A line is written before a finished file gets its name,
so a process killed at any moment leaves no file without its line; a line without its file proves nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from .io.atomic import OVERWRITE, before_publishing, same_file
from .io.errors import ImageFileError, ImageFileWarning
from .jobs import FileJob
from .journal_file import JournalLine, append_line, content_hash, read_lines, settings_hash

JOURNAL_NAME = ".supertile-done.jsonl"
DONE_BEFORE, EXISTS = "done before", "existed already"

_MAX_LINES_OF_A_FILE = 4
_SECOND_NS = 10**9


@dataclass(frozen=True)
class PendingFile:
    """A file that is being made: its job, its settings, and the status of its source before it was read."""

    job: FileJob
    settings: Mapping[str, str]
    source: os.stat_result


@dataclass(frozen=True)
class JournalPlace:
    """Where a journal is and how it names files: enough to write to it from another process."""

    folder: str
    roots: tuple[str, ...]
    version: str
    model_name: str


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
        self._lines: dict[str, tuple[JournalLine, ...]] = {self._target_key(job): () for job in jobs}
        self._latest: tuple[Mapping[str, str], dict[str, str], str] | None = None
        self._known_settings: dict[str, dict[str, str]] = {}
        self._bytes_read = 0
        self._lock = threading.Lock()
        self._warned = False
        if self._lines:
            self._read_on()

    @property
    def place(self) -> JournalPlace:
        """Return what `at` needs."""
        return JournalPlace(self._folder, tuple(self._roots), self._version, self._model_name)

    @classmethod
    def at(cls, place: JournalPlace) -> Journal:
        """Return a journal that knows of no file, to record finished ones."""
        return cls(place.folder, (), sources=place.roots, version=place.version, model_name=place.model_name)

    def record(self, pending: PendingFile, file: Path) -> None:
        """Append the line of a finished file, which may still have a temporary name."""
        source, folder = self._source_key(pending.job.source)
        settings, options = self._completed(pending.settings)
        with self._one_warning_if_unwritable():
            status = file.stat()
            line = JournalLine(
                source=source,
                source_folder=folder,
                source_size=pending.source.st_size,
                source_mtime_ns=pending.source.st_mtime_ns,
                source_hash=content_hash(pending.job.source, pending.source),
                target=self._target_key(pending.job),
                target_size=status.st_size,
                target_mtime_ns=status.st_mtime_ns,
                options=options,
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
        if not _has_same_content(line, job.source, source):
            reasons.insert(0, f"from {job.source} before that was changed" if is_from_it else "from another file")
        elif not is_from_it:
            return False
        if reasons:
            raise error(f"{job.target} exists already, made {' and '.join(reasons)}; {OVERWRITE}.")
        return True

    def _line_of(self, job: FileJob) -> JournalLine | None:
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

    def _is_from(self, line: JournalLine, job: FileJob) -> bool:
        source, folder = self._source_key(job.source)
        # Archives store whole seconds only: frames of two of them may agree in name, size and time.
        same_folder = line.source_folder == folder or line.source_mtime_ns % _SECOND_NS != 0
        return line.source == source and same_folder

    def _differences(self, line: JournalLine, new: Mapping[str, str]) -> Iterator[str]:
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

    def _completed(self, settings: Mapping[str, str]) -> tuple[dict[str, str], str]:
        """Return settings with the version, and their hash; most files of a run share one object."""
        if self._latest is None or self._latest[0] is not settings:
            complete = self._complete(settings)
            self._latest = settings, complete, settings_hash(complete)
        return self._latest[1:]

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

    def _append(self, line: JournalLine) -> None:
        with self._lock:
            append_line(self.path, line)

    def _read_on(self) -> None:
        """Read the lines that were written since the last time, by whatever process."""
        with self._lock:
            try:
                for line, end in read_lines(self.path, self._bytes_read):
                    self._keep(line)
                    self._bytes_read = end
            except FileNotFoundError:
                return
            except OSError as error:
                self._warn(f"cannot be read ({error.strerror}); finished files are not recognized.")

    def _keep(self, line: JournalLine | None) -> None:
        if line is None or line.target not in self._lines:
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


def _has_same_content(line: JournalLine, source: Path, status: os.stat_result) -> bool:
    """Return True if a source is the one of a line: by size and time, or by its content if it was copied since."""
    if line.source_size != status.st_size:
        return False
    return line.source_mtime_ns == status.st_mtime_ns or "" != line.source_hash == content_hash(source, status)


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
