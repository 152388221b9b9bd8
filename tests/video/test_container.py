"""Files that are no videos are refused with a reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from supertile.tests.video.media import read
from supertile.video.errors import VideoError
from supertile.video.read.file import VideoReader


def test_words_for_what_is_no_video(tmp_path: Path, make_video: Callable, smooth: Callable) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("This is not a video, it is a letter.\n" * 9)
    (tmp_path / "text.txt").write_text("This is not a video, it is a letter.\n" * 9)
    (tmp_path / "zeros.mkv").write_bytes(bytes(1000))
    os.mkfifo(tmp_path / "pipe")
    mp4 = make_video("whole.mp4", [smooth("yuv420p", 64, 48)] * 9, codec="libx264")
    (tmp_path / "no_moov.mp4").write_bytes(mp4.read_bytes()[:600])
    (tmp_path / "head.mkv").write_bytes(make_video("whole.mkv", [smooth("yuv420p", 64, 48)]).read_bytes()[:100])
    for name, words in [
        ("missing.mp4", "does not exist"),
        (".", "is a folder"),
        ("text.mp4/inside.mp4", "does not exist"),
        ("pipe", "is a pipe"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "is a text file"),
        ("text.txt", "is a text file"),
        ("zeros.mkv", "cannot be opened as a video"),
        ("no_moov.mp4", "cannot be opened as a video"),
        ("head.mkv", "cannot be opened as a video|contains no video|none of its frames"),
        ("a" * 300, "cannot be read"),
    ]:
        path = tmp_path / name
        with pytest.raises(VideoError, match=words) as caught:
            VideoReader(path)
        assert str(path) in str(caught.value)
        assert str(caught.value).endswith(".")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(make_video: Callable, smooth: Callable) -> None:
    path = make_video("in.mkv", [smooth("yuv420p", 32, 32)])
    path.chmod(0)
    with pytest.raises(VideoError, match="permission denied"):
        VideoReader(path)


def test_only_local_files_are_opened(make_video: Callable, smooth: Callable, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_video("real.mkv", [smooth("yuv420p", 32, 32)])
    for name in (
        "http://127.0.0.1:9/x.mp4",
        "concat:real.mkv|real.mkv",
        "pipe:0",
        "file:real.mkv",
        "subfile,,start,0,end,9,,:real.mkv",
    ):
        with pytest.raises(VideoError, match="does not exist"):
            VideoReader(name)
    odd = tmp_path / "http:"
    odd.mkdir()
    (odd / "-v %d clip|é.mkv").write_bytes((tmp_path / "real.mkv").read_bytes())
    assert len(read("http:/-v %d clip|é.mkv")[1]) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{real}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{real}\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile {real}\n"),
        ("list.mkv", "ffconcat version 1.0\nfile {real}\n"),
        ("stream.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"),
        ("list.mpd", '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>\n'),
    ],
)
def test_files_that_name_other_files_are_refused(
    make_video: Callable, smooth: Callable, tmp_path: Path, name: str, text: str
) -> None:
    real = make_video("real.mkv", [smooth("yuv420p", 32, 32)])
    (tmp_path / name).write_text(text.format(real=real.name))
    with pytest.raises(VideoError, match="playlist"):
        VideoReader(tmp_path / name)
    with pytest.raises(VideoError), open(tmp_path / name, "rb") as file:
        VideoReader(file)


def test_absurd_dimensions_are_refused_before_memory(make_video: Callable, smooth: Callable, tmp_path: Path) -> None:
    data = make_video("in.mkv", [smooth("yuv420p", 300, 300)]).read_bytes()
    width = b"\xb0\x82\x01\x2c"  # Matroska's PixelWidth, two bytes: 300
    assert data.count(width) == 1
    huge = tmp_path / "huge.mkv"
    huge.write_bytes(data.replace(width, b"\xb0\x82\xff\xf0"))
    with pytest.raises(VideoError, match=r"huge\.mkv declares frames of 65520x300 pixels\. The limit is 16384"):
        VideoReader(huge)


def test_a_video_of_no_decodable_frame(make_video: Callable, noise: Callable, tmp_path: Path) -> None:
    whole = make_video("whole.mkv", [noise("yuv420p", 64, 48)] * 3, codec="libx264")
    with av.open(str(whole)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(whole.read_bytes())
    for position, size in places:
        data[position + 5 : position + size] = bytes(size - 5)
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(data)
    said: list[str] = []
    with pytest.raises(VideoError, match=r"broken\.mkv contains a video stream, but none of its frames"):
        VideoReader(broken, warn=said.append)
