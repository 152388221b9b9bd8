"""A job that differs from a finished one in nothing but its name is linked, and nothing else is."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from supertile.inference.errors import Cancelled
from supertile.video.parts import finished as finished_module
from supertile.video.parts.finished import MAX_RECORDS, RECORDS
from supertile.video.parts.folder import JOBS, JobFolder
from supertile.video.parts.job import JobOptions
from supertile.video.upscale import upscale_video
from supertile.video.write.encoder_options import EncoderOptions

from .conftest import pts_of
from .test_job import After

NUMBERED = JobOptions(part_seconds=2, numbered=True)


@pytest.fixture
def source(clip, tmp_path) -> Path:
    return Path(shutil.copy2(clip("h264"), tmp_path / "source.mp4"))


@pytest.fixture
def first(source, upscaler, tmp_path) -> Path:
    """A finished file."""
    target = tmp_path / "a_00001_.mp4"
    report = upscale_video(source, target, upscaler, job=NUMBERED)
    assert (report.frames, report.copy_of) == (200, "")
    return target


def fail_if_computed() -> bool:
    raise AssertionError("something is computed")


@pytest.mark.parametrize("part_seconds", [2, 0])
def test_another_name_is_a_link(source, upscaler, tmp_path, part_seconds):
    job = replace(NUMBERED, part_seconds=part_seconds)
    first, second = tmp_path / "a.mp4", tmp_path / "folder" / "b.mp4"
    jobs = replace(job, folder=tmp_path / "jobs")
    before = upscale_video(source, first, upscaler, job=jobs)
    report = upscale_video(source, second, upscaler, job=jobs, cancelled=fail_if_computed)
    assert os.path.samefile(first, second)
    assert report.copy_of == str(first)
    assert report.target == str(second)
    assert (report.frames, report.duration, report.encoder) == (before.frames, before.duration, before.encoder)
    assert report.complete == before.complete
    assert os.listdir(tmp_path / "jobs") == [RECORDS]
    assert not list(tmp_path.rglob("*.part"))


def test_a_copy_is_made_where_links_are_not_possible(source, first, upscaler, tmp_path, monkeypatch):
    def no_links(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(finished_module.os, "link", no_links)
    second = tmp_path / "b.mp4"
    assert upscale_video(source, second, upscaler, job=NUMBERED).copy_of == str(first)
    assert second.read_bytes() == first.read_bytes()
    assert not os.path.samefile(first, second)
    with pytest.raises(Cancelled):
        upscale_video(source, tmp_path / "c.mp4", upscaler, job=NUMBERED, cancelled=lambda: True)
    assert not list(tmp_path.glob("c.mp4")) + list(tmp_path.glob(".*.part"))


def test_a_chain_of_links_needs_none_of_the_earlier_ones(source, first, upscaler, tmp_path):
    upscale_video(source, tmp_path / "b.mp4", upscaler, job=NUMBERED)
    first.unlink()
    assert upscale_video(source, tmp_path / "c.mp4", upscaler, job=NUMBERED).copy_of == str(tmp_path / "b.mp4")


@pytest.mark.parametrize("change", ["file", "source", "encoder", "container", "tags", "restart", "records", "gone"])
def test_everything_else_is_computed(source, first, upscaler, tmp_path, change):
    options: dict = {"job": NUMBERED}
    target = tmp_path / "b.mp4"
    if change == "file":
        first.write_bytes(first.read_bytes()[:-1] + b"\1")
    elif change == "gone":
        first.unlink()
    elif change == "source":
        source.touch()
    elif change == "encoder":
        options["encoder"] = EncoderOptions(quality=50)
    elif change == "container":
        target = tmp_path / "b.mkv"
    elif change == "tags":
        options["metadata"] = {"comment": "x"}
    elif change == "restart":
        options["job"] = replace(NUMBERED, restart=True)
    else:
        (tmp_path / JOBS / RECORDS).write_bytes(b'{\n[]\n{"key": 1}\n\xff\n')
    assert upscale_video(source, target, upscaler, **options).copy_of == ""
    assert len(pts_of(target)) == 200


def test_records_are_bounded(first, source, upscaler, tmp_path):
    records = tmp_path / JOBS / RECORDS
    line = json.loads(records.read_text())
    others = [json.dumps({**line, "key": "other", "path": f"/{number}"}) for number in range(3 * MAX_RECORDS)]
    records.write_text("\n".join([*others, json.dumps(line)]))
    assert upscale_video(source, tmp_path / "b.mp4", upscaler, job=NUMBERED).copy_of == str(first)
    assert len(records.read_text().splitlines()) == MAX_RECORDS


def test_without_the_option_nothing_is_recorded_or_linked(source, first, upscaler, tmp_path):
    plain = replace(NUMBERED, numbered=False)
    assert upscale_video(source, tmp_path / "b.mp4", upscaler, job=plain).copy_of == ""
    assert len((tmp_path / JOBS / RECORDS).read_text().splitlines()) == 1


def test_an_interrupted_job_goes_on_under_another_name(source, upscaler, tmp_path):
    job = replace(NUMBERED, folder=tmp_path / JOBS)
    with pytest.raises(Cancelled):
        upscale_video(source, tmp_path / "a.mp4", upscaler, job=job, cancelled=After(tmp_path, 2))
    said: list[str] = []
    report = upscale_video(source, tmp_path / "folder" / "b.mp4", upscaler, job=job, inform=said.append)
    assert report.resumed_frames >= 100
    assert said[0].startswith(f"Continuing {tmp_path / 'folder' / 'b.mp4'} at 0:00:0")


def test_an_interrupted_job_survives_another_source_of_its_name(clip, source, upscaler, tmp_path):
    """A host that numbers its files uses the name again that the interrupted job would have had."""
    target, said = tmp_path / "a_00001_.mp4", []
    with pytest.raises(Cancelled):
        upscale_video(source, target, upscaler, job=NUMBERED, cancelled=After(tmp_path, 2))
    upscale_video(clip("open-gop"), target, upscaler, job=NUMBERED, inform=said.append)
    assert said == []
    assert len(JobFolder.find(target)) == 1
    report = upscale_video(source, tmp_path / "a_00002_.mp4", upscaler, job=NUMBERED)
    assert report.resumed_frames >= 100
