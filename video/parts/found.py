"""Find interrupted jobs by what people name: the target, a folder of targets, or the folder that keeps the jobs.

ComfyUI's nodes keep the jobs of all their videos in one folder, above that of the target; see nodes/folders.py.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..errors import VideoError
from .folder import JOB_FILE, JOBS, JobFolder

APART = "temp"
"""The folder in a folder of jobs for those whose targets ComfyUI deletes when it starts."""


def interrupted_job(named: Path) -> JobFolder:
    """Return the latest job of a target, or the only one of a folder.

    Args:
        named: a target as it was given, a folder that holds targets or jobs, or the folder of one job.

    Raises:
        VideoError: there is no job, there are several, or it cannot be continued.
    """
    if (named / JOB_FILE).is_file():
        return JobFolder.open(named)
    if not named.is_dir():
        return _job_of(named)
    jobs = _jobs_in(named) + _jobs_in(named / JOBS)
    latest = {job.job["target"]: job for job in sorted(jobs, key=_begun)}
    if not latest:
        raise VideoError(f"There is no interrupted job in {named}.")
    if len(latest) > 1:
        raise VideoError(f"There are several interrupted jobs in {named}; name the target: {', '.join(latest)}.")
    return next(iter(latest.values()))


def _job_of(target: Path) -> JobFolder:
    for folder in Path(os.path.abspath(target)).parents:
        for jobs in (folder / JOBS, folder / JOBS / APART):
            if found := JobFolder.find(target, jobs):
                return found[0]
    raise VideoError(
        f"There is no interrupted job for {target}, in its folder or above; in ComfyUI, name the output folder."
    )


def _jobs_in(jobs: Path) -> list[JobFolder]:
    found = []
    for folder in (jobs, jobs / APART):
        with suppress(OSError):
            for path in sorted(folder.iterdir()):
                with suppress(VideoError):
                    if (path / JOB_FILE).is_file():
                        found.append(JobFolder.open(path))
    return [job for job in found if isinstance(job.job.get("target"), str)]


def _begun(job: JobFolder) -> float:
    try:
        return (job.path / JOB_FILE).stat().st_mtime
    except OSError:
        return 0.0
