"""Write frames as numbered PNG images, `frames/%06d.png`: 8 or 16 bits, gray or RGB, with or without alpha.

Images have no times. If the frame rate is variable, `timecodes.txt` in the same folder has the time of each frame, in
"timestamp format v2", which mkvmerge and x264 read.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch

from ...images.io.atomic import lock_part, same_file, unlock_part
from ...images.io.errors import ImageFileError
from ...images.io.files import write_image
from ...images.io.picture import Picture
from ..errors import VideoError, reason
from ..frames import UNSPECIFIED, Frame, FrameFormat, Layout, VideoInfo
from ..kinds import NUMBER, is_pattern

_log = logging.getLogger(__name__)
_TIMECODES = "timecodes.txt"


def existing_of(pattern: Path) -> list[Path]:
    """Return the existing images of a pattern, with any number, in the order of their names."""
    match = NUMBER.search(pattern.name)
    assert match is not None
    before, after = pattern.name[: match.start()], pattern.name[match.end() :]
    numbered = re.compile(re.escape(before) + r"\d+" + re.escape(after))
    if not pattern.parent.is_dir():
        return []
    names = sorted(file.name for file in pattern.parent.iterdir())
    return [pattern.with_name(name) for name in names if numbered.fullmatch(name)]


class ImageSequenceWriter:
    """A FrameSink that writes images into a hidden folder and moves them to their names when all are complete.

    Args:
        target: a path whose file name contains %d or %06d and ends in .png.
        info: of the source.
        frames: the frames of the job. `format` is RGB or gray with 8 bits for up to 8 bits, else with 16.
        overwrite: replace existing images.
        first: number of the first image.
        sources: images that are read, and are never overwritten.
        warn: called with one sentence for each property that cannot be kept.

    Raises:
        VideoError: the target is not such a pattern, images of the pattern exist and `overwrite` is False, or the
            folder cannot be created or written.
    """

    holds_captions = False

    def __init__(
        self,
        target: Path,
        info: VideoInfo,
        frames: FrameFormat,
        *,
        overwrite: bool = False,
        first: int = 1,
        sources: Sequence[Path] = (),
        warn: Callable[[str], None] = _log.warning,
    ) -> None:
        if not is_pattern(target) or target.suffix.lower() != ".png":
            raise VideoError(
                f"{target} is not a pattern of PNG images. Use a name with one number, such as frames/%06d.png."
            )
        self.target, self.frames = target, 0
        model = "gray" if frames.layout.model == "gray" else "rgb"
        layout = Layout(model, 8 if frames.layout.depth <= 8 else 16, alpha=frames.layout.alpha)
        self.format = replace(frames, layout=layout, color=replace(frames.color, matrix=0, full_range=True))
        self.encoder = "png"
        name = {"gray": ("gray", "ya"), "rgb": ("rgb", "rgba")}[layout.model][layout.alpha]
        self.pixel_format = {"gray": "gray", "ya": "ya8", "rgb": "rgb24", "rgba": "rgba"}[name]
        if layout.depth == 16:
            self.pixel_format = {"gray": "gray16be", "ya": "ya16be", "rgb": "rgb48be", "rgba": "rgba64be"}[name]
        if frames.color.hdr or frames.color.primaries not in (UNSPECIFIED, 1):
            warn(f"{target}: PNG images have no color tags. The samples of the video are written without them.")

        self._overwrite, self._next, self._warn = overwrite, first, warn
        self.bytes_written = 0
        self._time_base = Fraction(info.time_base)
        self._times: list[tuple[int, int]] = []  # pts and duration
        self._folder: Path | None = None
        if target.parent.exists() and not target.parent.is_dir():
            raise VideoError(f"{target} cannot be written: {target.parent} is not a folder.")
        for existing in existing_of(self.target):
            if not overwrite:
                raise VideoError(f"{existing} exists already. Pass --overwrite (overwrite=True) to replace images.")
            if any(same_file(existing, source) for source in sources):
                raise VideoError(
                    f"{existing} is one of the sources, which are never overwritten. Choose another target."
                )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            folder = target.parent / f".{secrets.token_hex(4)}.part"
            folder.mkdir()
            lock_part(folder)
        except OSError as error:
            raise VideoError(f"{target} cannot be written: {reason(error)}.") from error
        self._folder = folder

    def write(self, frame: Frame) -> None:
        """Write a frame in `format` as an image. Raises VideoError."""
        assert self._folder is not None, "written to after finish or discard"
        shapes = [tuple(plane.shape) for plane in frame.planes]
        width, height, layout = self.format.width, self.format.height, self.format.layout
        if shapes != [(height, width)] * layout.planes:
            raise VideoError(f"{self.target}: a frame must have planes of {width}x{height}, not of {shapes}.")
        top = 2**layout.depth - 1
        planes = [plane.cpu().to(torch.float32) / top for plane in frame.planes]
        alpha = planes.pop()[None] if layout.alpha else None
        image = Picture(torch.stack(planes), alpha, layout.depth)
        try:
            write_image(self._folder / self._name(self._next), image)
        except ImageFileError as error:
            cause = error.__cause__
            why = reason(cause) if isinstance(cause, OSError) else str(error)
            name = self.target.with_name(self._name(self._next))
            raise VideoError(f"{name} cannot be written: {why}.") from error
        self.bytes_written += (self._folder / self._name(self._next)).stat().st_size
        self._times.append((frame.pts, frame.duration))
        self._next += 1
        self.frames += 1

    def finish(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Move the images to their names. Raises VideoError if there are none or one cannot be moved."""
        if self._folder is None:
            return
        try:
            if not self.frames:
                raise VideoError(f"{self.target} was not written, because the source had no frames.")
            if cancelled():
                self.discard()
                return
            self._write_timecodes()
            written = sorted(self._folder.iterdir())
            names = [self.target.with_name(file.name) for file in written]
            if not self._overwrite and (there := [name for name in names if os.path.lexists(name)]):
                raise VideoError(f"{there[0]} exists already and was not replaced.")
            for file, name in zip(written, names, strict=True):
                os.replace(file, name)
        except OSError as error:
            self.discard()
            raise VideoError(f"{self.target} cannot be written: {reason(error)}.") from error
        except BaseException:
            self.discard()
            raise
        self.discard()  # the empty folder
        if older := sorted(set(existing_of(self.target)) - set(names)):
            self._warn(
                f"{self.target}: older images of this pattern remain in the folder ({len(older)}), "
                f"from {older[0].name} on."
            )

    def discard(self) -> None:
        """Delete what was written. After `finish` the images stay. Never raises."""
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            unlock_part(folder)

    def _name(self, number: int) -> str:
        return NUMBER.sub(lambda match: str(number).zfill(int(match[1] or 0)), self.target.name)

    def _write_timecodes(self) -> None:
        durations = {duration for _, duration in self._times[:-1]}
        if len(durations) < 2 or self._folder is None:
            return
        start = self._times[0][0]
        lines = [f"{float((pts - start) * self._time_base * 1000):.6f}" for pts, _ in self._times]
        text = "# timestamp format v2\n" + "\n".join(lines) + "\n"
        (self._folder / _TIMECODES).write_text(text, encoding="ascii")
