"""Small real video files, made with PyAV from planes of numpy arrays, and planes read back, without the package."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

Planes = Sequence[np.ndarray]


def dtype_of(pix_fmt: str) -> np.dtype:
    """Of a sample: uint8, or uint16 in the byte order of the format."""
    bits = max(component.bits for component in av.VideoFormat(pix_fmt, 16, 16).components)
    if bits <= 8:
        return np.dtype(np.uint8)
    return np.dtype(">u2" if pix_fmt.endswith("be") else "<u2")


def plane_shapes(pix_fmt: str, width: int, height: int) -> list[tuple[int, int]]:
    """(rows, samples in a row) of each plane as FFmpeg stores it: interleaved components count one by one."""
    frame = av.VideoFrame(width, height, pix_fmt)
    components = frame.format.components
    return [(p.height, p.width * sum(c.plane == i for c in components)) for i, p in enumerate(frame.planes)]


def random_planes(pix_fmt: str, width: int, height: int, seed: int = 0) -> list[np.ndarray]:
    """One frame of noise over all codes of a format."""
    generator = np.random.default_rng(seed)
    top = 2 ** max(component.bits for component in av.VideoFormat(pix_fmt, 16, 16).components)
    shapes = plane_shapes(pix_fmt, width, height)
    return [generator.integers(0, top, shape).astype(dtype_of(pix_fmt)) for shape in shapes]


def smooth_planes(pix_fmt: str, width: int, height: int, seed: int = 0) -> list[np.ndarray]:
    """One frame of slow waves in the middle of the range, which a lossy codec keeps well."""
    top = 2 ** max(component.bits for component in av.VideoFormat(pix_fmt, 16, 16).components)
    planes = []
    for index, (rows, columns) in enumerate(plane_shapes(pix_fmt, width, height)):
        y, x = np.mgrid[:rows, :columns]
        wave = np.sin(x / 9 + seed / 3 + index) + np.cos(y / 7 - seed / 5)
        planes.append((top * (0.5 + 0.12 * wave)).astype(dtype_of(pix_fmt)))
    return planes


def to_frame(planes: Planes, pix_fmt: str, width: int, height: int) -> av.VideoFrame:
    """A PyAV frame of a format, from its planes."""
    frame = av.VideoFrame(width, height, pix_fmt)
    dtype = dtype_of(pix_fmt)
    for target, samples in zip(frame.planes, planes, strict=True):
        padded = np.zeros((target.buffer_size // target.line_size, target.line_size // dtype.itemsize), dtype)
        padded[: samples.shape[0], : samples.shape[1]] = samples
        target.update(padded.tobytes())
    return frame


def from_frame(frame: av.VideoFrame) -> list[np.ndarray]:
    """The planes of a PyAV frame, as numbers in the machine's byte order."""
    dtype = dtype_of(frame.format.name)
    shapes = plane_shapes(frame.format.name, frame.width, frame.height)
    planes = []
    for plane, (rows, columns) in zip(frame.planes, shapes, strict=True):
        samples = np.frombuffer(memoryview(plane), dtype)
        samples = samples[: rows * (plane.line_size // dtype.itemsize)].reshape(rows, -1)[:, :columns]
        planes.append(samples.astype(dtype.newbyteorder("=")))
    return planes


def write_video(
    path: str | Path,
    frames: Sequence[Planes],
    pix_fmt: str = "yuv420p",
    codec: str = "ffv1",
    *,
    size: tuple[int, int] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    rate: Fraction = Fraction(25),
    last_duration: int | None = None,
    tags: dict[str, int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    format: str | None = None,
    sar: Fraction | None = None,
    display_matrix: Sequence[int] | None = None,
    metadata: dict[str, str] | None = None,
    interlaced: bool = False,
) -> Path:
    """Encode frames (planes as FFmpeg orders them) into one video stream.

    size: (width, height); None: that of the first plane. tags: colorspace, color_range, color_primaries, color_trc.
    """
    path = Path(path)
    width, height = size or frames[0][0].shape[::-1]
    pts = list(range(len(frames))) if pts is None else list(pts)
    with av.open(str(path), "w", format=format, options=container_options or {}) as output:
        stream: Any = output.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        context = stream.codec_context
        context.time_base = time_base
        context.flags |= av.codec.context.Flags.frame_duration
        if interlaced:
            context.flags |= av.codec.context.Flags.interlaced_dct
        for name, value in (tags or {}).items():
            setattr(context, name, value)
        if sar is not None:
            context.sample_aspect_ratio = sar
        if display_matrix is not None:
            stream.set_display_matrix(list(display_matrix))
        stream.metadata.update(metadata or {})
        for index, planes in enumerate(frames):
            frame = to_frame(planes, pix_fmt, width, height)
            for name, value in (tags or {}).items():
                setattr(frame, name, value)
            frame.pts, frame.time_base = pts[index], time_base
            if index + 1 < len(frames):
                frame.duration = max(pts[index + 1] - pts[index], 0)
            elif last_duration is not None:
                frame.duration = last_duration
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """`make_video(name, frames, pix_fmt, codec, ...)`: like `write_video`, in the test's own folder."""

    def make(name: str, *args: Any, **options: Any) -> Path:
        return write_video(tmp_path / name, *args, **options)

    return make


@pytest.fixture
def noise() -> Callable[..., list[np.ndarray]]:
    """`noise(pix_fmt, width, height, seed=0)`: planes of one frame."""
    return random_planes


@pytest.fixture
def smooth() -> Callable[..., list[np.ndarray]]:
    """`smooth(pix_fmt, width, height, seed=0)`: planes of one frame that lossy codecs keep well."""
    return smooth_planes


@pytest.fixture
def planes_of() -> Callable[[av.VideoFrame], list[np.ndarray]]:
    return from_frame


@pytest.fixture
def frame_from() -> Callable[..., av.VideoFrame]:
    """`frame_from(planes, pix_fmt, width, height)`: a PyAV frame."""
    return to_frame


@pytest.fixture(scope="session")
def shared_video() -> Callable[[str], Path]:
    """Path of a real video, which is test data only and never part of the repository."""
    folder = Path(os.environ.get("SUPERTILE_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "videos"

    def path(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"there is no {folder / name}")
        return folder / name

    return path
