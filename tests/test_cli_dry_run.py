"""`supertile upscale --dry-run`: what is said, and that nothing is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from supertile.cli import app, dry_run
from supertile.images.journal import JOURNAL_NAME
from supertile.images.words import bytes_in_words
from supertile.tests.conftest import write_small_vapsr
from supertile.tests.video.conftest import smooth_planes, write_video
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_small_vapsr(tmp_path_factory.mktemp("model") / "small.safetensors", num_feat=8)


@pytest.fixture
def upscale(tmp_path, monkeypatch, model):
    """`upscale(...)` runs the command in a folder with in/a.png, in/b.png, in/c.jpg and film.mkv."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for number, name in enumerate(("a.png", "b.png", "c.jpg")):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"in/{name}")
    write_video("film.mkv", [smooth_planes("yuv420p", 32, 24, i) for i in range(50)], codec="mpeg4")
    return lambda *arguments: CliRunner().invoke(app, ["upscale", *arguments, "-m", model, "--device", "cpu"])


def tree() -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in Path().rglob("*"))


def events(result) -> dict[str, list[dict]]:
    by_name: dict[str, list[dict]] = {}
    for line in result.stdout.splitlines():
        event = json.loads(line)
        by_name.setdefault(event.pop("event"), []).append(event)
    return by_name


def test_a_folder_is_counted_and_nothing_is_written(upscale):
    before = tree()
    result = upscale("in", "out", "--dry-run")
    assert result.exit_code == 0, result.output
    [line] = result.stdout.splitlines()
    about = r"about \d+ s, about \d+(\.\d)? kB"
    assert re.fullmatch(rf"3 images, 0\.0 MP -> 0\.0 MP; {about} \(from \d of them\)", line)
    assert re.fullmatch(rf"3 files to do; {about}\. Nothing was written\.\n", result.stderr)
    assert tree() == before


def test_each_file_is_new_or_done_or_would_fail(upscale):
    assert upscale("in", "out").exit_code == 0
    Path("out/b.png").unlink()
    Path("out/c.jpg").write_bytes(b"something else")
    Path("in/broken.png").write_bytes(b"no image")
    Path("in/cut.png").write_bytes(Path("in/a.png").read_bytes()[:900])
    before = tree()
    result = upscale("in", "out", "--dry-run", "--json")
    assert result.exit_code == 1
    found = events(result)
    assert set(found) == {"estimate", "skipped", "failed", "plan"}
    assert found["skipped"] == [{"source": "in/a.png", "target": "out/a.png", "reason": "done before"}]
    failed = {event["source"]: event["message"] for event in found["failed"]}
    assert set(failed) == {"in/broken.png", "in/c.jpg", "in/cut.png"}  # the last while it was computed
    assert "out/c.jpg exists already" in failed["in/c.jpg"]
    assert all(message in result.stderr.splitlines() for message in failed.values())
    [estimate] = found["estimate"]
    assert (estimate["images"], estimate["source_pixels"], estimate["target_pixels"]) == (1, 600, 2400)
    [plan] = found["plan"]
    assert (plan["images"], plan["videos"], plan["skipped"], plan["failed"]) == (1, 0, 1, 3)
    assert plan["bytes"] == estimate["bytes"] > 0
    assert tree() == before


def test_nothing_is_computed_for_a_folder_that_is_done(upscale):
    assert upscale("in", "out").exit_code == 0
    result = upscale("in", "out", "--dry-run")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "0 files to do, 3 skipped (done before). Nothing was written.\n"


def test_a_video_has_a_line_of_its_own(upscale):
    before = tree()
    result = upscale("film.mkv", "out/larger.mkv", "--dry-run", "--codec", "ffv1")
    assert result.exit_code == 0, result.output
    [line] = result.stdout.splitlines()
    assert line.startswith("film.mkv 32x24 -> out/larger.mkv 64x48: 50 frames, ffv1 in yuv420p; about ")
    assert line.endswith(" frames)")
    assert result.stderr == "Nothing was written.\n"
    assert tree() == before
    assert upscale("film.mkv", "out/larger.mkv", "--dry-run", "-q").output == ""


def test_videos_and_images_are_summed_up(upscale):
    Path("in/deep").mkdir()
    Path("film.mkv").rename("in/deep/film.mkv")
    result = upscale("in", "out", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    found = events(result)
    images, video = found["estimate"]
    assert (images["source"], images["images"]) == (None, 3)
    assert (video["source"], video["target"], video["frames"], video["parts"]) == (
        "in/deep/film.mkv", "out/deep/film.mkv", 50, 1,
    )  # fmt: skip
    assert (video["source_size"], video["target_size"], video["encoder"]) == ([32, 24], [64, 48], "libx264")
    [plan] = found["plan"]
    assert plan["bytes"] == images["bytes"] + video["bytes"]
    assert plan["seconds"] == pytest.approx(images["seconds"] + video["seconds"], abs=0.01)
    assert not Path("out").exists()


def test_videos_that_are_done_are_known_from_the_journal(upscale):
    Path("film.mkv").rename("in/film.mkv")
    assert upscale("in", "out", "--codec", "ffv1").exit_code == 0
    assert Path("out", JOURNAL_NAME).is_file()
    result = upscale("in", "out", "--codec", "ffv1", "--dry-run")
    assert result.stderr == "0 files to do, 4 skipped (done before). Nothing was written.\n"
    other = upscale("in", "out", "--dry-run")
    assert other.exit_code == 1
    assert "out/film.mkv exists already, made with another codec (ffv1, now auto)" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["film.mkv", "out.xyz"], "unknown suffix '.xyz'"),
        (["film.mkv", "out.webm", "--codec", "h264"], ".webm files cannot hold h264"),
        (["film.mkv", "in/../film.mkv"], "source"),
        (["in/a.png", "in/b.png"], "in/b.png exists already"),
        (["in/a.png", "new.jpg", "--size", "stretch:70000x10"], "65500"),
        (["film.mkv", "new.mkv", "--start", "99"], "no frame"),
    ],
)
def test_a_single_file_that_would_fail_is_an_error_at_once(upscale, arguments, sentence):
    before = tree()
    result = upscale(*arguments, "--dry-run")
    assert result.exit_code in (1, 2)
    assert sentence in result.stderr
    assert tree() == before


def test_the_plan_is_the_last_event_of_a_single_file_too(upscale):
    found = events(upscale("film.mkv", "out.xyz", "--dry-run", "--json"))
    assert list(found) == ["failed", "plan"]
    assert (found["plan"][0]["failed"], found["plan"][0]["seconds"]) == (1, None)


def test_a_full_disk_is_foreseen(upscale, monkeypatch):
    monkeypatch.setattr(dry_run, "_free_bytes", lambda folder: 10)
    result = upscale("in", "out", "--dry-run")
    assert result.exit_code == 0
    assert "are needed, but only 0.0 kB are free in out." in result.stderr


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0.0 kB"), (1500, "1.5 kB"), (999_600, "1.0 MB"), (35e9, "35 GB"), (4e15, "4,000 TB")]
)
def test_sizes_are_short_words(count, words):
    assert bytes_in_words(count) == words
