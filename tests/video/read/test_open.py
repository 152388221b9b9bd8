"""Each kind of source finds its reader."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from supertile.tests.video.media import rgba
from supertile.video.read.file import VideoReader
from supertile.video.read.open import SourceOptions, open_source


def test_each_thing_finds_its_reader(make_video: Callable, smooth: Callable, tmp_path: Path) -> None:
    path = make_video("in.mkv", [smooth("yuv420p", 32, 32)])
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        with open_source(source) as reader:  # type: ignore[attr-defined]
            assert isinstance(reader, VideoReader)
    odd = path.rename(tmp_path / "100%d.mkv")  # a file of that very name
    with open_source(odd) as reader:  # type: ignore[attr-defined]
        assert isinstance(reader, VideoReader)
    with pytest.raises(ValueError, match="cannot be given"):
        open_source(odd, SourceOptions(frame_rate=25))
    with pytest.raises(ValueError, match="must be given"):
        open_source(tmp_path / "%d.png")
    with pytest.raises(ValueError, match="must be given"):
        open_source([rgba(1)])
    with pytest.raises(TypeError, match="path, a file object or an iterable"):
        open_source(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="deinterlace"):
        open_source(odd, SourceOptions(deinterlace="please"))
    for stream in (-1, "last", 0.5):
        with pytest.raises(ValueError, match="stream must be a number from 0, 'first' or None, not"):
            open_source(odd, SourceOptions(stream=stream))  # type: ignore[arg-type]
    with open_source(odd, SourceOptions(stream=np.int64(0))) as reader:  # type: ignore[arg-type, attr-defined]
        assert reader.info.video_streams == (0, 1)
