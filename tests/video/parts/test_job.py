"""A video in parts equals one in one piece, goes on after an interruption, and starts anew when something changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
from supertile.inference.errors import Cancelled
from supertile.inference.pool import UpscalerPool
from supertile.inference.upscaler import Upscaler
from supertile.video.errors import VideoError
from supertile.video.frames import Span
from supertile.video.parts.folder import JOBS, JobFolder, PartRecord, remove_stale_jobs
from supertile.video.parts.job import JobOptions
from supertile.video.parts.plan import Part
from supertile.video.parts.publish import join_partial
from supertile.video.upscale import upscale_video as upscale_video_with
from supertile.video.write.encoder_options import EncoderOptions
from supertile.weights.loader import load_model

from .conftest import CLIPS, digest, pts_of

TWO_SECONDS = JobOptions(part_seconds=2)
# Lossless, because x264's output differs in a few bits from run to run on noise.
LOSSLESS = EncoderOptions(codec="ffv1")
ONE_PIECE = JobOptions(part_seconds=0)

upscale_video = partial(upscale_video_with, encoder=LOSSLESS)


class After:
    """A `cancelled` that ends the job once so many parts are done."""

    def __init__(self, folder: Path, parts: int) -> None:
        self.folder, self.parts = folder, parts

    def __call__(self) -> bool:
        return len(list(self.folder.glob(f"{JOBS}/*/0*.json"))) >= self.parts


@pytest.fixture
def interrupted(clip, upscaler, tmp_path):
    """The target of a job of four parts of which two are done, and the sentences about it."""

    def of(name: str = "h264", suffix: str = ".mp4", **options) -> Path:
        target = tmp_path / f"film{suffix}"
        with pytest.raises(Cancelled):
            upscale_video(clip(name), target, upscaler, job=TWO_SECONDS, cancelled=After(tmp_path, 2), **options)
        assert not target.exists()
        return target

    return of


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_parts_are_joined_to_the_file_that_one_piece_is(clip, upscaler, tmp_path, name, suffix):
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    a = upscale_video_with(clip(name), whole, upscaler, job=ONE_PIECE)
    b = upscale_video_with(clip(name), parts, upscaler, job=TWO_SECONDS)
    assert pts_of(parts) == pts_of(whole)
    assert len(pts_of(parts)) == a.frames == b.frames == b.read.frames
    expected, found = digest(whole), digest(parts)
    assert found["durations"] == expected["durations"]
    assert found.get("audio") == expected.get("audio")
    assert (a.complete, a.duration, a.encoder, a.warnings) == (b.complete, b.duration, b.encoder, b.warnings)
    assert not (tmp_path / JOBS).exists()


@pytest.mark.parametrize("codec", ["hevc", "av1", "vp9", "ffv1", "prores"])
def test_parts_of_every_codec_are_joined(clip, upscaler, tmp_path, codec):
    target = tmp_path / "parts.mkv"
    report = upscale_video(clip("open-gop"), target, upscaler, job=TWO_SECONDS, encoder=EncoderOptions(codec=codec))
    assert len(pts_of(target)) == report.frames == 200


def test_an_interrupted_job_goes_on_and_gives_the_same_file(clip, upscaler, tmp_path, interrupted):
    target, reference = interrupted(), tmp_path / "reference.mp4"
    said: list[str] = []
    report = upscale_video(clip("h264"), target, upscaler, job=TWO_SECONDS, inform=said.append)
    upscale_video(clip("h264"), reference, upscaler, job=TWO_SECONDS)
    assert target.read_bytes() == reference.read_bytes()
    assert said[0].startswith(f"Continuing {target} at 0:00:0")
    assert report.frames == 200
    assert report.resumed_frames >= 100
    assert not (tmp_path / JOBS).exists()


@pytest.mark.parametrize("name", ["open-gop", "hevc", "vfr", "mpeg2"])
def test_going_on_inside_open_gops_loses_no_frame(clip, upscaler, tmp_path, interrupted, name):
    target, reference = interrupted(name, ".mkv"), tmp_path / "reference.mkv"
    upscale_video(clip(name), target, upscaler, job=TWO_SECONDS)
    upscale_video(clip(name), reference, upscaler, job=TWO_SECONDS)
    assert digest(target) == digest(reference)


def test_a_part_that_was_damaged_is_computed_again(clip, upscaler, tmp_path, interrupted):
    target, reference = interrupted(), tmp_path / "reference.mp4"
    [media] = tmp_path.glob(f"{JOBS}/*/00000.media")
    media.write_bytes(media.read_bytes()[:100])
    upscale_video(clip("h264"), target, upscaler, job=TWO_SECONDS)
    upscale_video(clip("h264"), reference, upscaler, job=TWO_SECONDS)
    assert target.read_bytes() == reference.read_bytes()


def test_a_flipped_bit_in_a_part_is_an_error_not_a_file(clip, upscaler, tmp_path, interrupted):
    target = interrupted()
    [media] = tmp_path.glob(f"{JOBS}/*/00001.media")
    content = bytearray(media.read_bytes())
    content[len(content) // 2] ^= 1
    media.write_bytes(content)
    with pytest.raises(VideoError, match="is damaged"):
        upscale_video(clip("h264"), target, upscaler, job=TWO_SECONDS)
    assert not target.exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("model", "the model"),
        ("tile", "the tile"),
        ("size", "the size"),
        ("preset", "the preset"),
        ("source", "source"),
    ],
)
def test_what_has_changed_is_named_and_nothing_of_it_is_used(clip, upscaler, spec, tmp_path, change, named):
    source, target = tmp_path / "source.mp4", tmp_path / "film.mp4"
    shutil.copy(clip("h264"), source)
    with pytest.raises(Cancelled):
        upscale_video(source, target, upscaler, job=TWO_SECONDS, cancelled=After(tmp_path, 2))
    other, options = upscaler, {}
    if change == "model":
        model = load_model(spec.model)
        next(model.model.parameters()).data[0] += 1
        other = Upscaler(model, device="cpu", precision="fp32")
    elif change == "tile":
        other = Upscaler(load_model(spec.model), device="cpu", precision="fp32", tile=24)
    elif change == "source":
        source.touch()
    else:
        options = {"size": {"size": "1.5x"}, "preset": {"encoder": EncoderOptions(codec="ffv1", preset="fast")}}[change]
    said: list[str] = []
    report = upscale_video(source, target, other, job=TWO_SECONDS, inform=said.append, **options)
    assert report.resumed_frames == 0
    assert "is started anew" in said[0]
    assert named in said[0]
    assert not (tmp_path / JOBS).exists()


def test_other_options_leave_the_parts_until_a_file_is_made(clip, upscaler, tmp_path, interrupted):
    target = interrupted()
    with pytest.raises(Cancelled):
        upscale_video(clip("h264"), target, upscaler, size="1.5x", job=TWO_SECONDS, cancelled=After(tmp_path, 3))
    assert len(JobFolder.find(target)) == 2
    assert upscale_video(clip("h264"), target, upscaler, job=TWO_SECONDS).resumed_frames >= 100


def test_restart_begins_anew(clip, upscaler, interrupted):
    target = interrupted()
    report = upscale_video(clip("h264"), target, upscaler, job=replace(TWO_SECONDS, restart=True))
    assert report.resumed_frames == 0


def test_a_job_that_has_finished_no_part_leaves_nothing(clip, upscaler, tmp_path):
    with pytest.raises(Cancelled):
        upscale_video(clip("h264"), tmp_path / "film.mp4", upscaler, job=TWO_SECONDS, cancelled=lambda: True)
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_becomes_a_file_that_plays(clip, upscaler, tmp_path, interrupted):
    target = interrupted()
    [job] = JobFolder.find(target)
    partial = join_partial(job)
    assert partial == tmp_path / "film.partial.mp4"
    frames = pts_of(partial)
    done = sum(record.frames for _, record in job.done())
    assert len(frames) == done >= 100
    whole = tmp_path / "elsewhere" / "whole.mp4"
    upscale_video(clip("h264"), whole, upscaler, job=TWO_SECONDS)
    assert digest(partial)["frames"] == digest(whole)["frames"][:done]
    audio, expected = digest(partial)["audio"], digest(whole)["audio"]
    assert audio == expected[: len(audio)]
    assert abs(len(audio) * 1024 / 48000 - done / 25) < 0.1
    assert upscale_video(clip("h264"), target, upscaler, job=TWO_SECONDS).resumed_frames == done


def test_keep_partial_makes_that_file_when_the_job_is_interrupted(clip, upscaler, tmp_path):
    options = replace(TWO_SECONDS, keep_partial=True)
    with pytest.raises(Cancelled):
        upscale_video(clip("h264"), tmp_path / "a.mp4", upscaler, job=options, cancelled=After(tmp_path, 2))
    assert len(pts_of(tmp_path / "a.partial.mp4")) >= 100


def test_a_span_in_parts_is_the_span(clip, upscaler, tmp_path):
    span = Span(1.3, 7.1)
    for name, job in (("whole.mkv", ONE_PIECE), ("parts.mkv", TWO_SECONDS)):
        upscale_video(clip("h264"), tmp_path / name, upscaler, job=job, span=span)
    whole, parts = digest(tmp_path / "whole.mkv"), digest(tmp_path / "parts.mkv")
    assert [pts for pts, _ in parts["frames"]] == [pts for pts, _ in whole["frames"]]
    assert parts["audio"] == whole["audio"]


def test_two_runs_of_one_job_do_not_mix(clip, upscaler, tmp_path, interrupted):
    target = interrupted()
    first: list[bool] = []

    def second_run() -> bool:
        if not first:
            first.append(True)
            with pytest.raises(VideoError, match="another run is working"):
                upscale_video(clip("h264"), target, upscaler, job=TWO_SECONDS)
        return False

    upscale_video(clip("h264"), target, upscaler, job=TWO_SECONDS, cancelled=second_run)
    assert first


def test_a_damaged_job_file_is_no_obstacle(clip, upscaler, tmp_path, interrupted):
    target = interrupted()
    [job] = tmp_path.glob(f"{JOBS}/*/job.json")
    job.write_text("{")
    assert JobFolder.find(target) == []
    assert upscale_video(clip("h264"), target, upscaler, job=TWO_SECONDS).frames == 200


def test_records_that_lie_are_not_trusted(clip, upscaler, tmp_path, interrupted):
    target = interrupted()
    [record] = tmp_path.glob(f"{JOBS}/*/00000.json")
    value = json.loads(record.read_text())
    value["pts"] = value["pts"][:-1]
    record.write_text(json.dumps(value))
    assert upscale_video(clip("h264"), target, upscaler, job=TWO_SECONDS).resumed_frames < 150


def test_two_devices_give_the_file_of_one(clip, upscaler, spec, tmp_path):
    one, two = tmp_path / "one.mkv", tmp_path / "two.mkv"
    upscale_video(clip("open-gop"), one, upscaler, job=TWO_SECONDS)
    seen: list[int] = []
    with UpscalerPool(spec, ["cpu", "cpu"]) as pool:
        report = upscale_video(
            clip("open-gop"),
            two,
            upscaler,
            job=TWO_SECONDS,
            pool=pool,
            progress=lambda state: seen.append(state.frames),
        )
    assert digest(two) == digest(one)
    assert sum(report.frames_by_device.values()) == 200
    assert seen[-1] == 200


def test_what_a_run_leaves_that_is_killed_while_it_deletes_parts_is_removed(tmp_path, interrupted, monkeypatch):
    [job] = JobFolder.find(interrupted())
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        job.delete()
    assert len(list((tmp_path / JOBS).iterdir())) == 1
    remove_stale_jobs(tmp_path / JOBS)
    assert not (tmp_path / JOBS).exists()


def test_a_job_that_another_run_works_on_is_not_deleted(clip, upscaler, tmp_path, interrupted):
    target = interrupted()
    [job] = JobFolder.find(target)

    def restart() -> bool:
        JobFolder.open(job.path).delete()
        return not job.path.exists()

    assert upscale_video(clip("h264"), target, upscaler, job=TWO_SECONDS, cancelled=restart).frames == 200


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[]",
        '{"format": 1, "target": TARGET}',
        '{"format": 1, "target": TARGET, "identity": {}, "settings": {}, "parts": []}',
        '{"format": 1, "target": TARGET, "identity": {}, "settings": {}, "parts": [["a", null, 1]]}',
        '{"format": 1, "target": TARGET, "identity": {}, "settings": {}, "parts": [[0, 5, 1], [4, null, 1]]}',
        '{"format": 1, "target": TARGET, "identity": 3, "settings": {}, "parts": [[0, null, 1]]}',
    ],
)
def test_a_hostile_job_file_is_no_obstacle(tmp_path, text):
    target = tmp_path / "film.mp4"
    (tmp_path / JOBS / "abc").mkdir(parents=True)
    (tmp_path / JOBS / "abc" / "job.json").write_text(text.replace("TARGET", json.dumps(str(target))))
    assert JobFolder.find(target) == []


@pytest.mark.parametrize(
    "change",
    [
        {"pts": 3},
        {"pts": ["a"]},
        {"pts": [0, 0], "durations": [1, 1], "sizes": [1, 1]},
        {"pts": [10**6], "durations": [1], "sizes": [1]},
        {"pts": [10**30], "durations": [1], "sizes": [1]},
        {"pts": [0], "durations": [1], "sizes": [-1]},
        {"pts": [0], "durations": [1], "sizes": [2**40]},
        {"reorder": 10**9},
        {"damage": {"__class__": 1}},
        {"damage": [1]},
        {"missing_at_end": "1/0"},
        {"container": 3},
        {"more": 1},
    ],
)
def test_a_hostile_record_is_a_part_to_compute(tmp_path, change):
    part = Part(0, 0, 1000, 1)
    folder = JobFolder.create(tmp_path / "film.mp4", {}, [part, Part(1, 1000, None, 1)], {})
    folder.begin()
    folder.media(part).write_bytes(bytes(100))
    folder.save(part, PartRecord())
    assert folder.load(part) is not None
    (folder.path / "00000.json").write_text(json.dumps(asdict(PartRecord()) | change))
    assert folder.load(part) is None
    folder.delete()


def test_a_source_that_changes_while_it_is_upscaled_is_an_error_not_a_file(clip, upscaler, tmp_path):
    source, target = tmp_path / "source.mp4", tmp_path / "film.mp4"
    shutil.copy(clip("h264"), source)

    def change() -> bool:
        if After(tmp_path, 2)():
            source.unlink(missing_ok=True)
            shutil.copy(clip("hevc"), source)
        return False

    with pytest.raises(VideoError, match="has changed"):
        upscale_video(source, target, upscaler, job=TWO_SECONDS, cancelled=change)
    source.unlink()
    with pytest.raises(VideoError, match=r"does not exist|cannot be read"):
        join_partial(JobFolder.find(target)[0])
    assert not target.exists()
