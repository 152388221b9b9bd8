"""Make the valid files that the fuzzer changes: checkpoints, images and videos, each small, of every common kind."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import save_file
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig

KINDS = ("checkpoint", "image", "video")


def make_seeds(folder: Path) -> dict[str, list[Path]]:
    """Write all seeds into `folder`, by kind."""
    made: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for kind, make in zip(KINDS, (_checkpoints, _images, _videos), strict=True):
        place = folder / kind
        place.mkdir(parents=True)
        made[kind] = sorted(make(place))
    return made


# --- checkpoints -------------------------------------------------------------------------------------------------


class _Canary:
    """A pickle that leaves a file behind if anything in it is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def canary(folder: Path) -> Path:
    """Return the folder that appears if code in a checkpoint below `folder` was run."""
    return folder / "code-was-run"


def _checkpoints(folder: Path) -> Iterator[Path]:
    torch.manual_seed(0)
    hat = HATConfig(
        scale=2, embed_dim=12, depths=(1,), num_heads=(2,), window_size=4, overlap_window=6, compress_dim=4,
        squeeze_dim=2, mlp_dim=24, oca_mlp_dim=24, num_feat=8,
    )  # fmt: skip
    hit = HiTSRConfig(
        scale=2, embed_dim=16, depths=(3,), num_heads=(2,), window_ratios=(0.5, 1, 2), mlp_dim=16, num_feat=8
    )
    vapsr = VapSRConfig(scale=2, num_feat=8, num_blocks=1, attention_dim=8)
    for name, network in (("hat", HAT(hat)), ("hit", HiTSR(hit)), ("vapsr", VapSR(vapsr))):
        weights = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
        yield _save(folder / f"{name}.safetensors", lambda path, w=weights: save_file(w, path, {"license": "none"}))
        yield _save(folder / f"{name}.pth", lambda path, w=weights: torch.save({"params_ema": w}, path))
    half = {f"net_g.{key}": tensor.half() for key, tensor in VapSR(vapsr).state_dict().items()}
    yield _save(folder / "half.safetensors", lambda path: save_file(half, path))
    legacy = {"state_dict": VapSR(vapsr).state_dict(), "epoch": np.float64(3.5), "callbacks": {"best": (1, 2.5)}}
    yield _save(folder / "legacy.pth", lambda path: torch.save(legacy, path, _use_new_zipfile_serialization=False))
    hostile = {"params": VapSR(vapsr).state_dict(), "run": _Canary(canary(folder.parent))}
    yield _save(folder / "hostile.pth", lambda path: torch.save(hostile, path))
    yield _save(folder / "hostile.pt", lambda path: path.write_bytes(pickle.dumps(hostile)))


def _save(path: Path, write: object) -> Path:
    write(path)  # type: ignore[operator]
    return path


# --- images ------------------------------------------------------------------------------------------------------


def _pixels(height: int = 21, width: int = 30) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = [0.5 + 0.5 * np.sin(x / (3 + c)) * np.cos(y / (4 + c)) for c in range(4)]
    return np.round(255 * np.stack(waves, -1)).astype(np.uint8)


def _images(folder: Path) -> Iterator[Path]:
    rgba = Image.fromarray(_pixels(), "RGBA")
    rgb, gray = rgba.convert("RGB"), rgba.convert("L")
    exif = Image.Exif()
    exif[274], exif[305] = 6, "seed"
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "steps: 20", zip=True)
    text.add_itxt("prompt", '{"1": {}}')
    saves: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "rgb.png": (rgb, {"pnginfo": text, "exif": exif, "dpi": (72, 72)}),
        "rgba.png": (rgba, {}),
        "gray.png": (gray, {}),
        "palette.png": (rgb.quantize(16), {"transparency": 3}),
        "sixteen.png": (Image.fromarray(_pixels()[..., 0].astype(np.uint16) * 257), {}),
        "baseline.jpg": (rgb, {"quality": 80, "exif": exif, "comment": b"seed"}),
        "progressive.jpg": (rgb, {"progressive": True}),
        "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "lossy.webp": (rgba, {"quality": 60}),
        "lossless.webp": (rgba, {"lossless": True}),
        "plain.tif": (rgb, {}),
        "deflate.tif": (rgb, {"compression": "tiff_adobe_deflate", "exif": exif}),
        "lzw.tif": (gray, {"compression": "tiff_lzw"}),
        "colors.bmp": (rgb, {}),
        "colors.ppm": (rgb, {}),
        "colors.tga": (rgba, {}),
        "still.gif": (rgb, {}),
        "color.avif": (rgb, {"quality": 60}),
        "color.jp2": (rgb, {}),
    }
    for name, (image, options) in saves.items():
        image.save(folder / name, **options)
        yield folder / name
    frames = [Image.fromarray(np.roll(_pixels(), shift, 1), "RGBA") for shift in (1, 2, 3)]
    for name in ("moving.gif", "moving.png", "moving.webp"):
        rgba.save(folder / name, save_all=True, append_images=frames, duration=40)
        yield folder / name


# --- videos ------------------------------------------------------------------------------------------------------


def _videos(folder: Path) -> Iterator[Path]:
    kinds = {
        "h264_aac.mp4": ("libx264", "yuv420p", "aac"),
        "h264_aac.ts": ("libx264", "yuv420p", "aac"),
        "hevc_pcm.mkv": ("libx265", "yuv420p10le", "pcm_s16le"),
        "vp9_opus.webm": ("libvpx-vp9", "yuva420p", "libopus"),
        "mjpeg_pcm.avi": ("mjpeg", "yuvj420p", "pcm_s16le"),
        "mpeg2_mp2.mpg": ("mpeg2video", "yuv420p", "mp2"),
        "prores_pcm.mov": ("prores_ks", "yuv422p10le", "pcm_s16le"),
        "ffv1.mkv": ("ffv1", "yuv444p", None),
    }
    for name, (video, layout, audio) in kinds.items():
        yield _video(folder / name, video, layout, audio)
    yield _raw(folder / "raw.h264")


def _video(path: Path, codec: str, layout: str, audio: str | None) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, layout
        sound = None if audio is None else container.add_stream(audio, rate=48000)
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(_pixels(64, 64)[..., :3] // 2 + 9 * number, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=layout)))
        container.mux(stream.encode(None))
        if sound is not None:
            _tone(container, sound)
    return path


def _tone(container: av.container.OutputContainer, sound: av.AudioStream) -> None:
    samples = (0.2 * np.sin(np.arange(9600) / 20)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.stack([samples, samples]), format="fltp", layout="stereo")
    frame.sample_rate = 48000
    resampler = av.AudioResampler(sound.format, sound.layout, 48000, frame_size=sound.codec_context.frame_size or None)
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        container.mux(sound.encode(part))
    container.mux(sound.encode(None))


def _raw(path: Path) -> Path:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(_pixels(64, 64)[..., :3] // 2 + 9 * number, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    path.write_bytes(buffer.getvalue())
    return path
