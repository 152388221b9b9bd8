"""Write the file of a job from parts that are done: all of them, or those before the first that is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...inference.errors import Cancelled
from ..errors import VideoError
from ..frames import Span, VideoInfo
from ..read.open import open_source
from ..write.file import VideoWriter
from ..write.open import open_target
from .folder import JobFolder, file_identity, has_same_content
from .join import join
from .plan import Part
from .task import VideoTask, task_of


def join_parts(
    folder: JobFolder,
    task: VideoTask,
    info: VideoInfo,
    parts: Sequence[Part],
    *,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Write the file of a task from parts that are done. Raises VideoError, Cancelled."""
    if not has_same_content(folder.job["identity"]["the source"], file_identity(task.source)):
        raise VideoError(f"{task.source} has changed since its parts were made; start again with --restart.")
    sink = open_target(
        task.target,
        info,
        task.frames(info),
        task.encoder,
        span=task.span.shifted(info.origin),
        copy_from=task.source,
        metadata=metadata,
        overwrite=overwrite,
        warn=lambda _: None,
    )
    assert isinstance(sink, VideoWriter)
    try:
        join(folder, parts, sink, cancelled=cancelled)
    except BaseException:
        sink.discard()
        raise
    if cancelled():
        raise Cancelled("the upscaling was cancelled")


def join_partial(folder: JobFolder, target: Path | None = None, *, overwrite: bool = True) -> Path:
    """Join the parts of an unfinished job, up to the first that is missing; the parts stay.

    Args:
        folder: of the job.
        target: of the file; None: NAME.partial.SUFFIX beside the job's target.
        overwrite: replace the file if it exists.

    Returns:
        The path of the file.

    Raises:
        VideoError: the first part is missing, the source has changed, or the file cannot be written.
    """
    task = task_of(folder)
    parts: list[Part] = []
    for part, _ in folder.done():
        if part.index != len(parts):
            break
        parts.append(part)
    if not parts:
        raise VideoError(f"No part of {task.target} from its beginning on is done yet.")
    target = target or task.target.with_name(f"{task.target.stem}.partial{task.target.suffix}")
    frames = open_source(task.source, task.source_options, span=task.span, warn=lambda _: None)
    info = frames.info
    frames.close()
    stop = parts[-1].stop
    end = task.span.end if stop is None else stop * info.time_base - info.origin
    cut = replace(task, target=target, span=Span(task.span.start, end))
    join_parts(folder, cut, info, parts, metadata=folder.job["settings"].get("metadata"), overwrite=overwrite)
    return target
