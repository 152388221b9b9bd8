"""Decide whether a stream is copied, converted, attached or dropped."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import av
from av.stream import Disposition

from ..container import SUFFIXES
from ..encryption import is_encrypted_stream
from .audio import accepts, standard_layout

# Subtitle codecs that FFmpeg decodes to ASS events, which it can encode to any other.
_TEXT = frozenset({
    "subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text", "microdvd", "subviewer", "subviewer1", "stl", "sami",
    "realtext", "jacosub", "mpl2", "pjs", "vplayer", "ttml",
})  # fmt: skip
_TEXT_TARGET = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt", "matroska": "subrip"}
_TEXT_NAMES = {"mov_text": "timed text (mov_text)", "webvtt": "WebVTT", "subrip": "SubRip"}
_STYLED = frozenset({"ass", "ssa", "ttml"})  # with more styles than bold and italic

# Lossless audio codecs with samples that FLAC and ALAC hold: integers of up to 24 bits.
_LOSSLESS = frozenset({
    "flac", "alac", "wavpack", "tta", "mlp", "truehd", "ape", "tak", "shorten", "als", "wmalossless", "pcm_u8",
    "pcm_s8", "pcm_s8_planar", "pcm_alaw", "pcm_mulaw", "pcm_s16le", "pcm_s16be", "pcm_s16le_planar", "pcm_u16le",
    "pcm_u16be", "pcm_s24le", "pcm_s24be", "pcm_s24le_planar", "pcm_u24le", "pcm_u24be", "pcm_bluray", "pcm_dvd",
    "pcm_s16be_planar", "pcm_s24daud", "s302m",
})  # fmt: skip
_LOSSLESS_TARGET = {"mp4": "flac", "matroska": "flac", "mov": "alac"}
_LOSSY_TARGET = {"mp4": "aac", "mov": "aac", "matroska": "libopus", "webm": "libopus"}


@dataclass(frozen=True)
class StreamAction:
    """The treatment of a stream.

    Attributes:
        kind: "copy", "cover" (a Matroska attachment), "audio" or "subtitle" (converted with `encoder`), or "drop".
        encoder: FFmpeg's name.
        warning: one sentence about the change; None if nothing is lost.
    """

    kind: str
    encoder: str = ""
    warning: str | None = None


def choose_action(stream: Any, container: str, chapters: bool) -> StreamAction:
    """Choose what to do with `stream` in a container (FFmpeg's muxer name). `chapters`: the source has some."""
    kind, codec = stream.type, codec_name(stream)
    name, suffix = described(stream), SUFFIXES[container]
    if kind == "data":
        from_chapters = chapters and codec == "bin_data" and "SubtitleHandler" in stream.metadata.values()
        if from_chapters or "timecode" in stream.metadata:
            return StreamAction("drop")  # MP4 stores chapters and timecode tags as streams; both are copied as such
    if is_encrypted_stream(stream):
        return StreamAction("drop", warning=f"{name} dropped: it is encrypted.")
    if stream.disposition & Disposition.attached_pic:
        if container == "matroska":
            return StreamAction("cover")
        if container != "mp4" or codec not in ("png", "mjpeg", "bmp"):  # MOV's muxer accepts it but writes nothing
            return StreamAction("drop", warning=f"{name} dropped: {suffix} cannot hold such a cover image.")
    if kind == "attachment" and container != "matroska":  # WebM's muxer accepts it but writes nothing
        return StreamAction("drop", warning=f"{name} dropped: {suffix} cannot hold attachments.")
    if can_copy(container, stream):
        return StreamAction("copy")
    context = stream.codec_context
    if kind == "audio" and context is not None and 1 <= context.channels <= 8 and context.sample_rate:
        encoder = _LOSSLESS_TARGET.get(container) if codec in _LOSSLESS else None
        layout = standard_layout(context) or context.layout.name
        if encoder is not None and accepts(encoder, layout, context.sample_rate):
            return StreamAction(
                "audio",
                encoder,
                f"{name} is converted to {encoder.upper()} without loss, because {suffix} cannot hold {codec}.",
            )
        encoder = _LOSSY_TARGET[container]
        becomes = {"aac": "AAC", "libopus": "Opus"}[encoder]
        return StreamAction(
            "audio", encoder, f"{name} is encoded to {becomes} with a small loss, because {suffix} cannot hold {codec}."
        )
    if kind == "subtitle" and context is not None and codec in _TEXT:
        encoder = _TEXT_TARGET[container]
        target = _TEXT_NAMES[encoder]
        loss = f"{name} is converted to {target} and loses its styling, because {suffix} cannot hold {codec}."
        return StreamAction("subtitle", encoder, loss if codec in _STYLED else None)
    if context is None and kind in ("audio", "video", "subtitle"):
        return StreamAction("drop", warning=f"{name} dropped: FFmpeg does not know its codec.")
    if kind == "audio" and not (context.channels and context.sample_rate):
        return StreamAction("drop", warning=f"{name} dropped: the file declares it, but no sound of it can be found.")
    if kind == "video" and not (context.width and context.height):
        return StreamAction("drop", warning=f"{name} dropped: the file declares it, but no frame of it can be found.")
    return StreamAction("drop", warning=f"{name} dropped: {suffix} cannot hold it.")


def codec_name(stream: Any) -> str:
    """Return FFmpeg's name of the codec, not of its decoder; "unknown" if there is none."""
    if stream.codec_context is not None:
        return str(stream.codec_context.codec.canonical_name)
    if stream.type == "attachment":
        return str(stream.metadata.get("mimetype", "file"))
    return str(getattr(stream, "name", None) or "unknown")


def described(stream: Any) -> str:
    """Return a description of a stream: "Subtitle stream 3 (ass, eng, 'Signs')"."""
    tags = stream.metadata
    title = tags.get("title") or tags.get("name") or tags.get("filename")
    language = tags.get("language")
    details = [codec_name(stream), language if language != "und" else None, repr(title) if title else None]
    kind = "Cover image" if stream.disposition & Disposition.attached_pic else f"{stream.type.capitalize()} stream"
    return f"{kind} {stream.index} ({', '.join(filter(None, details))})"


def can_copy(container: str, stream: Any) -> bool:
    """Return True if the muxer accepts a copy of the stream, by writing a file header in memory."""
    output = av.open(io.BytesIO(), "w", format=container, container_options={"strict": "experimental"})
    try:
        copy = output.add_stream_from_template(stream, opaque=True)
        copy.disposition = stream.disposition
        output.start_encoding()
    except (av.error.FFmpegError, OSError, ValueError):
        return False
    finally:
        with suppress(av.error.FFmpegError, OSError, ValueError):
            output.close()
    return True
