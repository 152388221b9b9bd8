"""Compute one part of a job, in a process that knows nothing but the job's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...inference.upscaler import Upscaler
from ..errors import NoFrameError
from ..frame_upscaler import FrameUpscaler, wait_for
from ..frames import VideoInfo
from ..read.open import open_source
from ..transcode import transcode
from .folder import JOB_FILE, JobFolder, PartRecord, copy_job
from .task import VideoTask, task_of
from .writer import PartsWriter


@dataclass(frozen=True)
class PartTask:
    """A part to be computed: the job's folder, and the number of the part. For other machines, a `FileTask`."""

    folder: Path
    index: int

    def inputs(self) -> list[Path]:
        """Return the files that are read: the job, and the video."""
        return [self.folder / JOB_FILE, _opened(self.folder)[1].source]

    def moved(self, files: Mapping[Path, Path], folder: Path) -> PartTask:
        """Return the same part of a copy of the job, whose source may have another path."""
        if not (folder / JOB_FILE).exists():
            copy_job(files[self.folder / JOB_FILE], folder, files)
        return PartTask(folder, self.index)

    def outputs(self) -> list[Path]:
        """Return the files of the part that have been written."""
        folder = _opened(self.folder)[0]
        return [path for path in folder.files(folder.parts[self.index]) if path.exists()]


def compute_part(
    upscaler: Upscaler, task: PartTask, report: Callable[[int], None], cancelled: Callable[[], bool]
) -> int:
    """Compute a part and record it in the job's folder.

    Args:
        upscaler: with the settings of the job.
        task: which part.
        report: called with the frames of this part that are done, after each.
        cancelled: called before every batch of tiles.

    Returns:
        Its number of frames.

    Raises:
        VideoError, UpscaleError, Cancelled: as `upscale_video`.
    """
    folder, video, info = _opened(task.folder)
    part = folder.parts[task.index]
    try:
        source = video.open_run(info, [part], lambda _: None)
    except NoFrameError as error:
        folder.save(part, PartRecord.empty(error, str(upscaler.device)))
        return 0
    writer = PartsWriter(
        folder,
        [part],
        info,
        video.encoding(info),
        sample_aspect_ratio=video.aspect_ratio(info),
        read=source.report,
        device=str(upscaler.device),
    )
    try:
        done = transcode(
            source,
            writer,
            upscaler,
            str(video.target),
            reuse_static=video.reuse_static,
            progress=lambda state: report(state.frames),
            cancelled=cancelled,
        )
    except BaseException:
        writer.discard()
        raise
    finally:
        source.close()
    return done.frames


def first_frame(
    upscaler: Upscaler, task: PartTask, report: Callable[[Any], None], cancelled: Callable[[], bool]
) -> list[NDArray[np.generic]]:
    """Return the planes of the first frame of a part, upscaled, to compare devices; none if it has no frame."""
    folder, video, info = _opened(task.folder)
    try:
        source = video.open_run(info, [folder.parts[task.index]], lambda _: None)
    except NoFrameError:
        return []
    try:
        target = video.encoding(info).frames
        frames = FrameUpscaler(upscaler, info, target, reuse_static=video.reuse_static, cancelled=cancelled)
        frame = next(iter(frames.run(iter([next(iter(source))]))))
    finally:
        source.close()
    wait_for(frame)
    return [plane.cpu().numpy() for plane in frame.planes]


@lru_cache(maxsize=4)
def _opened(path: Path) -> tuple[JobFolder, VideoTask, VideoInfo]:
    """Return a job and the properties of its source, which are the same for all of its parts."""
    folder = JobFolder.open(path)
    video = task_of(folder)
    source = open_source(video.source, video.source_options, span=video.span, warn=lambda _: None)
    source.close()
    return folder, video, source.info
