"""Encoder options: one scale of quality and presets for all codecs, translated to the options of each encoder.

Quality is 1 to 100 for every codec. 90, the default, is visually indistinguishable from the source:

    quality     100   90   75   50   25    1
    h264 crf      4   17   23   30   38   51    libx264, 10 bits too
    hevc crf      4   18   24   31   39   51    libx265
    av1 crf       6   20   30   42   53   63    libsvtav1
    vp9 crf       4   18   29   41   52   63    libvpx-vp9, constant quality
    nvenc cq      5   19   25   32   40   51    variable bit rate under constant quality
    prores       4:2:2: from 80 HQ, from 60 standard, from 30 LT, below it proxy; 4:4:4: from 95 XQ
    ffv1         always lossless
"""

from __future__ import annotations

import os
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction

from ..frames import FrameFormat, Layout, StaticHdr

_QUALITIES = (1, 25, 50, 75, 90, 100)
_CRF = {
    "libx264": (51, 38, 30, 23, 17, 4),
    "libx264rgb": (51, 38, 30, 23, 17, 4),
    "libx265": (51, 39, 31, 24, 18, 4),
    "libsvtav1": (63, 53, 42, 30, 20, 6),
    "libvpx-vp9": (63, 52, 41, 29, 18, 4),
    "nvenc": (51, 40, 32, 25, 19, 5),
}

# From the fastest to the one with the smallest files, with x264's names.
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_SVT_PRESET = (12, 11, 10, 9, 9, 8, 6, 4, 2)
_VP9_CPU_USED = (5, 5, 5, 4, 3, 2, 1, 1, 0)
_NVENC_PRESET = (1, 1, 2, 3, 4, 5, 6, 7, 7)

# Look-ahead is shortened for frames of more pixels than these. So x264's "medium" needs 0.8 GB at 3840x2160 and 2.3 GB
# at 7680x4320, instead of 1.3 and 5 GB with its usual 40 frames.
_LARGE = 2560 * 1440
_HUGE = 4096 * 2304
_MAX_THREADS = 16  # each frame thread keeps frames in memory

# x265's CU tree writes whole vectors into a row of one number for 16 pixels; in narrower frames it corrupts the heap.
_MIN_CU_TREE_WIDTH = 64


@dataclass(frozen=True)
class EncoderOptions:
    """How a video is encoded. The defaults suit most uses.

    Attributes:
        codec: "h264", "hevc", "av1", "vp9", "prores", "ffv1", one of "h264_nvenc", "hevc_nvenc" and "av1_nvenc", or
            "auto": the first codec that the container holds (H.264; VP9 in WebM).
        quality: 1 to 100, one scale for all codecs. 90 is visually indistinguishable from the source.
        preset: "ultrafast" (fastest) to "veryslow" (smallest file), as in x264.
        pixel_format: FFmpeg's name, such as "yuv420p10le". "auto" keeps depth, chroma subsampling and alpha of the
            source where the codec can hold them; H.264 and H.265 are 4:2:0, so that they play.
        bit_depth: bits per sample for `pixel_format="auto"`. None keeps those of the source.
    """

    codec: str = "auto"
    quality: float = 90
    preset: str = "medium"
    pixel_format: str = "auto"
    bit_depth: int | None = None


def ffmpeg_options(encoder: str, frames: FrameFormat, hdr: StaticHdr, options: EncoderOptions) -> dict[str, str]:
    """Return FFmpeg's option strings of an encoder for frames of a format."""
    layout, pixels = frames.layout, frames.width * frames.height
    if encoder in ("libx264", "libx264rgb"):
        return _x264(encoder, frames, hdr, options)
    if encoder == "libx265":
        return _x265(frames, hdr, options)
    if encoder == "libsvtav1":
        return _svt(frames, hdr, options)
    if encoder == "libvpx-vp9":
        return _vp9(frames, options)
    if encoder == "prores_ks":
        return {"profile": _prores_profile(layout, options.quality), "vendor": "apl0"}
    if encoder == "ffv1":
        # Version 3 with checksums; its threads work on slices.
        ffv1 = {"level": "3", "slicecrc": "1", "coder": "1"}
        if min(frames.width, frames.height) >= 240:
            ffv1["slices"] = "12" if pixels <= _LARGE else "24"
        return ffv1
    return _nvenc(encoder, layout, options)


def thread_count() -> int:
    """Return the number of encoder threads: one per processor, limited to bound memory on large machines."""
    return max(1, min(os.cpu_count() or 1, _MAX_THREADS))


def holds_static_hdr(encoder: str) -> bool:
    """Return True if the encoder writes static HDR metadata into its stream, False if the container must."""
    return encoder in ("libx264", "libx265", "libsvtav1")


def holds_captions(encoder: str) -> bool:
    """Return True if the encoder writes the closed captions of its frames into its stream."""
    return encoder in ("libx264", "libx264rgb", "libx265", "h264_nvenc", "hevc_nvenc")


def crf(encoder: str, quality: float) -> float:
    """Return the encoder's own number for a quality, interpolated linearly between the columns of the table above."""
    values = _CRF["nvenc" if encoder.endswith("_nvenc") else encoder]
    right = max(1, bisect_left(_QUALITIES, quality))
    low, high = _QUALITIES[right - 1], _QUALITIES[right]
    share = (quality - low) / (high - low)
    return round(values[right - 1] + share * (values[right] - values[right - 1]), 1)


def _look_ahead(pixels: int, normal: int) -> int:
    return normal if pixels <= _LARGE else min(normal, 20) if pixels <= _HUGE else min(normal, 10)


def _x264(encoder: str, frames: FrameFormat, hdr: StaticHdr, options: EncoderOptions) -> dict[str, str]:
    pixels = frames.width * frames.height
    extra: dict[str, str] = {}
    if pixels > _LARGE:
        normal = {"ultrafast": 0, "superfast": 0, "veryfast": 10, "faster": 20, "fast": 30}.get(options.preset, 40)
        extra["rc-lookahead"] = str(_look_ahead(pixels, normal))
    if (location := _chroma_location(frames)) is not None:
        extra["chromaloc"] = str(location)
    if hdr.mastering:
        extra["mastering-display"] = _mastering_integers(hdr.mastering)
    if hdr.content_light:
        extra["cll"] = "{},{}".format(*hdr.content_light)
    x264 = {"preset": options.preset, "crf": str(crf(encoder, options.quality))}
    return x264 | ({"x264-params": _joined(extra)} if extra else {})


def _x265(frames: FrameFormat, hdr: StaticHdr, options: EncoderOptions) -> dict[str, str]:
    pixels = frames.width * frames.height
    extra = {"log-level": "none"}  # otherwise it writes to stderr
    if pixels > _LARGE:
        normal = {"ultrafast": 5, "superfast": 10}.get(options.preset, 15)
        extra["rc-lookahead"] = str(_look_ahead(pixels, normal))
        extra["frame-threads"] = "2"
    if frames.width < _MIN_CU_TREE_WIDTH:
        extra["cutree"] = "0"
    if (location := _chroma_location(frames)) is not None:
        extra["chromaloc"] = str(location)
    if hdr.mastering:
        extra["master-display"] = _mastering_integers(hdr.mastering)
    if hdr.content_light:
        extra["max-cll"] = "{},{}".format(*hdr.content_light)
    if hdr.mastering or hdr.content_light:
        extra |= {"hdr10": "1", "repeat-headers": "1"}
    return {
        "preset": options.preset,
        "crf": str(crf("libx265", options.quality)),
        "x265-params": _joined(extra),
        "a53cc": "1",
    }


def _svt(frames: FrameFormat, hdr: StaticHdr, options: EncoderOptions) -> dict[str, str]:
    pixels = frames.width * frames.height
    os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes to stderr
    extra: dict[str, str] = {}
    if pixels > _LARGE:
        extra["lookahead"] = "16" if pixels <= _HUGE else "8"
        extra["lp"] = "2"  # of 6 levels of parallelism; higher ones keep more frames
    if frames.layout.subsampling == (1, 1):
        extra["chroma-sample-position"] = "topleft" if frames.color.siting == "topleft" else "left"
    if hdr.mastering:
        extra["mastering-display"] = _mastering_decimals(hdr.mastering)
    if hdr.content_light:
        extra["content-light"] = "{},{}".format(*hdr.content_light)
    svt = {
        "preset": str(_SVT_PRESET[PRESETS.index(options.preset)]),
        "crf": str(round(crf("libsvtav1", options.quality))),
    }
    return svt | ({"svtav1-params": _joined(extra)} if extra else {})


def _vp9(frames: FrameFormat, options: EncoderOptions) -> dict[str, str]:
    columns = max(0, min(4, (max(frames.width, 256) // 256).bit_length() - 1))
    vp9 = {
        "deadline": "good",
        "cpu-used": str(_VP9_CPU_USED[PRESETS.index(options.preset)]),
        "crf": str(round(crf("libvpx-vp9", options.quality))),
        "b": "0",
        "row-mt": "1",
        "tile-columns": str(columns),
        "lag-in-frames": str(_look_ahead(frames.width * frames.height, 25)),
    }
    if frames.layout.alpha:
        vp9["auto-alt-ref"] = "0"  # libvpx cannot have both
    return vp9


def _nvenc(encoder: str, layout: Layout, options: EncoderOptions) -> dict[str, str]:
    nvenc = {
        "preset": f"p{_NVENC_PRESET[PRESETS.index(options.preset)]}",
        "tune": "hq",
        "rc": "vbr",
        "cq": str(crf(encoder, options.quality)),
        "b": "0",
    }
    if encoder == "hevc_nvenc" and layout.subsampling == (0, 0) and layout.model == "yuv":
        nvenc["profile"] = "rext"
    return nvenc


def _prores_profile(layout: Layout, quality: float) -> str:
    if layout.model == "rgb" or layout.alpha or (layout.model == "yuv" and layout.subsampling == (0, 0)):
        return "4444xq" if quality >= 95 else "4444"
    return "hq" if quality >= 80 else "standard" if quality >= 60 else "lt" if quality >= 30 else "proxy"


def _chroma_location(frames: FrameFormat) -> int | None:
    """Return chroma_sample_loc_type of H.264 and H.265 (annex E); None for its default, or other than 4:2:0."""
    if frames.layout.model != "yuv" or frames.layout.subsampling != (1, 1):
        return None
    return {"center": 1, "topleft": 2}.get(frames.color.siting)


def _joined(options: dict[str, str]) -> str:
    return ":".join(f"{key}={value}" for key, value in options.items())


_Mastering = tuple[tuple[Fraction, Fraction], ...]


def _mastering_integers(mastering: _Mastering) -> str:
    """Format in units of the SEI message (H.265 D.3.28): chromaticity 0.00002, luminance 0.0001 cd/m2."""
    *points, light = mastering
    pairs = [tuple(round(v * 50000) for v in point) for point in points] + [tuple(round(v * 10000) for v in light)]
    return "".join(
        "{}({},{})".format(name, *pair) for name, pair in zip(("G", "B", "R", "WP", "L"), pairs, strict=True)
    )


def _mastering_decimals(mastering: _Mastering) -> str:
    names = ("G", "B", "R", "WP", "L")
    return "".join(f"{name}({float(a):.8f},{float(b):.8f})" for name, (a, b) in zip(names, mastering, strict=True))
