"""`supertile join` finds the parts of a job beside its target, in ComfyUI's folder of jobs, and by a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from supertile.cli import app
from supertile.inference.errors import Cancelled
from supertile.video.parts.folder import JOBS
from supertile.video.parts.job import JobOptions
from supertile.video.upscale import upscale_video
from supertile.video.write.encoder_options import EncoderOptions
from typer.testing import CliRunner

from .conftest import pts_of

TWO_SECONDS = JobOptions(part_seconds=2)


@pytest.fixture
def interrupted(clip, upscaler, tmp_path):
    """Interrupt a job after two parts, which lie in a folder of jobs below tmp_path."""

    def of(target: str, jobs: str) -> Path:
        path, folder = tmp_path / target, tmp_path / jobs
        with pytest.raises(Cancelled):
            upscale_video(
                clip("h264"), path, upscaler, encoder=EncoderOptions(codec="ffv1"),
                job=replace(TWO_SECONDS, folder=folder, numbered=True),
                cancelled=lambda: len(list(folder.glob("*/0*.json"))) >= 2,
            )  # fmt: skip
        return path

    return of


def join(*arguments: str | Path):
    return CliRunner().invoke(app, ["join", *map(str, arguments)])


@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        ("film.mkv", JOBS),
        ("output/video/film_00001_.mkv", f"output/{JOBS}"),  # as ComfyUI's node keeps them
        ("output/video/film_00001_.mkv", f"output/{JOBS}/temp"),
    ],
)
@pytest.mark.parametrize("by", ["target", "folder above", "folder of jobs", "folder of the job"])
def test_a_job_is_found(tmp_path, interrupted, target, jobs, by):
    path = interrupted(target, jobs)
    above = (tmp_path / jobs.partition(JOBS)[0]).resolve()
    [job] = (tmp_path / jobs).glob("*/job.json")
    named = {"target": path, "folder above": above, "folder of jobs": above / JOBS, "folder of the job": job.parent}[by]
    result = join(named)
    assert result.exit_code == 0, result.output
    partial = path.with_name(f"{path.stem}.partial.mkv")
    assert result.stdout.split() == [str(partial)]
    assert len(pts_of(partial)) >= 100


def test_several_jobs_of_a_folder_are_named(tmp_path, interrupted):
    first, second = interrupted("output/a.mkv", f"output/{JOBS}"), interrupted("output/b.mkv", f"output/{JOBS}/temp")
    result = join(tmp_path / "output")
    assert result.exit_code == 1
    assert f"name the target: {first}, {second}." in result.stderr
    assert join(second).exit_code == 0


@pytest.mark.parametrize("named", ["film.mkv", "nowhere/film.mkv", ""])
def test_where_there_is_no_job_a_sentence_says_so(tmp_path, named):
    result = join(tmp_path / named)
    assert result.exit_code == 1
    assert result.stderr.startswith("There is no interrupted job ")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"target": 1, "parts": [[0, null, 1, 0]], "identity": {}, "settings": {}}']
)
def test_a_job_file_that_is_none_is_passed_over(tmp_path, text):
    job = tmp_path / JOBS / "0" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text(text)
    assert join(tmp_path).exit_code == 1
    assert "There is no interrupted job" in join(tmp_path).stderr
