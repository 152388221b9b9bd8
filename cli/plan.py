"""Plan a run of `supertile upscale` before any work: its files, their journal, and what earlier runs have left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..images.jobs import FileJob
    from ..images.journal import Journal


def planned_jobs(
    sources: Sequence[Path],
    target: str,
    format: str | None,
    values_of: Callable[[Path, Path], Mapping[str, str]],
) -> list[FileJob]:
    """Return the files to make. Raises PlanError.

    values_of: as `plan_jobs` takes it.
    """
    from ..images.hints import is_address
    from ..images.jobs import FileJob, plan_jobs
    from ..images.target_template import TargetTemplate
    from ..video.kinds import VIDEO_SUFFIXES, is_pattern

    numbered = len(sources) == 1 and is_pattern(sources[0]) and not is_address(sources[0]) and not is_address(target)
    if numbered and TargetTemplate.parse(target) is None:
        return [FileJob(sources[0], Path(target))]
    return plan_jobs(
        sources, target, format=format, video_suffixes=VIDEO_SUFFIXES, values_of=values_of, numbered=numbered
    )


def journal_of(jobs: Sequence[FileJob], sources: Sequence[Path], target: str, model_name: str) -> Journal | None:
    """Return the journal of a target folder; None for a single file, whose existence says enough."""
    from .. import __version__
    from ..images.journal import Journal
    from ..images.target_template import TargetTemplate

    if len(jobs) < 2 and not any(source.is_dir() for source in sources):
        return None
    template = TargetTemplate.parse(target)
    folder = target if template is None else template.folder_for(sources)
    return Journal(folder, jobs, sources=sources, version=__version__, model_name=model_name)
