"""Videos whose frames are not what the file's head says, or that carry more than samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from supertile import EncoderOptions, SourceOptions, Upscaler, VideoError, upscale_video
from supertile.inference.errors import OutOfMemoryError
from supertile.tests.field.boxes import with_clean_aperture, with_encrypted
from supertile.tests.field.recordings import recording
from supertile.tests.video.conftest import write_video
from supertile.tests.video.media import rich_file

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
        path = tmp_path / f"{number}{target.suffix}"
        write_video(path, [planes] * 6, codec=codec, options={"crf": "4", "preset": "ultrafast"}, tags=tags)
        data += path.read_bytes()
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


# --- what the container says of the frames ---------------------------------------------------------------------------


def patched(path: Path, *changes: tuple[bytes, bytes]) -> Path:
    data = path.read_bytes()
    for old, new in changes:
        assert data.count(old) == 1, old
        assert len(old) == len(new)
        data = data.replace(old, new)
    path.write_bytes(data)
    return path


def matroska_with(tmp_path: Path, elements: bytes, frames: list[list[np.ndarray]]) -> Path:
    """A Matroska file with elements in its Video, in the place of a title of the same length."""
    padding = "x" * 60
    path = write_video(tmp_path / "in.mkv", frames, codec="libx264", options=LOSSLESS, metadata={"title": padding})
    data = path.read_bytes()
    name = b"\x53\x6e" + bytes([0x80 | len(padding)]) + padding.encode()
    start = data.index(name)
    video = data.index(b"\xe0", data.index(b"\x83\x81\x01"))  # after the track's type
    size = data[video + 1] - 0x80  # of one byte
    content = data[video + 2 : video + 2 + size]
    assert start < video
    void = len(name) - len(elements) - 2
    moved = b"\xec" + bytes([0x80 | void]) + bytes(void)
    grown = b"\xe0" + bytes([0x80 + size + len(elements)]) + content + elements
    path.write_bytes(data[:start] + moved + data[start + len(name) : video] + grown + data[video + 2 + size :])
    return path


def bordered(width: int, height: int, box: tuple[int, int, int, int]) -> list[np.ndarray]:
    """Gray in the box of (left, top, right, bottom) pixels from the sides, black with green chroma outside."""
    left, top, right, bottom = box
    planes = flat((16, 60, 60), width, height)
    for plane, code, step in zip(planes, (120, 128, 128), (1, 2, 2), strict=True):
        plane[top // step : (height - bottom) // step, left // step : (width - right) // step] = code
    return planes


def crop_elements(left: int, top: int, right: int, bottom: int) -> bytes:
    numbers = (0x54CC, 0x54BB, 0x54DD, 0x54AA)
    values = zip(numbers, (left, top, right, bottom), strict=True)
    return b"".join(number.to_bytes(2, "big") + b"\x81" + bytes([value]) for number, value in values)


@pytest.mark.parametrize("box", [(0, 8, 0, 8), (4, 0, 12, 2), (2, 6, 4, 8)])
@pytest.mark.parametrize("target", ["out.mkv", "out.mp4"])
def test_what_the_container_crops_is_not_shown(
    tmp_path: Path, double: Upscaler, box: tuple[int, int, int, int], target: str
) -> None:
    source = matroska_with(tmp_path, crop_elements(*box), [bordered(64, 48, box)] * 2)
    report = upscale_video(source, tmp_path / target, double, encoder=H264)
    left, top, right, bottom = box
    size = (2 * (64 - left - right), 2 * (48 - top - bottom))
    assert report.target_size == size
    with av.open(str(tmp_path / target)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == size
    assert close(means(tmp_path / target), (120, 128, 128))


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize(
    ("aperture", "box"),
    [((64, 40, 0, 0), (0, 4, 0, 4)), ((40, 32, -4, 2), (8, 10, 16, 6)), ((64, 48, 0, 0), (0, 0, 0, 0))],
)
def test_the_clean_aperture_of_mp4_is_what_is_shown(
    tmp_path: Path, double: Upscaler, suffix: str, aperture: tuple[int, ...], box: tuple[int, int, int, int]
) -> None:
    source = write_video(tmp_path / f"in{suffix}", [bordered(64, 48, box)] * 2, codec="libx264", options=LOSSLESS)
    source.write_bytes(with_clean_aperture(source.read_bytes(), *aperture))
    report = upscale_video(source, tmp_path / "out.mp4", double, encoder=H264)
    assert report.target_size == (2 * aperture[0], 2 * aperture[1])
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == report.target_size
    assert close(means(tmp_path / "out.mp4"), (120, 128, 128))
    assert report.warnings == []


def test_the_crop_of_the_known_file(tmp_path: Path, double: Upscaler) -> None:
    report = upscale_video(shared("crop.mkv"), tmp_path / "out.mkv", double, encoder=FFV1)
    assert report.target_size == (128, 64)
    with av.open(str(shared("crop.mkv"))) as before, av.open(str(tmp_path / "out.mkv")) as after:
        for old, new in zip(before.decode(video=0), after.decode(video=0), strict=True):
            enlarged = old.to_ndarray()[8:40].repeat(2, 0).repeat(2, 1)
            assert np.abs(new.to_ndarray()[:64].astype(int) - enlarged).mean() < 1


def with_captions(path: Path, captions: list[bytes]) -> Path:
    """An H.264 stream with CEA-708 triplets (A/53 part 4, cc_data) in an SEI message before each picture."""
    plain = write_video(path, [flat((100, 128, 128))] * len(captions), codec="libx264", options=LOSSLESS | {"bf": "0"})
    units = [b"\0\0\1" + unit for unit in plain.read_bytes().replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]]
    data, number = b"", 0
    for unit in units:
        if unit[3] & 31 in (1, 5):  # a picture
            triplets = captions[number]
            user = b"\xb5\x00\x31GA94\x03" + bytes([0x40 | len(triplets) // 3, 0xFF]) + triplets + b"\xff"
            data += b"\0\0\1\x06\x04" + bytes([len(user)]) + user + b"\x80"
            number += 1
        data += unit
    path.write_bytes(data)
    return path


def captions_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [b"".join(bytes(d) for d in frame.side_data if d.type.name == "A53_CC") for frame in frames]


CAPTIONS = [bytes((0xFC, 0x94, 0x20 + n, 0xFD, 0x80, 0x81 + n)) for n in range(6)]


@pytest.mark.parametrize("deinterlace", ["auto", "yes"])
@pytest.mark.parametrize(("name", "codec"), [("out.mp4", "h264"), ("out.mkv", "hevc"), ("out.mov", "h264")])
def test_closed_captions_stay_on_their_frames(
    tmp_path: Path, double: Upscaler, name: str, codec: str, deinterlace: str
) -> None:
    source = with_captions(tmp_path / "in.h264", CAPTIONS)
    assert captions_of(source) == CAPTIONS
    options = SourceOptions(deinterlace=deinterlace)
    report = upscale_video(source, tmp_path / name, double, encoder=EncoderOptions(codec=codec), source_options=options)
    assert captions_of(tmp_path / name) == CAPTIONS
    assert report.warnings == []
    assert close(means(tmp_path / name), (100, 128, 128))


@pytest.mark.parametrize(("name", "codec"), [("out.webm", "vp9"), ("out.mkv", "ffv1"), ("frames/%03d.png", "auto")])
def test_closed_captions_that_cannot_be_written_are_named(
    tmp_path: Path, double: Upscaler, name: str, codec: str
) -> None:
    source = with_captions(tmp_path / "in.h264", CAPTIONS)
    report = upscale_video(source, tmp_path / name, double, encoder=EncoderOptions(codec=codec))
    assert len([w for w in report.warnings if "closed captions" in w]) == 1


def test_the_captions_of_the_known_file(tmp_path: Path, double: Upscaler) -> None:
    upscale_video(shared("cc.mp4"), tmp_path / "out.mp4", double)
    assert captions_of(tmp_path / "out.mp4") == captions_of(shared("cc.mp4"))
    assert len(captions_of(tmp_path / "out.mp4")) == 12


def tags_of(path: Path) -> dict[str, bytes]:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return {d.type.name: bytes(d)[:4] for d in frame.side_data if d.type.name in ("SPHERICAL", "STEREO3D")}


STEREO = b"\x53\xb8\x81"
EQUIRECTANGULAR = bytes.fromhex("7670 9b 7671 81 01 7672 94") + bytes(20)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
@pytest.mark.parametrize(("mode", "arrangement"), [(1, 1), (3, 2)])
def test_stereo_and_spherical_tags_are_kept(
    tmp_path: Path, double: Upscaler, suffix: str, mode: int, arrangement: int
) -> None:
    source = matroska_with(tmp_path, STEREO + bytes([mode]) + EQUIRECTANGULAR, [flat((100, 128, 128))] * 2)
    report = upscale_video(source, tmp_path / f"out{suffix}", double)
    assert not report.warnings
    assert tags_of(tmp_path / f"out{suffix}") == {
        "SPHERICAL": bytes(4),  # equirectangular
        "STEREO3D": arrangement.to_bytes(4, "little"),
    }


@pytest.mark.parametrize(("suffix", "mode"), [(".mp4", 9), (".webm", 9), (".mov", 1)])
def test_a_stereo_mode_without_a_place_is_named(tmp_path: Path, double: Upscaler, suffix: str, mode: int) -> None:
    source = matroska_with(tmp_path, STEREO + bytes([mode]), [flat((100, 128, 128))] * 2)
    report = upscale_video(source, tmp_path / f"out{suffix}", double)
    assert [w for w in report.warnings if "stereo mode" in w]


def test_frame_packing_of_h264_is_kept(tmp_path: Path, double: Upscaler) -> None:
    options = LOSSLESS | {"x264-params": "frame-packing=3"}
    source = write_video(tmp_path / "in.mp4", [flat((100, 128, 128))] * 2, codec="libx264", options=options)
    upscale_video(source, tmp_path / "out.mkv", double)
    assert tags_of(tmp_path / "out.mkv")["STEREO3D"] == (1).to_bytes(4, "little")


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_the_tags_of_the_known_file(tmp_path: Path, double: Upscaler, name: str) -> None:
    upscale_video(shared("vr180.mp4"), tmp_path / name, double)
    assert tags_of(tmp_path / name) == {"SPHERICAL": bytes(4), "STEREO3D": (1).to_bytes(4, "little")}


# --- encrypted -------------------------------------------------------------------------------------------------------


def refused(source: Path, upscaler: Upscaler) -> str:
    with pytest.raises(VideoError) as caught:
        upscale_video(source, source.with_name("out.mkv"), upscaler, warn=lambda text: pytest.fail(text))
    assert not list(source.parent.glob("*.part"))
    return str(caught.value)


def test_an_encrypted_file_is_called_encrypted(tmp_path: Path, double: Upscaler) -> None:
    source = tmp_path / "enc.mp4"
    source.write_bytes(shared("enc.mp4").read_bytes())
    assert refused(source, double) == f"{source} is encrypted. Only a copy without encryption can be upscaled."


def test_a_scrambled_broadcast_is_called_encrypted(tmp_path: Path, double: Upscaler) -> None:
    frames = [flat((100, 128, 128), 640, 480)] * 3
    source = write_video(tmp_path / "in.ts", frames, codec="libx264", options=LOSSLESS)
    data = bytearray(source.read_bytes())
    generator = np.random.default_rng(0)
    for start in range(0, len(data), 188):
        if (data[start + 1] & 0x1F, data[start + 2]) == (1, 0):  # the video stream
            data[start + 3] |= 0x80
            data[start + 12 : start + 188] = generator.integers(0, 256, 176, np.uint8).tobytes()
    source.write_bytes(data)
    with pytest.raises(VideoError, match="is encrypted"):
        upscale_video(source, tmp_path / "out.mkv", double, warn=lambda text: None)


# ContentEncodings (RFC 9559, 5.1.4.1.31): AES, with the key 01 02 03 04 05.
CONTENT_ENCRYPTION = bytes.fromhex("6d809e 62409b 50318100 50328101 50338101 50358c 47e18105 47e285 0102030405")


def matroska_with_encrypted(path: Path, kind: str) -> Path:
    """A Matroska file of video and sound, one of which has a ContentEncryption in the place of its title."""
    rich_file(path, audio=("aac",), subtitle=None)
    padding = "x" * 60
    with av.open(str(path)) as source, av.open(str(path.with_name("titled.mkv")), "w") as target:
        copies = {}
        for stream in source.streams:
            copies[stream.index] = target.add_stream_from_template(stream)
            copies[stream.index].metadata["title"] = padding if stream.type == kind else "clear"
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                target.mux(packet)
    data = path.with_name("titled.mkv").read_bytes()
    name = b"\x53\x6e" + bytes([0x80 | len(padding)]) + padding.encode()
    assert data.count(name) == 1
    void = len(name) - len(CONTENT_ENCRYPTION) - 2
    path.write_bytes(data.replace(name, CONTENT_ENCRYPTION + b"\xec" + bytes([0x80 | void]) + bytes(void)))
    return path


def test_encrypted_video_in_matroska_is_called_encrypted(tmp_path: Path, double: Upscaler) -> None:
    source = matroska_with_encrypted(tmp_path / "in.mkv", "video")
    assert refused(source, double) == f"{source} is encrypted. Only a copy without encryption can be upscaled."


@pytest.mark.parametrize("source_name", ["in.mkv", "in.mp4"])
@pytest.mark.parametrize("target", ["out.mkv", "out.mp4", "out.webm"])
def test_encrypted_sound_is_named_and_not_copied_as_noise(
    tmp_path: Path, double: Upscaler, source_name: str, target: str
) -> None:
    source = tmp_path / source_name
    if source.suffix == ".mkv":
        matroska_with_encrypted(source, "audio")
    else:
        source.write_bytes(with_encrypted(recording(1, format="mp4"), b"mp4a"))
    report = upscale_video(source, tmp_path / target, double)
    assert [w for w in report.warnings if w.startswith("Audio stream 1") and w.endswith("dropped: it is encrypted.")]
    with av.open(str(tmp_path / target)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    assert report.complete


# --- pixel shapes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 117_440_513), (117_440_513, 1), (2**31 - 1, 2**31 - 2)])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm", ".mov"])
def test_absurd_pixel_shapes_do_not_end_the_job(
    tmp_path: Path, double: Upscaler, shape: tuple[int, int], suffix: str
) -> None:
    source = write_video(
        tmp_path / "in.mp4", [flat((100, 128, 128))] * 2, codec="libx264", options=LOSSLESS, sar=Fraction(4, 3)
    )
    box = b"pasp" + (4).to_bytes(4, "big") + (3).to_bytes(4, "big")
    patched(source, (box, b"pasp" + b"".join(side.to_bytes(4, "big") for side in shape)))
    report = upscale_video(source, tmp_path / f"out{suffix}", double)
    assert report.frames == 2
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert round(float(container.streams.video[0].sample_aspect_ratio or 1), 2) == 1


# --- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["from_rgb", "to_rgb"])
@pytest.mark.parametrize("error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()])
def test_memory_that_runs_out_between_the_tiles_is_one_sentence(
    tmp_path: Path, double: Upscaler, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(f"supertile.video.frame_upscaler.{where}", fail)
    source = write_video(tmp_path / "in.mkv", [flat((100, 128, 128))] * 2, codec="libx264")
    with pytest.raises(OutOfMemoryError, match="not enough memory for frames of 128x96 pixels"):
        upscale_video(source, tmp_path / "out.mkv", double)
    assert [file.name for file in tmp_path.iterdir()] == ["in.mkv"]
