"""Which encoder writes a video, in which pixel format, with which options.

What a frame holds is kept where the codec can hold it: depth, subsampling, gray, RGB, alpha. Where it cannot, the
nearest that can is taken, and a warning names what is lost.

Images of odd size: 4:2:0 of H.264 and H.265 cannot have them, not even by cropping, which their bitstreams count in
whole chroma samples; and cropping by the container is ignored by most players. Trimming is not done either. They are
written as 4:2:2 or 4:4:4, whichever of them holds the size. AV1, VP9, ProRes and FFV1 take odd sizes as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from typing import cast

import av

from ..container import CONTAINERS, SUFFIXES
from ..errors import VideoError
from ..frames import Color, FrameFormat, Layout, StaticHdr
from .encoder_options import PRESETS, EncoderOptions, ffmpeg_options, holds_static_hdr, thread_count
from .planes import FORMATS, NVENC_444_10, WrittenFormat

_log = logging.getLogger(__name__)
Warn = Callable[[str], None]

SOFTWARE = {
    "h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9", "prores": "prores_ks", "ffv1": "ffv1"
}  # fmt: skip
HARDWARE = {"h264_nvenc": "h264", "hevc_nvenc": "hevc", "av1_nvenc": "av1"}
CODECS = ("auto", *SOFTWARE, *HARDWARE)

_SMALLEST = {"libx265": 16, "libsvtav1": 4}  # pixels a side, below which opening the encoder fails
_EVEN_420 = ("libx264", "libx265", "h264_nvenc", "hevc_nvenc", "av1_nvenc")

# Pixel formats chosen from by themselves ("auto"). Others that an encoder takes can be asked for by name.
_YUV = tuple(f"yuv{chroma}p{bits}" for chroma in ("420", "422", "444") for bits in ("", "10le", "12le"))
_AUTO = {
    "libx264": (*_YUV, "gray", "gray10le"),
    "libx265": (*_YUV, "gray", "gray10le", "gray12le"),
    "libsvtav1": ("yuv420p", "yuv420p10le"),
    "libvpx-vp9": (*_YUV, "yuva420p"),
    "prores_ks": ("yuv422p10le", "yuv444p10le", "yuva444p10le"),
    "ffv1": tuple(name for name, format in FORMATS.items() if format.packing != "semi" and name != "rgb24"),
    "h264_nvenc": ("yuv420p", "yuv444p"),
    "hevc_nvenc": ("yuv420p", "p010le", "yuv444p", "yuv444p16le"),
    "av1_nvenc": ("yuv420p", "p010le"),
}
_SITINGS = {
    "libx264": ("left", "center", "topleft"), "libx265": ("left", "center", "topleft"), "libsvtav1": ("left", "topleft")
}  # fmt: skip
_ASKED = {"libx264": ("rgb24",), "libx265": ("gbrp", "gbrp10le", "gbrp12le"), "libvpx-vp9": ("gbrp",)}


@dataclass(frozen=True)
class Encoding:
    """An encoder with its options, and the format in which it takes frames."""

    codec: str  # "h264", "hevc", "av1", "vp9", "prores" or "ffv1"
    encoder: str  # FFmpeg's name
    container: str  # FFmpeg's name of the muxer
    pixel_format: WrittenFormat
    frames: FrameFormat
    options: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    container_hdr: StaticHdr | None = None  # for the muxer to write, where the encoder does not
    codec_tag: str | None = None


def choose_encoder(
    frames: FrameFormat,
    container: str,
    options: EncoderOptions = EncoderOptions(),
    *,
    hdr: StaticHdr = StaticHdr(),
    warn: Warn = _log.warning,
) -> Encoding:
    """Choose the encoder for frames in a container, its pixel format and its options.

    Args:
        frames: the frames to be written. `Encoding.frames` is the format the encoder wants them converted to.
        container: one of CONTAINERS, FFmpeg's muxer name.
        options: as the user chose them. "auto" is the first codec of the container; more than 8 bits in WebM become
            AV1 if this build of the VP9 encoder has 8 bits only. If a hardware encoder cannot be opened, the
            software encoder of the same codec is used. ProRes and FFV1 have no presets.
        hdr: static metadata, written into the stream by the encoder or else by the muxer.
        warn: called with one sentence for each property that cannot be kept.

    Raises:
        VideoError: codec, container, pixel format and size do not fit together; the message lists what does.
    """
    wanted, width, height = frames.layout, frames.width, frames.height
    _check_arguments(options, container)
    codec = options.codec
    if codec == "auto":
        codec = _auto_codec(container, wanted)
    base = HARDWARE.get(codec, codec)
    if base not in CONTAINERS[container]:
        holds = ", ".join(CONTAINERS[container])
        elsewhere = ", ".join(SUFFIXES[name] for name, codecs in CONTAINERS.items() if base in codecs)
        raise VideoError(
            f"{SUFFIXES[container]} files hold no {base} here: take one of {holds}, or write {elsewhere} instead."
        )

    encoder = SOFTWARE[base]
    if codec in HARDWARE:
        if (reason := why_not_available(codec)) is None:
            encoder = codec
        else:
            warn(f"{codec} cannot be used here ({reason}): {SOFTWARE[base]} encodes instead.")
    smallest = _SMALLEST.get(encoder, 160 if encoder in HARDWARE else 1)
    if min(width, height) < smallest:
        others = ", ".join(c for c in CONTAINERS[container] if _SMALLEST.get(SOFTWARE[c], 1) <= min(width, height))
        raise VideoError(
            f"{encoder} takes images from {smallest}x{smallest} pixels, not {width}x{height}"
            + (f"; in {SUFFIXES[container]} these do: {others}." if others else ".")
        )

    format = _choose_format(encoder, container, frames, options.pixel_format, warn)
    if format.name == "rgb24" and encoder == "libx264":
        encoder = "libx264rgb"
    layout = format.layout
    if wanted.model == "gray" and layout.model == "yuv":
        layout = Layout("gray", layout.depth, alpha=layout.alpha)
    color = _color_in(format.layout, layout, frames, encoder, base, container)
    return Encoding(
        codec=base,
        encoder=encoder,
        container=container,
        pixel_format=format,
        frames=FrameFormat(width, height, layout, color),
        options=ffmpeg_options(encoder, FrameFormat(width, height, format.layout, color), hdr, options),
        threads=thread_count(),
        container_hdr=None if holds_static_hdr(encoder) or hdr == StaticHdr() else hdr,
        codec_tag="hvc1" if base == "hevc" and container in ("mp4", "mov") else None,  # Apple plays no hev1
    )


@cache
def why_not_available(encoder: str) -> str | None:
    """Why an encoder cannot be used on this machine, found by opening it at 256x256; None when it can."""
    try:
        context = cast("av.VideoCodecContext", av.CodecContext.create(encoder, "w"))
        context.width = context.height = 256
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, 25)
        context.open()
    except (av.error.FFmpegError, OSError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    return None


def _check_arguments(options: EncoderOptions, container: str) -> None:
    if options.codec not in CODECS:
        raise VideoError(f"Codec {options.codec!r} is not known; these are: {', '.join(CODECS)}.")
    if container not in CONTAINERS:
        raise VideoError(f"Container {container!r} is not known; these are: {', '.join(CONTAINERS)}.")
    if not 1 <= options.quality <= 100:
        raise VideoError(f"Quality must be from 1 to 100, not {options.quality}.")
    if options.preset not in PRESETS:
        raise VideoError(f"Preset {options.preset!r} is not known; these are: {', '.join(PRESETS)}.")


def _auto_codec(container: str, wanted: Layout) -> str:
    if container == "webm" and wanted.depth > 8 and "yuv420p10le" not in formats_of("libvpx-vp9"):
        return "av1"
    return CONTAINERS[container][0]


@cache
def formats_of(encoder: str) -> dict[str, WrittenFormat]:
    """The pixel formats that this build of the encoder takes and we can fill, by name."""
    names = {format.name for format in av.codec.Codec(encoder, "w").video_formats or ()}
    known = {name: FORMATS[name] for name in (*_AUTO[encoder], *_ASKED.get(encoder, ())) if name in names}
    if "yuv444p16le" in known and encoder.endswith("_nvenc"):
        known["yuv444p16le"] = NVENC_444_10
    if encoder == "libx264" and "rgb24" in {f.name for f in av.codec.Codec("libx264rgb", "w").video_formats or ()}:
        known["rgb24"] = FORMATS["rgb24"]
    return known


def _choose_format(encoder: str, container: str, frames: FrameFormat, name: str, warn: Warn) -> WrittenFormat:
    """Return the pixel format of that name, or the one that loses least for "auto"."""
    wanted, width, height = frames.layout, frames.width, frames.height
    known = formats_of(encoder)

    def fits(format: WrittenFormat) -> bool:
        x, y = format.layout.subsampling
        if encoder in _EVEN_420 and (width % (1 << x) or height % (1 << y)):
            return False
        # Alpha of VP9 travels beside the image, in blocks only Matroska has.
        return not (encoder == "libvpx-vp9" and format.layout.alpha and container == "mp4")

    if name != "auto":
        if name not in known:
            raise VideoError(f"{encoder} takes no pixel format {name!r}; it takes: auto, {', '.join(known)}.")
        if not fits(known[name]):
            why = "which holds no alpha" if known[name].layout.alpha else f"not at the odd size {width}x{height}"
            raise VideoError(f"{encoder} cannot write {name} into {SUFFIXES[container]} here, {why}.")
        return known[name]

    auto = [known[name] for name in _AUTO[encoder] if name in known]
    if encoder != "ffv1" and wanted.model == "gray" and width % 2 == height % 2 == 0:
        # 4:0:0 is played by few decoders: gray goes into 4:2:0, with the chroma of gray.
        auto = [format for format in auto if format.layout.model != "gray"]
    best = min((f for f in auto if fits(f)), key=lambda format: _distance(wanted, format.layout))
    if not fits(ideal := min(auto, key=lambda f: _distance(replace(wanted, alpha=False), f.layout))):
        chroma = "4:2:2" if best.layout.subsampling == (1, 0) else "4:4:4"
        if best.layout.model == "yuv":
            warn(
                f"{encoder} writes {width}x{height} in {chroma}: {ideal.name} needs even sizes, and nothing is cut "
                "off. Some players show 4:2:0 only."
            )
    for loss in _losses(wanted, best.layout):
        warn(f"{loss}: {encoder} in {SUFFIXES[container]} holds no better than {best.name}.")
    return best


def _chroma(layout: Layout) -> tuple[int, int]:
    return layout.subsampling if layout.model == "yuv" else (0, 0)


def _distance(wanted: Layout, offered: Layout) -> tuple[int, ...]:
    """Sorts formats: what is lost first, then what is written beyond need. Gray in a "yuv" format loses nothing."""
    model_lost = (wanted.model, offered.model) in (("yuv", "gray"), ("rgb", "gray"), ("yuv", "rgb"))
    lost_chroma = [max(0, o - w) for o, w in zip(_chroma(offered), _chroma(wanted), strict=True)]
    if wanted.model == "gray":
        lost_chroma = [0, 0]
    return (
        int(model_lost),
        int(wanted.alpha and not offered.alpha),
        max(0, wanted.depth - offered.depth),
        sum(lost_chroma),
        int(offered.model != wanted.model and wanted.model in ("rgb", "gray")),
        max(0, offered.depth - wanted.depth),
        int(offered.alpha and not wanted.alpha),
        int(wanted.model == "gray" and offered.model == "rgb"),
        -sum(_chroma(offered)) if wanted.model == "gray" else sum(_chroma(wanted)) - sum(_chroma(offered)),
    )


def _losses(wanted: Layout, offered: Layout) -> list[str]:
    losses = []
    if wanted.alpha and not offered.alpha:
        losses.append("Alpha dropped")
    if offered.depth < wanted.depth:
        losses.append(f"{wanted.depth} bits become {offered.depth}")
    if wanted.model != "gray" and any(o > w for o, w in zip(_chroma(offered), _chroma(wanted), strict=True)):
        losses.append("Color loses resolution")
    return losses


def _color_in(format: Layout, layout: Layout, frames: FrameFormat, encoder: str, codec: str, container: str) -> Color:
    """Return the color to be written: RGB that becomes YUV gets a matrix, and siting is one the stream can signal."""
    wanted, color = frames.layout, frames.color
    if layout.model == "rgb":
        return replace(color, matrix=0, full_range=True)
    if wanted.model == "rgb" or color.matrix == 0:
        # RGB images are sRGB where nothing else is said (IEC 61966-2-1), and BT.709 has its primaries.
        hdr = color.primaries == 9
        color = replace(
            color,
            matrix=9 if hdr else 1,
            full_range=False,
            primaries=1 if color.primaries == 2 else color.primaries,
            transfer=13 if color.transfer == 2 else color.transfer,
        )
    if format.subsampling == (1, 1):
        if color.siting not in _SITINGS.get(encoder, ("left",)):
            color = replace(color, siting="left")
    elif format.subsampling == (1, 0):
        color = replace(color, siting="left")
    if codec == "ffv1" and container == "mp4" and color.primaries == 2:
        # Its stream has no tags, and MP4's atom for color is written whole or not at all.
        primaries, transfer = {5: (5, 6), 6: (6, 6), 9: (9, 14), 7: (7, 7)}.get(color.matrix, (1, 1))
        known = color.transfer if color.transfer != 2 else transfer
        color = replace(color, primaries=primaries, transfer=known)
    if codec == "prores" and color.full_range:
        color = replace(color, full_range=False)  # its decoders know limited range only
    return color
