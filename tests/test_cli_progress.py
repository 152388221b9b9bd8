"""The progress of `supertile upscale`: the time left, lines where there is no terminal, and JSON for programs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from supertile.cli import app, progress
from supertile.cli.display import TimeLeftColumn
from supertile.cli.pace import Pace
from supertile.cli.progress import UpscaleProgress
from supertile.images.jobs import FileJob
from supertile.images.words import duration_in_words
from supertile.tests.conftest import write_small_vapsr
from supertile.video.report import VideoProgress
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_small_vapsr(tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture
def upscale(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(f"in/{name}")
    return lambda *arguments: CliRunner().invoke(app, ["upscale", *arguments, "-m", model, "--device", "cpu"])


def clip(name: str) -> None:
    with av.open(name, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=5)
        stream.width, stream.height = 32, 16
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame(32, 16, "yuv420p")))
        output.mux(stream.encode(None))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_is_known_from_the_first_step_on():
    clock = Clock()
    pace = Pace(clock=clock)
    assert pace.seconds_per_step is pace.seconds_left(10) is None
    clock.now += 2
    pace.update(0.5)
    assert (pace.seconds_per_step, pace.seconds_left(10)) == (4, 38)
    assert pace.seconds_left(None) is None
    pace.update(0.25)  # the model runs again on its own result
    assert pace.seconds_left(10) == 38


def test_the_pace_is_that_of_the_last_minutes():
    clock = Clock()
    pace = Pace(clock=clock)
    for step in range(1, 1001):
        clock.now += 20 if step <= 10 else 1
        pace.update(step)
    assert pace.seconds_per_step == pytest.approx(1)


def test_a_video_that_is_continued_does_not_look_fast():
    clock = Clock()
    pace = Pace(clock.now - 3, 999, clock=clock)
    pace.update(1000)
    assert pace.seconds_left(1010) == 30


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "1 s"), (40.2, "40 s"), (59.4, "59 s"), (59.6, "1 min"), (240, "4 min"), (3570, "1 h"),
        (12000, "3 h 20 min"), (86400, "1 d"), (97200, "1 d 3 h"),
    ],
)  # fmt: skip
def test_durations_are_short_words(seconds, words):
    assert duration_in_words(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0.0 s"), (4.83, "4.8 s"), (9.96, "10 s"), (48.2, "48 s"), (91, "2 min")]
)
def test_short_measured_durations_have_tenths(seconds, words):
    assert duration_in_words(seconds, measured=True) == words


def test_a_line_now_and_then_where_there_is_no_terminal(upscale, monkeypatch):
    clip("in/d.mp4")
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.0)
    result = upscale("in", "out")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert lines[-1] == "4 files done."
    assert any(line.startswith("1 of 4 files, ") and line.endswith(" s a file") for line in lines)
    [last] = [line for line in lines if line.startswith("in/d.mp4 (file 4 of 4): 3 of 3 frames, ")]
    assert last.endswith(" fps, about 1 s left")
    assert upscale("in", "quiet", "-q").stderr == ""
    alone = upscale("in/a.png", "alone.png", "--tile", "4", "--overlap", "0", "--batch", "1")
    assert alone.stderr.splitlines()[0].startswith("1 of 4 tiles, about ")


def test_a_line_about_a_video_comes_every_30_seconds(monkeypatch):
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.0)
    stderr = io.StringIO()
    console, job = Console(file=stderr, width=300), FileJob(Path("film.mp4"), Path("out.mkv"))
    shown = UpscaleProgress(console, Progress(disable=True), 0, [job], quiet=False, events=False)
    monkeypatch.undo()
    shown.frame(VideoProgress(frames=1200, expected=30000, seconds=0.5, bytes_written=0))
    assert stderr.getvalue().startswith("1,200 of 30,000 frames, ")
    assert stderr.getvalue().endswith(" left\n")
    shown.frame(VideoProgress(frames=1201, expected=30000, seconds=0.5, bytes_written=0))
    assert stderr.getvalue().count("\n") == 1  # the next in 30 s


def test_progress_bars_show_the_time_left():
    column, bars = TimeLeftColumn(), Progress(console=Console(file=io.StringIO()))
    bars.add_task("frames", total=None)
    [task] = bars.tasks
    assert column.render(task).plain == ""
    bars.update(task.id, total=10, completed=1)
    assert column.render(task).plain.endswith("s left")
    bars.update(task.id, seconds_left=200.0)
    assert column.render(task).plain == "3 min left"
    bars.update(task.id, seconds_left=None)
    assert column.render(task).plain == ""


def test_json_has_a_line_for_whatever_happens(upscale, monkeypatch):
    monkeypatch.setattr(progress, "EVENT_INTERVAL_S", 0.0)
    clip("in/d.mp4")
    Path("in/bad.png").write_bytes(b"no image")
    Image.new("RGBA", (4, 4), (255, 0, 0, 100)).save("in/t.png")
    Path("in/t.psd").write_bytes(b"8BPS")
    assert upscale("in/a.png", "in/b.png", "in/c.png", "out", "--format", "jpg").exit_code == 0
    Path("out/b.jpg").unlink()
    result = upscale("in/a.png", "in", "out/", "--format", "jpg", "--json", "--skip-existing")
    assert result.exit_code == 1
    events = [json.loads(line) for line in result.stdout.splitlines()]
    by_name: dict[str, list[dict]] = {}
    for event in events:
        by_name.setdefault(event["event"], []).append(event)
    assert set(by_name) == {"progress", "warning", "done", "skipped", "failed", "summary"}

    warned = [event["message"] for event in by_name["warning"]]
    assert "JPEG has no transparency; the image is composited onto white." in warned
    assert any("t.psd" in message for message in warned)
    assert by_name["skipped"] == [
        {"event": "skipped", "source": "in/a.png", "target": "out/a.jpg", "reason": "existed already"}
    ]
    [failed] = by_name["failed"]
    assert (failed["source"], failed["target"]) == ("in/bad.png", "out/in/bad.jpg")
    assert "in/bad.png" in failed["message"]
    assert failed["message"] in result.stderr.splitlines()
    done = {event["source"]: event for event in by_name["done"]}
    assert list(done) == ["in/a.png", "in/b.png", "in/c.png", "in/t.png", "in/d.mp4"]
    image, video = done["in/b.png"], done["in/d.mp4"]
    assert (image["source_size"], image["target_size"], image["complete"]) == ([8, 6], [16, 12], True)
    assert image["bytes"] == Path("out/in/b.jpg").stat().st_size
    assert (video["frames"], video["target_size"], video["fps"] > 0) == (3, [64, 32], True)
    assert events[-1].pop("seconds") >= 0
    assert events[-1] == {"event": "summary", "done": 5, "skipped": 1, "failed": 1}
    assert result.stderr.splitlines()[-1] == "5 files done, 1 skipped (existed already), 1 failed."

    [*_, last] = by_name["progress"]
    assert last["source"] == "in/d.mp4"
    assert (last["files_done"], last["files"], last["frames"], last["frames_expected"]) == (6, 7, 3, 3)
    assert last["fps"] > 0
    assert last["seconds_left"] == 0
    assert all(set(event) == set(last) for event in by_name["progress"])


def test_json_of_a_single_file(upscale):
    events = [json.loads(line) for line in upscale("in/a.png", "a.png", "--json").stdout.splitlines()]
    assert [event["event"] for event in events[-2:]] == ["done", "summary"]
    result = upscale("in/a.png", "a.png", "--json")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["failed", "summary"]


def test_skipped_files_are_neither_read_nor_failures(upscale, monkeypatch):
    assert upscale("in", "out").stderr == "3 files done.\n"
    monkeypatch.setattr("supertile.images.batch.read_source", lambda *_: pytest.fail("read"))
    again = upscale("in", "out")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "0 files done, 3 skipped (done before).\n")
    assert upscale("in", "out", "-q").stderr == ""
    other = upscale("in", "out", "--size", "3x")
    assert other.exit_code == 1
    assert "made with another size (model scale, now 3x)" in other.stderr
    assert other.stderr.splitlines()[-1] == "0 files done, 3 failed."
    one = upscale("in/a.png", "out", "--skip-existing")  # by itself it has no journal
    assert (one.exit_code, one.stderr) == (0, "0 files done, 1 skipped (existed already).\n")


def test_videos_are_skipped_by_the_same_journal(upscale):
    clip("in/d.mp4")
    assert upscale("in", "out").stderr == "4 files done.\n"
    assert upscale("in", "out").stderr == "0 files done, 4 skipped (done before).\n"
    other = upscale("in", "out", "--codec", "hevc")
    assert other.stderr.splitlines() == [
        "out/d.mp4 exists already, made with another codec (auto, now hevc); pass --overwrite (overwrite=True) to "
        "replace it.",
        "0 files done, 3 skipped (done before), 1 failed.",
    ]
    assert upscale("in", "out", "--overwrite").stderr == "4 files done.\n"


def test_skip_existing_and_overwrite_exclude_each_other(upscale):
    result = upscale("in", "out", "--skip-existing", "--overwrite")
    assert (result.exit_code, result.stderr) == (2, "--skip-existing and --overwrite exclude each other.\n")
