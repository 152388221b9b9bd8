"""The videos that a node shows: the result, or what stands for it, and the latest frame while it is made.

Text is shown by web/js/report.js, from `text` in the `ui` of a node.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ..images.words import duration_in_words
from ..video.preview import SECONDS, write_picture, write_preview
from ..video.report import VideoProgress, VideoReport
from . import folders, host

INTERVAL_S = 1.0
PLAYABLE = (".mp4", ".webm")


class LiveVideo:
    """The progress of a video in the node that runs now: as text, and the latest frame as a small video.

    Both are sent as if they were the node's result, which then takes their place. The page would take a preview of the
    progress bar for the video, fail to play it, and keep it in place of the result.
    """

    def __init__(self) -> None:
        self._shown = time.monotonic()
        self._file: folders.NewFile | None = None

    def __enter__(self) -> LiveVideo:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.path.unlink(missing_ok=True)

    def __call__(self, now: VideoProgress) -> None:
        if get_executing_context() is None or time.monotonic() - self._shown < INTERVAL_S:
            return
        done = f"frames: {now.frames}" + (f" of {now.expected}" if now.expected else "")
        lines = [f"{done}, {now.fps:.2f} per second"]
        if now.expected and now.fps:
            lines.append(f"time left: about {duration_in_words((now.expected - now.frames) / now.fps)}")
        output = ui.PreviewText("\n".join(lines)).as_dict()
        if now.thumbnail is not None:
            output |= self._picture(now.thumbnail(host.PREVIEW_SIDE))
        host.show_in_running_node(output)
        self._shown = time.monotonic()

    def _picture(self, picture: Tensor) -> dict[str, Any]:
        if self._file is None:
            self._file = folders.new_file(folders.Place(io.FolderType.temp, "supertile_live", ".mp4"), 0, 0)
        if not write_picture(host.thumbnail(picture.movedim(0, -1)), self._file.path):
            return {}
        shown = ui.SavedResult(self._file.path.name, self._file.subfolder, io.FolderType.temp)
        return ui.PreviewVideo([shown]).as_dict()


def video(file: folders.NewFile, folder: io.FolderType, report: VideoReport) -> tuple[dict[str, Any], str | None]:
    """Return what the page plays for a finished video, for the node's `ui`, and a note if it is not the video itself.

    A video that a browser cannot play is replaced by its beginning, small and as H.264, in the temp folder.
    """
    if _plays_in_a_browser(report):
        return ui.PreviewVideo([ui.SavedResult(file.path.name, file.subfolder, folder)]).as_dict(), None
    small = folders.new_file(folders.Place(io.FolderType.temp, "supertile_preview", ".mp4"), *report.target_size)
    if not write_preview(file.path, small.path):
        return ui.PreviewVideo([]).as_dict(), None  # an empty list clears the preview of the last run
    shown = ui.SavedResult(small.path.name, small.subfolder, io.FolderType.temp)
    return ui.PreviewVideo([shown]).as_dict(), (
        f"Browsers do not play this file. The node shows the first {SECONDS} seconds of it, or less, in H.264, small "
        "and without sound."
    )


def _plays_in_a_browser(report: VideoReport) -> bool:
    if Path(report.target).suffix.lower() not in PLAYABLE:
        return False
    if "264" in report.encoder:
        return report.pixel_format == "yuv420p"
    return "av1" in report.encoder or "vp9" in report.encoder
