"""The report of a finished video, as text."""

from __future__ import annotations

from pathlib import Path

from ..video.report import VideoReport
from . import folders


def report_text(report: VideoReport, notes: list[str]) -> str:
    """Return the report with one fact in each line; the file by its path below the output folder."""
    before, after = ("x".join(map(str, size)) for size in (report.source_size, report.target_size))
    number, count = report.video_streams
    lines = [
        f"file: {folders.below_its_folder(Path(report.target))}",
        f"frames: {report.frames}",
        f"size: {before} -> {after}",
        *([f"video stream: {number} of 0 to {count - 1}; the others are copied as they are"] if count > 1 else []),
        f"encoder: {report.encoder}, {report.pixel_format}",
        *([] if report.copy_of else [f"time: {report.times.total:.1f} s, {report.fps:.2f} frames per second"]),
        *(f"note: {sentence}" for sentence in notes),
    ]
    return "\n".join(lines)


def notes_of(report: VideoReport, informed: list[str]) -> list[str]:
    """Return what the user should know, as sentences: of what was said while it ran, and the warnings."""
    if report.copy_of:
        earlier = folders.below_its_folder(Path(report.copy_of))
        informed = [
            f"Nothing was computed: {earlier} has the same source, model and settings, and is now here as well."
        ]
    return [*informed, *map(folders.without_folders, report.warnings)]
