"""Print what happens to files as lines of JSON, for programs that run `supertile upscale --json`.

Each line is an object whose "event" is one of these, with these fields; what is unknown is null:

    progress   source, target (of a video; null for images), files_done, files, frames, frames_expected, fps,
               seconds_per_file, seconds_left (about, of this video or of all images); at most one a second
    warning    message
    done       source, target, source_size and target_size ([width, height]), seconds, bytes, complete (false if the
               source was damaged or cut short); of a video also frames and fps
    skipped    source, target, reason ("done before" or "existed already")
    failed     source, target, message
    summary    done, skipped, failed (numbers of files), seconds; the last line, unless the run was interrupted

With `--dry-run`, "skipped" and "failed" tell what would be skipped and fail, and these replace the others:

    estimate   of all images together (source and target are null): images, source_pixels, target_pixels; or of a video:
               source, target, source_size, target_size, encoder, pixel_format, frames, parts, parts_done, frames_done
               (by an interrupted run); of both seconds, bytes (about, for what is left to do; bytes of the whole file)
               and computed (how many images or frames were)
    plan       images, videos, skipped, failed (numbers of files), seconds and bytes (sums of the estimates),
               bytes_free (of the disk of the target); the last line
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer


def print_event(event: str, **fields: Any) -> None:
    """Print one line. Paths become text; names that are no UTF-8 have escapes for their bytes (\\udc80 to \\udcff)."""
    values = {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
    typer.echo(json.dumps({"event": event, **values}))
