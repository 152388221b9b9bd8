"""Targets with placeholders on the command line: images, videos, folders, going on, looking ahead."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from PIL import Image
from supertile.cli import app
from supertile.images.journal import JOURNAL_NAME
from supertile.tests.conftest import write_small_vapsr
from supertile.tests.video.conftest import smooth_planes, write_video
from typer.testing import CliRunner


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder: a model, in/a.png, in/deep/b.jpg and film.mkv."""
    monkeypatch.chdir(tmp_path)
    write_small_vapsr(tmp_path / "tiny_x2.safetensors", num_feat=8)
    for name in ("in/a.png", "in/deep/b.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 12), (200, 80, 40)).save(name)
    write_video("film.mkv", [smooth_planes("yuv420p", 32, 24, i) for i in range(5)], codec="mpeg4")
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, ["upscale", *arguments, "-m", "tiny_x2.safetensors", "--device", "cpu"])


def files(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def test_a_folder_with_everything_in_its_names(folder):
    result = run("in", "out/{model}/{stem}_{scale}x_{width}x{height}{suffix}")
    assert result.exit_code == 0, result.output
    assert files("out") == [JOURNAL_NAME, "tiny_x2/a_2x_40x24.png", "tiny_x2/deep/b_2x_40x24.jpg"]


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ("1.5x", "a_1.5x_30x18.png"),
        ("50x50", "a_2.5x_50x30.png"),
        ("fill:50x50", "a_4.15x_50x50.png"),
        ("pad:50x50", "a_2.5x_50x50.png"),
    ],
)
def test_the_size_of_an_image(folder, size, name):
    result = run("in/a.png", "{stem}_{scale}x_{width}x{height}", "--size", size)
    assert result.exit_code == 0, result.output
    with Image.open(name) as image:
        assert f"{image.width}x{image.height}" in name


def test_the_size_of_a_video(folder):
    result = run("film.mkv", "{stem}_{width}x{height}.mp4", "--size", "1.3x", "--preset", "ultrafast")
    assert result.exit_code == 0, result.output
    [made] = Path().glob("film_*.mp4")
    with av.open(str(made)) as container:
        stream = container.streams.video[0]
        assert made.name == f"film_{stream.width}x{stream.height}.mp4"


def test_images_and_videos_in_one_folder(folder):
    Path("film.mkv").rename("in/film.mkv")
    result = run("in", "{parent}/{stem}_{scale}x", "--preset", "ultrafast")
    assert result.exit_code == 0, result.output
    assert set(files("in")) >= {"a_2x.png", "deep/b_2x.jpg", "film_2x.mkv", JOURNAL_NAME}


def test_frames_of_videos_and_numbered_images(folder):
    result = run("film.mkv", "frames/{stem}/%03d.png")
    assert result.exit_code == 0, result.output
    assert len(files("frames/film")) == 5
    result = run("frames/film/%03d.png", "{model}_{width}.mkv", "--frame-rate", "25", "--codec", "ffv1")
    assert result.exit_code == 0, result.output
    assert Path("tiny_x2_128.mkv").is_file()


@pytest.mark.parametrize("target", ["out/{stem}_{scale}x", "in/{stem}_{scale}x", "{parent}/{stem}_{scale}x{suffix}"])
def test_the_same_command_goes_on(folder, target):
    before = set(files("."))
    assert run("in/a.png", target).exit_code == 0
    for path in Path().rglob("a_2x.png"):
        path.unlink()
    assert run("in", target).exit_code == 0
    made = set(files(".")) - before
    result = run("in", target)
    assert result.exit_code == 0, result.output
    assert result.stderr == "0 files done, 2 skipped (done before).\n"
    assert set(files(".")) - before == made
    for path in Path().rglob(JOURNAL_NAME):
        path.unlink()
    assert run("in", target, "--skip-existing").stderr == "0 files done, 2 skipped (existed already).\n"


def test_a_look_ahead_names_the_targets(folder):
    result = run("in/a.png", "out/{stem}_{width}", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "in/a.png 20x12 -> out/a_40.png 40x24" in result.stdout
    assert not Path("out").exists()
    result = run("in", "out/{stem}_{width}", "--json")
    done = [json.loads(line) for line in result.stdout.splitlines() if '"event": "done"' in line]
    assert sorted(each["target"] for each in done) == ["out/a_40.png", "out/deep/b_40.jpg"]


def test_a_file_that_cannot_be_read_does_not_stop_the_others(folder):
    Path("in/broken.png").write_bytes(b"no image")
    result = run("in", "out/{stem}_{width}")
    assert result.exit_code == 1
    assert "in/broken.png is not an image" in result.stderr
    assert files("out") == [JOURNAL_NAME, "a_40.png", "deep/b_40.jpg"]


def test_without_a_model_the_bundled_one_of_each_source(folder):
    result = CliRunner().invoke(app, ["upscale", "in", "out/{model}/{stem}_{scale}x", "--device", "cpu", "-q"])
    assert result.exit_code == 0, result.output
    assert files("out") == [JOURNAL_NAME, "supertile-4x/a_4x.png", "supertile-photo-4x/deep/b_4x.jpg"]
