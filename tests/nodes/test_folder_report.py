"""The report of Upscale Folder."""

from __future__ import annotations

from pathlib import Path

from supertile.images.batch import Outcome
from supertile.images.io.errors import ImageFileError
from supertile.images.jobs import FileJob
from supertile.nodes.folder_report import MAX_LINES, FolderReport


def job(name: str) -> FileJob:
    return FileJob(Path("/server/in") / name, Path("/server/out") / name)


def report() -> FolderReport:
    return FolderReport("input -> output/new", lambda sentence: sentence.replace("/server/in/", ""))


def lines(folder_report: FolderReport) -> list[str]:
    counts, folders, seconds, *others = folder_report.text().splitlines()
    assert folders == "input -> output/new"
    assert seconds.startswith("time: ")
    return [counts, *others]


def test_failures_and_notes_name_each_file_once():
    made = report()
    made.add(Outcome(job("a.png")))
    made.add(Outcome(job("b.png"), skipped="done before"))
    made.add(Outcome(job("c.png"), ImageFileError("/server/in/c.png is cut short.")))
    made.add(Outcome(job("d.png"), ImageFileError("The disk is full.")))
    made.note("2 files are left out.")
    made.note("Continuing at 0:00:08.", job("clip.mp4"))
    assert lines(made) == [
        "1 file done, 1 skipped (done before), 2 failed.",
        "failed: c.png is cut short.",
        "failed: d.png: The disk is full.",
        "note: 2 files are left out.",
        "note: clip.mp4: Continuing at 0:00:08.",
    ]


def test_unexpected_errors_are_named_without_the_servers_paths():
    made = report()
    made.add(Outcome(job("a.png"), OSError(5, "Input/output error", "/server/secret")))
    made.add(Outcome(job("b.png"), RuntimeError("several\nlines")))
    assert lines(made)[1:] == [
        "failed: a.png: unexpected OSError: Input/output error (see the log)",
        "failed: b.png: unexpected RuntimeError: several lines (see the log)",
    ]


def test_the_report_on_a_thousand_failures_stays_short():
    made = report()
    for index in range(1000):
        made.add(Outcome(job(f"{index}.png"), ImageFileError("It is damaged.")))
        made.note("It is odd.", job(f"{index}.png"))
    found = lines(made)
    assert found[0] == "0 files done, 1,000 failed."
    assert len(found) == 2 * MAX_LINES + 3
    assert found[MAX_LINES + 1] == "failed: 900 more, see the log"
