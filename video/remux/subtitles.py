"""Convert text subtitles to another codec, through the ASS events that FFmpeg decodes them to."""

from __future__ import annotations

from typing import Any

import av


class SubtitleConverter:
    """Converts the packets of a subtitle stream to another codec and keeps their times."""

    def __init__(self, source: Any, output: av.container.OutputContainer, encoder: str) -> None:
        decoder = source.codec_context
        decoder.open(strict=False)
        self._decoder: Any = decoder
        self.stream: Any = output.add_stream(encoder)
        context: Any = self.stream.codec_context
        context.subtitle_header = decoder.subtitle_header  # encoders require it
        context.time_base = source.time_base
        self._encoder = context

    def packets(self, packet: av.Packet) -> list[av.Packet]:
        """Convert a packet of the source; [] for an event without text or one that cannot be decoded."""
        try:
            events = self._decoder.decode2(packet)
            if events is None or not any(getattr(event, "ass", b"") for event in events):
                return []
            converted = self._encoder.encode_subtitle(events)
        except (av.error.FFmpegError, ValueError):
            return []
        converted.pts = converted.dts = packet.pts
        converted.duration, converted.time_base = packet.duration, packet.time_base
        return [converted] if converted.size else []
