"""Options that change nothing for the files at hand are named in one line; all others are not."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from PIL import Image
from supertile.cli import app
from supertile.tests.conftest import write_small_vapsr
from supertile.tests.video.conftest import smooth_planes, write_video
from typer.testing import CliRunner


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder: a.png, film.mkv, moving.gif, both/ with an image and a video, and frames/001.png."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    write_small_vapsr(tmp_path / "tiny.safetensors", num_feat=8)
    image = Image.new("RGB", (20, 12), (200, 80, 40))
    Path("both").mkdir()
    Path("frames").mkdir()
    for name in ("a.png", "both/a.png", "frames/001.png"):
        image.save(name)
    image.save("moving.gif", save_all=True, append_images=[Image.new("RGB", (20, 12))], duration=100)
    for name in ("film.mkv", "both/film.mkv"):
        write_video(name, [smooth_planes("yuv420p", 32, 24, i) for i in range(3)], codec="mpeg4")
    return tmp_path


def said(command: str) -> list[str]:
    result = CliRunner().invoke(app, ["upscale", *shlex.split(command), "-m", "tiny.safetensors", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    return [line.removeprefix("Warning: ") for line in result.stderr.splitlines() if "no effect" in line]


NO_VIDEO = "no effect: there is no video among the files."
OF_VIDEOS = "--codec hevc --preset fast --pixel-format yuv420p --start 1 --end 2 --frame-rate 24 --deinterlace no"
OF_VIDEOS += " --restart --keep-partial"
ENCODING = "--codec h264 --preset fast --pixel-format yuv420p"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            f"a.png out.png {OF_VIDEOS}",
            "--codec, --preset, --pixel-format, --start, --end, --frame-rate, --deinterlace, --restart and "
            f"--keep-partial have {NO_VIDEO}",
        ),
        ("a.png out.png --codec auto", f"--codec has {NO_VIDEO}"),
        ("a.png out.png --quality 80", "--quality has no effect: PNG images are lossless."),
        ("a.png out.png --tile whole --overlap 8", "--overlap has no effect: --tile whole makes no tiles."),
        ("a.png out.png --tile whole --overlap 8 --seamless x", None),
        ("a.png out.jpg --quality 80 --format jpg", None),
        ("a.png out.avif --quality 80", None),
        (f"film.mkv out.mp4 {ENCODING} --quality 80 --start 0 --end 1 --deinterlace yes --restart --keep-times", None),
        (
            "film.mkv out.mp4 --frame-rate 24 --preset ultrafast",
            "--frame-rate has no effect: it is for numbered images; videos have times of their own.",
        ),
        ("film.mkv out/ --format png --preset ultrafast", "--format has no effect: there is no image among the files."),
        ("film.mkv out.mkv --codec ffv1 --preset slow", "--preset has no effect: ffv1 has no presets."),
        ("film.mkv out.mkv --codec ffv1 --quality 80", "--quality has no effect: ffv1 videos are lossless."),
        ("film.mkv out/%03d.png --quality 80", "--quality has no effect: PNG images are lossless."),
        (
            "film.mkv out/%03d.png --preset slow --keep-partial",
            "--preset and --keep-partial have no effect: the result is numbered images.",
        ),
        (
            "film.mkv out/%03d.png --keep-times",
            "--keep-times has no effect: numbered images have no single source.",
        ),
        ("moving.gif out.gif --quality 80", "--quality has no effect: GIF animations have none."),
        ("moving.gif out.webp --quality 80", None),
        (
            f"moving.gif out.gif {ENCODING}",
            "--codec, --preset and --pixel-format have no effect: the result is an animation.",
        ),
        ("moving.gif out.gif --deinterlace yes", "--deinterlace has no effect: only frames of video files can be"),
        ("frames/%03d.png out.mkv --frame-rate 24 --preset ultrafast", None),
        (f"both out/ {ENCODING} --quality 80 --start 0 --format jpg --deinterlace yes", None),
        ("both out/ --frame-rate 25 --preset ultrafast", "--frame-rate has no effect: it is for numbered images"),
    ],
)
def test_each_option(folder, command, expected):
    lines = said(command)
    assert len(lines) == (expected is not None), lines
    assert expected is None or lines[0].startswith(expected)


def test_a_folder_of_models_without_a_model(folder):
    result = CliRunner().invoke(app, ["upscale", "a.png", "out.png", "--models", ".", "--device", "cpu"])
    assert "--models has no effect: it is the folder in which --model is looked for." in result.stderr


def test_one_device_beside_several(folder):
    line = "--device has no effect: --devices names the devices."
    assert said("a.png out.png --devices cpu") == [line]


def test_defaults_from_a_file_are_no_mistakes_and_give_way(folder):
    Path("supertile.toml").write_text(
        "[upscale]\ncodec = 'hevc'\nquality = 80\nframe-rate = 24\nskip-existing = true\ndevices = 'nonsense'\n"
    )
    assert said("a.png out.png") == []
    assert said("a.png out.png --overwrite") == []
    assert said("film.mkv out.mkv") == []
