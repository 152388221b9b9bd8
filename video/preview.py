"""Small H.264 files for players that cannot play a video itself, such as web browsers: its beginning, or one frame."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from torch import Tensor

SIDE = 960  # pixels of the longer side
SECONDS = 10
_RATE = Fraction(25)  # where the file does not state one


def write_preview(source: Path, target: Path, *, seconds: float = SECONDS, patience: float = 4.0) -> bool:
    """Write the beginning of a video as H.264, in 8 bits, without sound and at most SIDE pixels large.

    Args:
        source: any video that FFmpeg decodes.
        target: an .mp4 file. It is complete, or not there.
        seconds: of the video, at most.
        patience: seconds after which no more frames are added; there is at least one.

    Returns:
        False if this build of FFmpeg has no H.264 encoder, or nothing can be decoded.
    """
    begin = time.monotonic()

    def beginning(container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
        for index, frame in enumerate(container.decode(video=0)):
            if index and ((frame.time or 0) >= seconds or time.monotonic() - begin > patience):
                return
            small = _small(frame)
            small.pts, small.time_base = frame.pts, frame.time_base
            yield small

    try:
        with av.open(str(source)) as container:
            container.streams.video[0].thread_type = "AUTO"
            return _write(beginning(container), container.streams.video[0].average_rate or _RATE, target)
    except (av.FFmpegError, IndexError):  # nothing to decode
        return False


def write_picture(picture: Tensor, target: Path) -> bool:
    """Write one picture as a video of one frame. Returns as `write_preview`.

    Args:
        picture: (H, W, 3), uint8.
        target: an .mp4 file. It is complete, or not there.
    """
    return _write([_small(av.VideoFrame.from_ndarray(picture.contiguous().numpy()))], _RATE, target)


def _write(frames: Iterable[av.VideoFrame], rate: Fraction, target: Path) -> bool:
    unfinished = target.with_name(f".{target.name}")
    written = 0
    try:
        with av.open(str(unfinished), "w", format="mp4") as output:
            video = output.add_stream("libx264", rate=rate)
            video.options = {"preset": "veryfast", "crf": "23"}
            for frame in frames:
                if not written:
                    video.width, video.height, video.pix_fmt = frame.width, frame.height, "yuv420p"
                    if frame.time_base:
                        video.codec_context.time_base = frame.time_base
                output.mux(video.encode(frame))
                written += 1
            if written:
                output.mux(video.encode(None))
        if written:
            unfinished.replace(target)
        return written > 0
    except (av.FFmpegError, ValueError):  # no encoder, no picture
        return False
    finally:
        unfinished.unlink(missing_ok=True)


def _small(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a frame upright, in 4:2:0, with even sides of at most SIDE."""
    scale = min(1.0, SIDE / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    if not turns:
        return frame.reformat(width, height, "yuv420p")
    upright = np.rot90(frame.reformat(width, height, "rgb24").to_ndarray().astype(np.uint8, copy=False), turns)
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(upright)).reformat(format="yuv420p")
