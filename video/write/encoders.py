"""Choose the encoder of a video, its pixel format and its options.

Depth, chroma subsampling, gray, RGB and alpha are kept if the codec can hold them. Otherwise the nearest pixel format
is chosen, and a warning names the loss.

H.264 and H.265 are written in 4:2:0, because browsers, TVs and phones show nothing else. Other chroma is kept if the
pixel format is chosen by name.

Odd sizes: H.264 and H.265 cannot hold them in 4:2:0, not even by cropping, which their bitstreams count in whole chroma
samples, and most players ignore cropping by the container. Frames are never trimmed, so they are written in 4:2:2 or
4:4:4, whichever fits the size. AV1, VP9, ProRes and FFV1 hold odd sizes.
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
from ..priority import not_in_real_time
from .encoder_options import PRESETS, EncoderOptions, ffmpeg_options, holds_static_hdr, thread_count
from .planes import FORMATS, NVENC_444_10, WrittenFormat

_log = logging.getLogger(__name__)
Warn = Callable[[str], None]

SOFTWARE = {
    "h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9", "prores": "prores_ks", "ffv1": "ffv1"
}  # fmt: skip
HARDWARE = {"h264_nvenc": "h264", "hevc_nvenc": "hevc", "av1_nvenc": "av1"}
CODECS = ("auto", *SOFTWARE, *HARDWARE)

_MIN_SIDE = {"libx265": 16, "libsvtav1": 4}  # pixels
_PLAYED_IN_420 = ("h264", "hevc")
_EVEN_420 = ("libx264", "libx265", "h264_nvenc", "hevc_nvenc", "av1_nvenc")

# Pixel formats that "auto" chooses from.
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
# Further pixel formats that can be chosen by name.
_BY_NAME = {"libx264": ("rgb24",), "libx265": ("gbrp", "gbrp10le", "gbrp12le"), "libvpx-vp9": ("gbrp",)}


@dataclass(frozen=True)
class Encoding:
    """An encoder with its options, and the format in which it takes frames."""

    codec: str  # one of SOFTWARE
    encoder: str  # FFmpeg's name
    container: str  # FFmpeg's name of the muxer
    pixel_format: WrittenFormat
    frames: FrameFormat
    options: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    container_hdr: StaticHdr | None = None  # written by the muxer, if the encoder does not
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
    base = codec_of(container, options, wanted)
    if base not in CONTAINERS[container]:
        holds = ", ".join(CONTAINERS[container])
        elsewhere = ", ".join(SUFFIXES[name] for name, codecs in CONTAINERS.items() if base in codecs)
        raise VideoError(
            f"{SUFFIXES[container]} files cannot hold {base}. Choose one of {holds}, or write to {elsewhere}."
        )

    encoder = SOFTWARE[base]
    if codec in HARDWARE:
        if (reason := why_not_available(codec)) is None:
            encoder = codec
        else:
            warn(f"{codec} cannot be opened ({reason}). {SOFTWARE[base]} is used instead.")
    smallest = _MIN_SIDE.get(encoder, 160 if encoder in HARDWARE else 1)
    if min(width, height) < smallest:
        others = ", ".join(c for c in CONTAINERS[container] if _MIN_SIDE.get(SOFTWARE[c], 1) <= min(width, height))
        raise VideoError(
            f"{encoder} needs frames of at least {smallest}x{smallest} pixels, not {width}x{height}."
            + (f" Codecs for smaller frames in {SUFFIXES[container]}: {others}." if others else "")
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
        frames=replace(frames, layout=layout, color=color),
        options=ffmpeg_options(encoder, FrameFormat(width, height, format.layout, color), hdr, options),
        threads=thread_count(),
        container_hdr=None if holds_static_hdr(encoder) or hdr == StaticHdr() else hdr,
        codec_tag="hvc1" if base == "hevc" and container in ("mp4", "mov") else None,  # Apple does not play hev1
    )


@cache
def why_not_available(encoder: str) -> str | None:
    """Return why an encoder cannot be opened at 256x256 on this machine; None if it can."""
    try:
        context = cast("av.VideoCodecContext", av.CodecContext.create(encoder, "w"))
        context.width = context.height = 256
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, 25)
        with not_in_real_time():
            context.open()
    except (av.error.FFmpegError, OSError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    return None


def _check_arguments(options: EncoderOptions, container: str) -> None:
    if options.codec not in CODECS:
        raise VideoError(f"Unknown codec {options.codec!r}. Choose one of {', '.join(CODECS)}.")
    if container not in CONTAINERS:
        raise VideoError(f"Unknown container {container!r}. Choose one of {', '.join(CONTAINERS)}.")
    if not 1 <= options.quality <= 100:
        raise VideoError(f"Quality must be from 1 to 100, not {options.quality}.")
    if options.preset not in PRESETS:
        raise VideoError(f"Unknown preset {options.preset!r}. Choose one of {', '.join(PRESETS)}.")


def codec_of(container: str, options: EncoderOptions, wanted: Layout) -> str:
    """Return the codec, one of SOFTWARE, that the options mean for frames of a layout in a container."""
    codec = _auto_codec(container, wanted) if options.codec == "auto" else options.codec
    return HARDWARE.get(codec, codec)


def _auto_codec(container: str, wanted: Layout) -> str:
    if container == "webm" and wanted.depth > 8 and "yuv420p10le" not in formats_of("libvpx-vp9"):
        return "av1"
    return CONTAINERS[container][0]


@cache
def formats_of(encoder: str) -> dict[str, WrittenFormat]:
    """Return the pixel formats that this build of the encoder takes and `fill_frame` can fill, by name."""
    names = {format.name for format in av.codec.Codec(encoder, "w").video_formats or ()}
    known = {name: FORMATS[name] for name in (*_AUTO[encoder], *_BY_NAME.get(encoder, ())) if name in names}
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
        # Alpha of VP9 is stored in side blocks that only Matroska has.
        return not (encoder == "libvpx-vp9" and format.layout.alpha and container == "mp4")

    if name != "auto":
        if name not in known:
            raise VideoError(f"{encoder} does not support the pixel format {name!r}. Choose auto, {', '.join(known)}.")
        if not fits(known[name]):
            why = "with alpha" if known[name].layout.alpha else f"at the odd size {width}x{height}"
            raise VideoError(f"{encoder} cannot write {name} to {SUFFIXES[container]} {why}. Choose auto.")
        return known[name]

    auto = [known[name] for name in _AUTO[encoder] if name in known]
    if encoder != "ffv1" and wanted.model == "gray" and width % 2 == height % 2 == 0:
        # Few decoders play 4:0:0, so gray is written as 4:2:0 with neutral chroma.
        auto = [format for format in auto if format.layout.model != "gray"]
    best = min((f for f in auto if fits(f)), key=lambda format: _distance(wanted, format.layout))
    if _is_played_in_420(encoder) and wanted.model != "gray":
        playable = replace(wanted, model="yuv", subsampling=(1, 1), alpha=False)
    else:
        playable = replace(wanted, alpha=False)
    ideal = min(auto, key=lambda format: _distance(playable, format.layout))
    if fits(ideal) and any(i > b for i, b in zip(_chroma(ideal.layout), _chroma(best.layout), strict=True)):
        warn(
            "Chroma becomes 4:2:0, because most players show H.264 and HEVC in nothing else. To keep its resolution, "
            f"choose the pixel format {best.name} (--pixel-format) or another codec."
        )
        wanted, best = replace(playable, alpha=wanted.alpha), ideal
    if not fits(ideal):
        chroma = "4:2:2" if best.layout.subsampling == (1, 0) else "4:4:4"
        if best.layout.model == "yuv":
            warn(
                f"{encoder} writes {width}x{height} in {chroma}, because {ideal.name} needs even sizes. Many players "
                f"support 4:2:0 only: for them choose {width + width % 2}x{height + height % 2}."
            )
    for loss in _losses(wanted, best.layout):
        warn(f"{loss}: {best.name} is the closest pixel format of {encoder} in {SUFFIXES[container]}.")
    return best


def _is_played_in_420(encoder: str) -> bool:
    return HARDWARE.get(encoder) in _PLAYED_IN_420 or encoder in {SOFTWARE[codec] for codec in _PLAYED_IN_420}


def _chroma(layout: Layout) -> tuple[int, int]:
    return layout.subsampling if layout.model == "yuv" else (0, 0)


def _distance(wanted: Layout, offered: Layout) -> tuple[int, ...]:
    """Return a sort key: losses first, then unneeded data. Gray in a "yuv" format loses nothing."""
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
        losses.append("Chroma loses resolution")
    return losses


def _color_in(format: Layout, layout: Layout, frames: FrameFormat, encoder: str, codec: str, container: str) -> Color:
    """Return the color to be written: RGB that becomes YUV gets a matrix, and siting is one the stream can signal."""
    wanted, color = frames.layout, frames.color
    if layout.model == "rgb":
        return replace(color, matrix=0, full_range=True)
    if wanted.model == "rgb" or color.matrix == 0:
        # Untagged RGB is sRGB (IEC 61966-2-1), whose primaries are those of BT.709.
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
        # Its stream has no tags, and MP4's color atom is written complete or not at all.
        primaries, transfer = {5: (5, 6), 6: (6, 6), 9: (9, 14), 7: (7, 7)}.get(color.matrix, (1, 1))
        known = color.transfer if color.transfer != 2 else transfer
        color = replace(color, primaries=primaries, transfer=known)
    if codec == "prores" and color.full_range:
        color = replace(color, full_range=False)  # its decoders assume limited range
    return color
