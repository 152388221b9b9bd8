"""Folders as people have them: odd names, links, files that nothing can read, and what killed runs have left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from supertile.cli import app
from supertile.images.io import atomic
from supertile.images.jobs import plan_jobs
from supertile.images.journal import JOURNAL_NAME
from typer.testing import CliRunner

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links and names of any bytes")


@pytest.fixture
def upscale(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    return lambda *arguments: CliRunner().invoke(
        app, ["upscale", *map(str, arguments), "--model", model, "--device", "cpu"]
    )


def image(name: str | Path, size: tuple[int, int] = (8, 6)) -> Path:
    codes = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(codes).save(path, "BMP" if path.suffix == ".bmp" else "PNG")
    return path


def clip(name: str) -> None:
    with av.open(name, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=5)
        stream.width, stream.height = 32, 16
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame(32, 16, "yuv420p")))
        output.mux(stream.encode(None))


def made(folder: str = "out") -> list[str]:
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file() and path.name != JOURNAL_NAME)
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as result:
                result.load()
                assert result.size == (16, 12)
    return [path.relative_to(folder).as_posix() for path in paths]


def test_percent_signs_are_no_frame_patterns(upscale):
    for name in ("100%done.png", "%d.png", "50%off %04d.png"):
        image(f"in/{name}")
    clip("in/50%discount.mp4")
    result = upscale("in", "out")
    assert result.exit_code == 0, result.stderr
    assert made() == ["%d.png", "100%done.png", "50%discount.mp4", "50%off %04d.png"]
    with av.open("out/50%discount.mp4") as video:
        assert sum(1 for _ in video.decode(video=0)) == 3
    assert upscale("in/100%done.png", "100%done.png").exit_code == 0
    assert Image.open("100%done.png").size == (16, 12)
    assert upscale("in", "out").stderr == "0 files done, 4 skipped (done before).\n"
    assert upscale("in", "out", "--size", "3x").exit_code == 1  # all exist already, in another size
    assert upscale("in", "out", "--overwrite").exit_code == 0


@needs_links
def test_dangling_and_circular_links_are_one_sentence_each(upscale):
    image("in/a.png")
    image("in/z.png")
    Path("in/gone.png").symlink_to("nowhere.png")
    Path("in/gone.mp4").symlink_to("nowhere.mp4")
    Path("in/self.png").symlink_to("self.png")
    result = upscale("in", "out")
    assert result.exit_code == 1
    assert made() == ["a.png", "z.png"]
    lines = result.stderr.splitlines()
    assert "in/gone.png is a link to nowhere.png, which cannot be reached." in lines
    assert "in/gone.mp4 is a link to nowhere.mp4, which cannot be reached." in lines
    assert lines[-1] == "2 files done, 3 failed."
    assert len(lines) == 4
    alone = upscale("in/gone.png", "b.png")
    assert (alone.exit_code, len(alone.stderr.splitlines())) == (1, 1)
    assert upscale("in/a.png", "in/gone.png", "in/z.png", "listed").exit_code == 1
    assert made("listed") == ["a.png", "z.png"]


@needs_links
def test_links_to_folders_are_followed_but_not_in_circles(upscale):
    image("in/a.png")
    image("in/deep/b.png")
    image("elsewhere/c.png")
    Path("in/other").symlink_to("../elsewhere")
    Path("elsewhere/back").symlink_to("../in")
    Path("in/deep/up").symlink_to("..")
    Path("in/here").symlink_to(".")
    result = upscale("in", "out")
    assert result.exit_code == 0, result.stderr
    assert made() == ["a.png", "deep/b.png", "other/c.png"]


@needs_links
def test_results_inside_a_source_are_not_read_through_links(upscale):
    image("in/a.png")
    Path("in/out").mkdir()
    Path("in/link").symlink_to("out")
    assert upscale("in", "in/out").exit_code == 0
    assert upscale("in", "in/out", "--overwrite").exit_code == 0
    assert made("in/out") == ["a.png"]


def test_two_sources_of_one_stem_get_a_name_each(upscale):
    for name in ("a.png", "a.bmp", "b.bmp", "b.ppm", "b.bmp.png", "c.png"):
        image(f"in/{name}")
    result = upscale("in", "out")
    assert result.exit_code == 0, result.stderr
    assert made() == ["a.bmp.png", "a.png", "b.bmp-2.png", "b.bmp.png", "b.ppm.png", "c.png"]
    assert upscale("in/a.png", "in/a.bmp", "both", "--format", "webp").exit_code == 0
    assert made("both") == ["a.bmp.webp", "a.png.webp"]


def test_names_that_differ_in_case_alone(upscale, monkeypatch):
    image("in/a.png")
    image("in/A.png")
    if len(list(Path("in").iterdir())) == 1:
        pytest.skip("the file system does not tell them apart")
    assert upscale("in", "out").exit_code == 0
    assert made() == ["A.png", "a.png"]
    monkeypatch.setattr("supertile.images.jobs._ignores_case", lambda folder: True)
    targets = [job.target.name for job in plan_jobs(["in"], "other")]
    assert len({name.lower() for name in targets}) == 2


def test_what_cannot_be_read_is_counted_and_named_in_one_line(upscale):
    image("in/a.png")
    for number in range(7):
        Path(f"in/{number}.psd").write_bytes(b"8BPS")
    Path("in/notes.txt").write_text("no image")
    result = upscale("in", "out")
    assert result.exit_code == 0
    [line] = result.stderr.splitlines()
    assert line == (
        "Warning: 7 files are left out, as their format cannot be read: "
        "in/0.psd, in/1.psd, in/2.psd, in/3.psd, in/4.psd and 2 more."
    )
    Path("raw").mkdir()
    Path("raw/a.nef").write_bytes(b"")
    nothing = upscale("raw", "out")
    assert nothing.exit_code == 2
    assert nothing.stderr.strip() == (
        "raw holds no image or video files that can be read "
        "(1 file is left out, as their format cannot be read: raw/a.nef)."
    )


@needs_links
def test_pipes_do_not_hold_up_a_folder(upscale):
    image("in/a.png")
    os.mkfifo("in/b.png")
    result = upscale("in", "out")
    assert result.exit_code == 0
    assert made() == ["a.png"]
    assert "in/b.png" in result.stderr


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("odd"), RuntimeError("two\nlines"), MemoryError(), RecursionError()]
)
def test_whatever_a_file_raises_is_its_own_affair(upscale, monkeypatch, error):
    from supertile.images import batch

    for name in ("a.png", "b.png", "c.png"):
        image(f"in/{name}")
    read = batch.read_source

    def odd(job, *arguments, **options):
        if job.source.name == "b.png":
            raise error
        return read(job, *arguments, **options)

    monkeypatch.setattr(batch, "read_source", odd)
    result = upscale("in", "out")
    assert result.exit_code == 1
    assert made() == ["a.png", "c.png"]
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"in/b.png: Unexpected {type(error).__name__}: ")
    assert "Traceback" in upscale("in", "out", "--overwrite", "--debug").stderr
    alone = upscale("in/b.png", "b.png")
    assert (alone.exit_code, len(alone.stderr.splitlines())) == (1, 1)


def test_whatever_a_video_raises_is_its_own_affair(upscale, monkeypatch):
    from supertile.video import batch

    clip("in/a.mp4")
    clip("in/b.mp4")
    upscale_video = batch.upscale_video

    def odd(source, *arguments, **options):
        if source.name == "a.mp4":
            raise AssertionError("odd")
        return upscale_video(source, *arguments, **options)

    monkeypatch.setattr(batch, "upscale_video", odd)
    result = upscale("in", "out")
    assert result.exit_code == 1
    assert made() == ["b.mp4"]
    assert result.stderr.splitlines()[0].startswith("in/a.mp4: Unexpected AssertionError: odd")


def test_too_long_a_name_is_one_sentence(upscale):
    image("in/a.png")
    longest = "x" * 250 + ".bmp"
    image(f"in/{longest}")
    image("in/" + "x" * 250 + ".png")  # takes the name, so the other would need more than 255 bytes
    result = upscale("in", "out")
    assert result.exit_code == 1
    assert made() == ["a.png", "x" * 250 + ".png"]
    assert len(result.stderr.splitlines()) == 2


def test_times_are_kept_on_request(upscale):
    image("in/a.png")
    clip("in/b.mp4")
    for name in ("a.png", "b.mp4"):
        os.utime(f"in/{name}", ns=(10**18 + 1, 10**18 + 123456789))
    assert upscale("in", "out", "--keep-times").exit_code == 0
    assert [Path("out", name).stat().st_mtime_ns for name in ("a.png", "b.mp4")] == [10**18 + 123456789] * 2
    assert upscale("in", "other").exit_code == 0
    assert Path("other/a.png").stat().st_mtime > 1.5e9


HOLD = """
import sys, time
from pathlib import Path
from supertile.images.io.atomic import atomic_file, lock_part
folder = Path(sys.argv[1])
frames = folder / ".89abcdef.part"
frames.mkdir()
lock_part(frames)
(frames / "1.png").write_bytes(b"half")
with atomic_file(folder / "held.png", overwrite=False) as file:
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    time.sleep(600)
"""


@needs_links
def test_parts_of_killed_runs_are_removed_and_of_living_ones_are_not(upscale):
    image("in/a.png")
    Path("out").mkdir()
    Path("out/.notes.part").write_text("somebody's own")
    living = subprocess.Popen([sys.executable, "-c", HOLD, "out"], stdout=subprocess.PIPE)
    try:
        assert living.stdout is not None
        assert living.stdout.readline() == b"ready\n"
        Path("out/.a.png.01234567.part").write_bytes(b"half")
        Path("out/.01234567.part").mkdir()
        Path("out/.01234567.part/1.png").write_bytes(b"half")
        assert upscale("in", "out").exit_code == 0
        hidden = sorted(path.name for path in Path("out").iterdir() if path.name not in ("a.png", JOURNAL_NAME))
        assert hidden[:2] == [".89abcdef.part", hidden[1]]
        assert hidden[1].startswith(".held.png.")
        assert hidden[2:] == [".notes.part"]
    finally:
        living.kill()
        living.wait()
    assert upscale("in", "out", "--overwrite").exit_code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == [".notes.part", JOURNAL_NAME, "a.png"]


@needs_links
def test_a_part_taken_away_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    flock, taken = atomic.fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not taken:
            taken.extend(tmp_path.glob(".*.part"))
            taken[0].unlink()
        flock(descriptor, how)

    monkeypatch.setattr(atomic.fcntl, "flock", late)
    with atomic.atomic_file(tmp_path / "a", overwrite=False) as file:
        file.write(b"whole")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"whole")]
    assert not atomic._locks


@needs_links
@pytest.mark.parametrize("name", ["SIGHUP", "SIGKILL"])
def test_signals_leave_nothing_or_what_the_next_run_removes(upscale, model, name):
    for number in range(200):
        image(f"in/{number:03}.png", (64, 64))
    command = [sys.executable, "-m", "supertile", "upscale", "in", "out", "--model", model, "--device", "cpu", "-q"]
    started = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # which nohup, around the tests, ignores
    )
    deadline = time.monotonic() + 300
    while len(list(Path("out").glob("*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    started.send_signal(getattr(signal, name))
    error = started.communicate(timeout=300)[1]
    assert b"Traceback" not in error
    if name == "SIGKILL":
        Path("out/.000.png.01234567.part").write_bytes(b"half")  # in case none was open at that moment
        image("one/new.png", (64, 64))
        assert upscale("one", "out").exit_code == 0
    else:
        assert started.returncode == 128 + getattr(signal, name)
    assert [path.name for path in Path("out").glob(".*")] == [JOURNAL_NAME]
    for path in Path("out").glob("*.png"):
        with Image.open(path) as result:
            result.load()
