"""Videos on the command line: what is written, what is said, which exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from supertile.cli import app
from supertile.images.journal import JOURNAL_NAME
from supertile.tests.conftest import hear_interrupts, write_small_vapsr
from supertile.tests.video.conftest import random_planes, smooth_planes
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_small_vapsr(tmp_path_factory.mktemp("model") / "small.safetensors", num_feat=8)


@pytest.fixture
def folder(tmp_path, monkeypatch, make_video):
    """The current folder, with in/film.avi and in/deep/photo.png."""
    monkeypatch.chdir(tmp_path)
    Path("in/deep").mkdir(parents=True)
    make_video("in/film.avi", [smooth_planes("yuv420p", 32, 24, i) for i in range(50)], codec="mpeg4")
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save("in/deep/photo.png")
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, ["upscale", *arguments])


def frames_of(path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_video_becomes_a_larger_video_and_a_line_says_so(folder, model):
    result = run("in/film.avi", "out.mp4", "--model", model, "--preset", "ultrafast")
    assert result.exit_code == 0, result.output
    assert "in/film.avi 32x24 -> out.mp4 64x48: 50 frames in" in result.stdout
    assert "; bound by " in result.stdout
    assert frames_of("out.mp4") == 50


def test_a_folder_mixes_images_and_videos(folder, model):
    result = run("in", "out", "--model", model, "--preset", "ultrafast")
    assert result.exit_code == 0, result.output
    made = sorted(str(p.relative_to("out")) for p in Path("out").rglob("*.*"))
    assert made == [JOURNAL_NAME, "deep/photo.png", "film.mkv"]
    assert frames_of("out/film.mkv") == 50


def test_what_fails_in_a_folder_does_not_stop_the_others(folder, model):
    Path("in/broken.mp4").write_bytes(b"nothing of a video")
    result = run("in", "out", "--model", model, "--preset", "ultrafast")
    assert result.exit_code == 1
    assert "in/broken.mp4" in result.stderr
    assert "2 files done, 1 failed." in result.stderr
    assert sorted(p.name for p in Path("out").iterdir()) == [JOURNAL_NAME, "deep", "film.mkv"]


def test_a_part_at_a_codec_of_choice(folder, model):
    result = run("in/film.avi", "out.mkv", "--model", model, "--codec", "ffv1", "--start", "0:01", "--end", "1.5")
    assert result.exit_code == 0, result.output
    with av.open("out.mkv") as container:
        assert container.streams.video[0].codec_context.name == "ffv1"
    assert 12 <= frames_of("out.mkv") <= 13


def test_numbered_images_want_a_frame_rate(folder, model):
    assert run("in/film.avi", "frames/%04d.png", "--model", model, "--end", "0.2").exit_code == 0
    assert len(list(Path("frames").iterdir())) == 5
    result = run("frames/%04d.png", "again.mkv", "--model", model)
    assert result.exit_code == 1
    assert "--frame-rate" in result.stderr
    result = run("frames/%04d.png", "again.mkv", "--model", model, "--frame-rate", "24000/1001")
    assert result.exit_code == 0, result.output
    with av.open("again.mkv") as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(23.976, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["in/film.avi", "out.xyz"], "out.xyz has the unknown suffix '.xyz'. Choose .mp4"),
        (["in/film.avi", "out.webm", "--codec", "h264"], ".webm files cannot hold h264"),
        (["in/film.avi", "in/film.avi", "--overwrite"], "source"),
        (["in/film.avi", "out.mp4", "--codec", "mpeg7"], "mpeg7"),
        (["in/film.avi", "out.mp4", "--preset", "warp"], "warp"),
        (["in/film.avi", "out.mp4", "--start", "99"], "no frame"),
        (["in/film.avi", "out.mp4", "--start", "2", "--end", "1"], "end (1 s) must lie after start (2 s)"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(folder, model, arguments, sentence):
    result = run(*arguments, "--model", model)
    assert result.exit_code in (1, 2)
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(p.name for p in folder.iterdir()) == ["in"]


@pytest.mark.parametrize("text", ["1:2:3:4", "abc", "-5", "1e3"])
def test_a_time_is_checked_before_anything_is_read(folder, model, text):
    result = run("in/film.avi", "out.mp4", "--model", model, f"--start={text}")
    assert result.exit_code == 2
    assert "0:01:30.5" in result.stderr.replace("\n", " ")


def test_a_source_that_is_cut_short_gives_a_file_and_an_exit_code_of_its_own(folder, model, make_video):
    frames = [random_planes("yuv420p", 32, 24, i) for i in range(60)]
    path = make_video("cut.mp4", frames, codec="libx264", options={"g": "10"},
                      container_options={"movflags": "faststart"})  # fmt: skip
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = run("cut.mp4", "out.mkv", "--model", model)
    assert result.exit_code == 3
    assert "Warning: cut.mp4 ends early" in result.stderr
    assert 0 < frames_of("out.mkv") < 60


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_partial_file(folder, model, make_video, number, code):
    make_video("long.mkv", [smooth_planes("yuv420p", 320, 240, i) for i in range(200)], codec="mpeg4")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "supertile", "upscale", "long.mkv", "out/out.mkv"),
            *("--model", model, "--self-ensemble", "--json"),
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts,
    )  # fmt: skip
    for line in process.stdout:
        if json.loads(line)["event"] == "progress":
            break
    assert any(Path("out").iterdir()), process.stderr.read()
    process.send_signal(number)
    _, said = process.communicate(timeout=600)
    assert process.returncode == code
    assert "Traceback" not in said
    assert list(Path("out").iterdir()) == []
