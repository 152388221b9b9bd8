"""The journal of a folder: what it proves, what it only knows, and what happens to its file."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from supertile.images.io.atomic import atomic_file
from supertile.images.io.errors import ImageFileError, ImageFileWarning
from supertile.images.jobs import FileJob
from supertile.images.journal import (
    DONE_BEFORE,
    EXISTS,
    JOURNAL_NAME,
    Journal,
    pending_file,
    reason_to_skip,
    recording,
)

SETTINGS = {"model": "0123", "size": "2x", "quality": "95"}


@pytest.fixture
def job(tmp_path: Path) -> FileJob:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"source")
    return FileJob(tmp_path / "in" / "a.png", tmp_path / "out" / "a.png")


def journal_of(job: FileJob, jobs: list[FileJob] | None = None, **options: str) -> Journal:
    options = {"version": "1.0", "model_name": "good"} | options
    return Journal(job.target.parent, jobs or [job], sources=[job.source.parent], **options)


def make(job: FileJob, journal: Journal, content: bytes = b"result", *, overwrite: bool = False) -> None:
    with recording(journal, pending_file(job, SETTINGS)), atomic_file(job.target, overwrite=overwrite) as file:
        file.write(content)


def test_a_recorded_file_is_proven_and_any_other_is_not(job):
    journal = journal_of(job)
    job.target.write_bytes(b"something")
    assert not journal.proves(job, SETTINGS)
    job.target.unlink()
    make(job, journal)
    assert journal.proves(job, SETTINGS)
    assert journal_of(job).proves(job, SETTINGS)
    job.target.write_bytes(b"edited")  # of the same size
    assert not journal_of(job).proves(job, SETTINGS)


def test_a_line_is_there_before_its_file(job, monkeypatch):
    replace, lines = os.replace, []

    def killed(part, target):
        lines.append(json.loads((job.target.parent / JOURNAL_NAME).read_text()))
        assert not job.target.exists()
        status = os.stat(part)
        assert (lines[0]["target_size"], lines[0]["target_mtime_ns"]) == (status.st_size, status.st_mtime_ns)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        make(job, journal_of(job))
    assert lines[0]["target"] == lines[0]["source"] == "a.png"
    monkeypatch.setattr(os, "replace", replace)
    journal = journal_of(job)
    assert not journal.proves(job, SETTINGS)
    make(job, journal)
    assert journal_of(job).proves(job, SETTINGS)


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"size": "3x"}, {}, "made with another size (2x, now 3x); pass --overwrite"),
        ({"start": "5"}, {}, "made with another start (default, now 5);"),
        ({"model": "4567"}, {"model_name": "better"}, "made with another model (good, now better);"),
        ({"model": "4567", "size": "3x"}, {}, "another model of the same name and with another size (2x, now 3x);"),
        ({}, {"version": "1.1"}, "made with another version of Supertile (1.0, now 1.1);"),
    ],
)
def test_what_differs_is_named(job, changes, options, words):
    make(job, journal_of(job))
    for skip_existing in (False, True):
        with pytest.raises(ImageFileError) as caught:
            reason_to_skip(
                job, journal_of(job, **options), SETTINGS | changes, skip_existing=skip_existing, overwrite=False
            )
        assert f"{job.target} exists already, made " in str(caught.value)
        assert words in str(caught.value)
    assert not reason_to_skip(job, journal_of(job, **options), SETTINGS | changes, skip_existing=False, overwrite=True)


def test_a_changed_source_is_named(job):
    make(job, journal_of(job))
    job.source.write_bytes(b"changed")
    with pytest.raises(ImageFileError, match=r"made from .*a\.png before that was changed;"):
        journal_of(job).proves(job, SETTINGS)


def test_a_source_that_was_copied_is_still_its_source(job):
    make(job, journal_of(job))
    os.utime(job.source, ns=(0, 1_000_000_000))
    assert journal_of(job).proves(job, SETTINGS)
    job.source.write_bytes(b"SOURCE")
    with pytest.raises(ImageFileError, match="before that was changed;"):
        journal_of(job).proves(job, SETTINGS)


def test_a_source_that_changes_while_it_is_read_has_no_hash(job):
    journal, pending = journal_of(job), pending_file(job, SETTINGS)
    os.utime(job.source, ns=(0, 1_000_000_000))
    with recording(journal, pending), atomic_file(job.target, overwrite=False) as file:
        file.write(b"result")
    assert json.loads(journal.path.read_text())["source_hash"] == ""
    with pytest.raises(ImageFileError, match="before that was changed;"):
        journal_of(job).proves(job, SETTINGS)


def test_skipping(job):
    def reason(journal: Journal | None, *, skip_existing: bool = False, overwrite: bool = False) -> str:
        return reason_to_skip(job, journal, SETTINGS, skip_existing=skip_existing, overwrite=overwrite)

    assert reason(journal_of(job), skip_existing=True) == ""
    make(job, journal_of(job))
    assert reason(journal_of(job)) == DONE_BEFORE
    assert reason(journal_of(job), overwrite=True) == ""
    (job.target.parent / JOURNAL_NAME).unlink()
    assert reason(journal_of(job)) == reason(None) == ""
    assert reason(journal_of(job), skip_existing=True) == reason(None, skip_existing=True) == EXISTS
    itself = FileJob(job.source, job.source)
    assert reason_to_skip(itself, None, SETTINGS, skip_existing=True, overwrite=False) == ""


def test_both_folders_may_move(job, tmp_path):
    make(job, journal_of(job))
    os.rename(tmp_path / "in", tmp_path / "from")
    os.rename(tmp_path / "out", tmp_path / "to")
    moved = FileJob(tmp_path / "from" / "a.png", tmp_path / "to" / "a.png")
    assert journal_of(moved).proves(moved, SETTINGS)


def test_files_of_two_archives_are_not_taken_for_each_other(job, tmp_path):
    other = FileJob(tmp_path / "other" / "a.png", job.target)
    other.source.parent.mkdir()
    other.source.write_bytes(b"equals")  # in size
    for each in (job, other):
        os.utime(each.source, ns=(10**18, 10**18))
    make(job, journal_of(job))
    assert not journal_of(other).proves(other, SETTINGS)
    assert journal_of(job).proves(job, SETTINGS)


@pytest.mark.parametrize("rounded", [False, True])
def test_a_target_with_the_times_of_its_source_is_proven(job, rounded):
    os.utime(job.source, ns=(10**18, 10**18 + 123))
    journal = journal_of(job)
    make(job, journal)
    os.utime(job.target, ns=(10**18, 10**18 + (0 if rounded else 123)))
    assert journal_of(job).proves(job, SETTINGS) is not rounded
    journal.record_times(job)
    assert journal_of(job).proves(job, SETTINGS)
    assert len((job.target.parent / JOURNAL_NAME).read_text().splitlines()) == 1 + rounded


def test_a_file_may_have_several_lines_in_any_order(job):
    make(job, journal_of(job))
    make(job, journal_of(job), b"result, later", overwrite=True)
    assert journal_of(job).proves(job, SETTINGS)
    path = job.target.parent / JOURNAL_NAME
    first, second = path.read_text().splitlines(keepends=True)
    path.write_text(second + first)  # another process was faster between its line and its rename
    assert journal_of(job).proves(job, SETTINGS)


def test_a_damaged_journal_is_ignored_line_by_line(job):
    make(job, journal_of(job))
    path = job.target.parent / JOURNAL_NAME
    line = path.read_bytes()
    values = json.loads(line)
    wrong = [
        values | {"target_size": "7"},
        values | {"target_mtime_ns": True},
        values | {"settings": {"size": 7}},
        values | {"settings": {"size": "5x"}},  # whose hash is another
        values | {"model_name": "\x1b[2J"},
        values | {"more": 1},
        {"target": "a.png"},
        [values],
        None,
    ]
    odd = [b"", b"\xff\xfe", b"{" * 100_000, b"[" * 100_000, b"1" * 200_000, line[:50], b"\0" * 100]
    odd += [json.dumps(each).encode() for each in wrong]
    path.write_bytes(line + b"\n".join(odd))
    assert journal_of(job).proves(job, SETTINGS)
    path.write_bytes(b"\n".join(odd) + b"\n" + line)
    assert journal_of(job).proves(job, SETTINGS)


@pytest.mark.parametrize("kept", [1, 50, -1])
def test_a_torn_line_does_not_spoil_the_next(job, kept):
    make(job, journal_of(job))
    path = job.target.parent / JOURNAL_NAME
    path.write_bytes(path.read_bytes()[:kept])
    journal = journal_of(job)
    assert not journal.proves(job, SETTINGS)
    make(job, journal, overwrite=True)
    assert journal.proves(job, SETTINGS)
    assert journal_of(job).proves(job, SETTINGS)


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")
@pytest.mark.parametrize("kind", ["folder", "link", "pipe", "unwritable"])
def test_without_a_journal_the_work_goes_on_after_one_warning(job, kind, tmp_path):
    path = job.target.parent / JOURNAL_NAME
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif os.geteuid() == 0:
        pytest.skip("root may write anything")
    else:
        path.touch(0o400)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        journal = journal_of(job)
        make(job, journal)
        make(job, journal, overwrite=True)
    assert job.target.read_bytes() == b"result"
    assert [each.category for each in caught] == [ImageFileWarning]
    assert str(caught[0].message).startswith(f"{path} cannot be ")
    assert not (tmp_path / "elsewhere").exists()


def test_several_writers_write_whole_lines(job):
    jobs = [FileJob(job.source, job.target.with_name(f"{number}.png")) for number in range(60)]
    journals = [journal_of(job, jobs) for _ in range(3)]
    threads = [
        threading.Thread(target=lambda n: [make(each, journals[n]) for each in jobs[n::3]], args=(n,)) for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(journals[0].proves(each, SETTINGS) for each in jobs)  # also those of the others
    assert len((job.target.parent / JOURNAL_NAME).read_text().splitlines()) == 60


def test_names_that_are_no_text(job):
    odd = FileJob(job.source.with_name(os.fsdecode(b"caf\xe9.png")), job.target.with_name(os.fsdecode(b"\xff.png")))
    try:
        odd.source.write_bytes(b"source")
    except OSError:
        pytest.skip("the file system has no such names")
    make(odd, journal_of(odd))
    assert journal_of(odd).proves(odd, SETTINGS)


def test_a_long_journal_is_read_in_seconds(job):
    make(job, journal_of(job))
    path = job.target.parent / JOURNAL_NAME
    line = path.read_bytes()
    path.write_bytes(b"".join(line.replace(b'"a.png"', b'"%d.png"' % number) for number in range(100_000)) + line)
    started = time.process_time()
    assert journal_of(job).proves(job, SETTINGS)
    assert time.process_time() - started < 15
