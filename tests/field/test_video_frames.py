"""Videos whose frames are not what the file's head says, or that carry more than samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from supertile import EncoderOptions, SourceOptions, Upscaler, VideoError, upscale_video
from supertile.tests.video.conftest import write_video

FIELD = Path(os.environ.get("SUPERTILE_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "field"
LIMITED, FULL = 1, 2
BT709, BT470BG, BT2020 = 1, 5, 9  # matrices; PQ is transfer function 16
LOSSLESS = {"qp": "0", "preset": "ultrafast"}
H264 = EncoderOptions(codec="h264", quality=100)
FFV1 = EncoderOptions(codec="ffv1")


@pytest.fixture
def double(enlarger: Callable[..., Any]) -> Upscaler:
    """Repeats every pixel twice."""
    return Upscaler(enlarger(2), precision="fp32")


def shared(name: str) -> Path:
    if not (FIELD / name).is_file():
        pytest.skip(f"there is no {FIELD / name}")
    return FIELD / name


def flat(codes: tuple[int, int, int], width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Planes of one color in 4:2:0."""
    sizes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    return [np.full(size, code, np.uint8) for size, code in zip(sizes, codes, strict=True)]


def joined(tmp_path: Path, *segments: tuple[list[np.ndarray], dict[str, int]], codec: str = "libx264") -> Path:
    """A raw stream of segments of six equal frames each, with their own tags."""
    target = tmp_path / ("joined.h264" if codec == "libx264" else "joined.hevc")
    data = b""
    for number, (planes, tags) in enumerate(segments):
        options = {"crf": "4", "preset": "ultrafast"}
        segment = write_video(
            tmp_path / f"{number}{target.suffix}", [planes] * 6, codec=codec, options=options, tags=tags
        )
        data += segment.read_bytes()
    target.write_bytes(data)
    return target


def means(path: Path) -> list[tuple[int, ...]]:
    """The mean code of each plane, of every frame."""
    with av.open(str(path)) as container:
        frames = [f.reformat(format="yuv420p") if f.format.name == "yuvj420p" else f for f in container.decode(video=0)]
        return [tuple(_mean(plane) for plane in frame.planes) for frame in frames]


def _mean(plane: Any) -> int:
    codes = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
    return round(float(codes.mean()))


def close(frames: list[tuple[int, ...]], expected: tuple[int, ...], tolerance: int = 1) -> bool:
    return all(abs(a - b) <= tolerance for codes in frames for a, b in zip(codes, expected, strict=True))


# --- a color that changes on the way ---------------------------------------------------------------------------------


@pytest.mark.parametrize("deinterlace", ["auto", "yes"])
def test_a_range_that_changes_on_the_way(tmp_path: Path, double: Upscaler, deinterlace: str) -> None:
    gray = 200 / 255
    source = joined(
        tmp_path,
        (flat((round(16 + 219 * gray), 128, 128)), {"color_range": LIMITED}),  # x264 writes no tag for it
        (flat((200, 128, 128)), {"color_range": FULL, "colorspace": BT470BG}),
        (flat((round(16 + 219 * gray), 128, 128)), {"color_range": LIMITED, "colorspace": BT470BG}),
    )
    report = upscale_video(
        source, tmp_path / "out.mkv", double, encoder=FFV1, source_options=SourceOptions(deinterlace=deinterlace)
    )
    frames = means(tmp_path / "out.mkv")
    assert len(frames) == 18
    assert close(frames, (188, 128, 128))
    assert [w for w in report.warnings if "changes its color range" in w]
    assert report.complete


def test_full_range_that_becomes_limited(tmp_path: Path, double: Upscaler) -> None:
    source = joined(
        tmp_path,
        (flat((200, 90, 150)), {"color_range": FULL, "colorspace": BT709}),
        (flat((188, 95, 147)), {"color_range": LIMITED, "colorspace": BT709}),
    )
    upscale_video(source, tmp_path / "out.mkv", double, encoder=FFV1)
    assert close(means(tmp_path / "out.mkv"), (200, 90, 150), 2)


def test_a_matrix_that_changes_on_the_way(tmp_path: Path, double: Upscaler) -> None:
    # R'G'B' of (0.8, 0.3, 0.4) in both matrices, computed from H.273 by hand.
    def codes(kr: float, kb: float) -> tuple[int, int, int]:
        red, green, blue = 0.8, 0.3, 0.4
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
        return round(16 + 219 * luma), round(128 + 224 * cb), round(128 + 224 * cr)

    hd, sd = codes(0.2126, 0.0722), codes(0.299, 0.114)
    tags = {"color_range": LIMITED}
    source = joined(
        tmp_path, (flat(hd), tags | {"colorspace": BT709}), (flat(sd), tags | {"colorspace": BT470BG}), codec="libx265"
    )
    upscale_video(source, tmp_path / "out.mkv", double, encoder=FFV1)
    assert len(means(tmp_path / "out.mkv")) == 12
    assert close(means(tmp_path / "out.mkv"), hd, 2)


def test_a_transfer_function_that_changes_on_the_way(tmp_path: Path, double: Upscaler) -> None:
    # White of SDR is 203 cd/m2, which is code value 0.5807 of PQ (BT.2408).
    pq = {"color_range": LIMITED, "colorspace": BT2020, "color_primaries": 9, "color_trc": 16}
    sdr = {"color_range": LIMITED, "colorspace": BT709, "color_primaries": 1, "color_trc": 1}
    source = joined(tmp_path, (flat((143, 128, 128)), pq), (flat((235, 128, 128)), sdr))
    upscale_video(source, tmp_path / "out.mkv", double, encoder=FFV1)
    assert close(means(tmp_path / "out.mkv"), (143, 128, 128))


def test_size_and_range_that_change_together(tmp_path: Path, double: Upscaler) -> None:
    source = joined(
        tmp_path,
        (flat((188, 128, 128)), {"color_range": LIMITED}),
        (flat((200, 128, 128), 32, 32), {"color_range": FULL}),
    )
    upscale_video(source, tmp_path / "out.mkv", double, encoder=FFV1)
    assert close(means(tmp_path / "out.mkv"), (188, 128, 128))


def test_the_range_of_the_known_file(tmp_path: Path, double: Upscaler) -> None:
    upscale_video(shared("range.h264"), tmp_path / "out.mkv", double, encoder=FFV1)
    frames = means(tmp_path / "out.mkv")
    assert len(frames) == 24
    assert close(frames, (188, 128, 128))


# --- frames of a few lines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(2, 2), (64, 2), (2, 64), (4, 4), (6, 8)])
def test_frames_of_two_lines_are_not_deinterlaced(tmp_path: Path, double: Upscaler, size: tuple[int, int]) -> None:
    source = write_video(tmp_path / "in.mkv", [flat((100, 128, 128), *size)] * 3, codec="libx264", options=LOSSLESS)
    report = upscale_video(
        source, tmp_path / "out.mkv", double, encoder=H264, source_options=SourceOptions(deinterlace="yes")
    )
    assert report.frames == 3
    assert close(means(tmp_path / "out.mkv"), (100, 128, 128))
