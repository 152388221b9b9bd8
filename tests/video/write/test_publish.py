"""A file is there whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys

import pytest
from supertile.tests.video.media import decoded, frames, info, rich_file
from supertile.video.errors import VideoError, reason
from supertile.video.write.encoder_options import EncoderOptions
from supertile.video.write.open import open_target

SUFFIXES = [".mp4", ".mkv", ".mov", ".webm"]


def sink_for(path, **more):
    source = info()
    return open_target(path, source, source.format, **more)


def write(sink, count=5):
    for frame in frames(sink.format.layout, 64, 48, list(range(0, 40 * count, 40)), 40 * count):
        sink.write(frame)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_file_appears_when_it_is_finished(tmp_path, suffix):
    target = tmp_path / f"out{suffix}"
    sink = sink_for(target)
    write(sink)
    (part,) = tmp_path.iterdir()
    assert part.name.startswith(f".out{suffix}.")
    assert part.name.endswith(".part")
    sink.finish()
    assert list(tmp_path.iterdir()) == [target]
    assert len(decoded(target)) == 5
    sink.discard()
    sink.finish()
    assert target.exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_discarding_leaves_nothing(tmp_path, suffix):
    for count in (0, 3):
        sink = sink_for(tmp_path / f"out{suffix}")
        write(sink, count)
        sink.discard()
        sink.discard()
        assert list(tmp_path.iterdir()) == []


def test_no_frame_no_file(tmp_path):
    sink = sink_for(tmp_path / "out.mp4")
    with pytest.raises(VideoError, match="source had no frames"):
        sink.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_replaced_only_when_asked(tmp_path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    with pytest.raises(VideoError, match=r"exists already; pass --overwrite"):
        sink_for(target)
    sink = sink_for(target, overwrite=True)
    write(sink)
    assert target.read_bytes() == b"precious"
    sink.discard()
    assert target.read_bytes() == b"precious"
    sink = sink_for(target, overwrite=True)
    write(sink)
    sink.finish()
    assert len(decoded(target)) == 5


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    target = tmp_path / "out.mp4"
    sink = sink_for(target)
    write(sink)
    target.write_bytes(b"somebody else's")
    with pytest.raises(VideoError, match="exists already"):
        sink.finish()
    assert target.read_bytes() == b"somebody else's"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("link", ["same", "symbolic", "hard", "dotted"])
def test_the_source_is_never_the_target(tmp_path, link):
    source = tmp_path / "in.mkv"
    rich_file(source, audio=(), subtitle=None)
    before = source.read_bytes()
    target = tmp_path / "out.mkv"
    if link == "symbolic":
        target.symlink_to(source)
    elif link == "hard":
        os.link(source, target)
    elif link == "dotted":
        (tmp_path / "folder").mkdir()
        target = tmp_path / "folder" / ".." / "in.mkv"
    else:
        target = source
    with pytest.raises(VideoError, match="is the source itself"):
        sink_for(target, overwrite=True, copy_from=source)
    assert source.read_bytes() == before


def test_a_link_to_another_file_is_replaced_not_followed(tmp_path):
    other, target = tmp_path / "other.mp4", tmp_path / "out.mp4"
    other.write_bytes(b"precious")
    target.symlink_to(other)
    sink = sink_for(target, overwrite=True)
    write(sink)
    sink.finish()
    assert other.read_bytes() == b"precious"
    assert not target.is_symlink()


def test_a_missing_folder_is_made_and_what_is_no_folder_is_named(tmp_path):
    sink = sink_for(tmp_path / "new" / "folder" / "out.mp4")
    write(sink)
    sink.finish()
    assert (tmp_path / "new" / "folder" / "out.mp4").exists()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(VideoError, match=r"file.out\.mp4 cannot be written: "):
        sink_for(tmp_path / "file" / "out.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(VideoError, match="is a folder"):
        sink_for(tmp_path / "folder.mp4")


@pytest.mark.parametrize("name", ["out", "out.avi", "out.mp3", "out.gif"])
def test_a_suffix_of_no_container_is_answered_with_those_there_are(tmp_path, name):
    with pytest.raises(VideoError, match=r"\.mp4, \.mkv, \.mov or \.webm"):
        sink_for(tmp_path / name)


@pytest.mark.parametrize("name", ["-out.mp4", "o:ut.mp4", "ümläut 映画.mkv", "50%.mp4", "a" * 200 + ".mp4", "OUT.MKV"])
def test_any_name_can_be_written(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    sink = sink_for(name)
    write(sink)
    sink.finish()
    assert os.listdir(tmp_path) == [name]
    assert len(decoded(tmp_path / name)) == 5


def long_job(target, codec, say, file_size=None):
    """To be run in a process of its own, which may end in any way."""
    if file_size is not None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    source = info(320, 240)
    sink = open_target(target, source, source.format, EncoderOptions(codec, quality=100, preset="ultrafast"))
    try:
        for frame in frames(sink.format.layout, 320, 240, list(range(0, 4000, 40)), 4000):
            sink.write(frame)
            if file_size is None:
                say.send("a frame is written")
        sink.finish()
    except VideoError as error:
        sink.discard()
        say.send(str(error))


def started(*arguments):
    context = multiprocessing.get_context("fork")  # quick: nothing is imported again
    listen, say = context.Pipe(duplex=False)
    process = context.Process(target=long_job, args=(*arguments[:2], say, *arguments[2:]))
    process.start()
    say.close()
    return process, listen


@pytest.mark.skipif(sys.platform == "win32", reason="a limit of file size is POSIX")
@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".mkv", "h264"), (".webm", "vp9")])
def test_a_full_disk_is_said_in_a_sentence(tmp_path, suffix, codec):
    target = tmp_path / f"out{suffix}"
    process, listen = started(target, codec, 20000)
    assert listen.recv() == f"{target} cannot be written: the file would be larger than the system allows."
    process.join(60)
    assert process.exitcode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="starts by forking")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_being_killed_leaves_nothing_under_the_name(tmp_path, suffix):
    process, listen = started(tmp_path / f"out{suffix}", "h264")
    assert listen.recv() == "a frame is written"
    process.kill()
    process.join(60)
    assert [path.name[:5] for path in tmp_path.iterdir()] == [".out."]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_the_words_for_a_full_disk():
    with pytest.raises(OSError, match="No space") as caught, open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    assert reason(caught.value) == "the disk is full"
