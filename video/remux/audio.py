"""Re-encode audio that the target's container cannot hold, in sync with the source."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import av

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_NEAREST = _LAYOUTS | {4: "quad"}  # in Opus and AAC
_MIN_GAP_SECONDS = 0.02  # shorter gaps are rounding of the container


class AudioConverter:
    """Converts the packets of an audio stream to "aac", "libopus", "flac" or "alac".

    Keeps up to 8 channels, in their layout or the nearest one of the codec, and the sample rate or the next one of the
    codec. Gaps are filled with silence to keep the audio in sync. A packet that cannot be decoded becomes a gap.
    """

    def __init__(self, source: Any, output: av.container.OutputContainer, encoder: str) -> None:
        decoder = source.codec_context
        rate = rate_for(encoder, decoder.sample_rate)
        layouts = (standard_layout(decoder) or decoder.layout.name, _NEAREST.get(decoder.channels, "stereo"))
        layout = next((name for name in layouts if accepts(encoder, name, rate)), "stereo")
        channels = len(av.AudioLayout(layout).channels)
        self._source = source
        self.stream: Any = output.add_stream(encoder, rate=rate)
        context: Any = self.stream.codec_context
        self._context = context
        context.layout = layout
        context.time_base = Fraction(1, context.sample_rate)
        if encoder in ("flac", "alac"):
            deep = decoder.format is not None and decoder.format.bytes > 2
            context.format = {"flac": ("s16", "s32"), "alac": ("s16p", "s32p")}[encoder][deep]
        else:
            per_channel = {"aac": (128_000, 96_000, 80_000), "libopus": (112_000, 80_000, 64_000)}[encoder]
            context.bit_rate = channels * per_channel[min(channels, 3) - 1]
        self._graph: av.filter.Graph | None = None
        self._input: tuple[Any, ...] = ()
        self._end: Fraction | None = None  # of the last frame, in seconds

    def packets(self, packet: av.Packet | None) -> list[av.Packet]:
        """Convert a packet of the source, with times in the time base of the result; None flushes."""
        packets: list[av.Packet] = []
        try:
            frames = self._source.codec_context.decode(packet)
        except (av.error.FFmpegError, ValueError):
            frames = []
        for frame in frames:
            self._set_time(frame, packet)
            packets += self._filtered(frame)
        if packet is None:
            packets += self._flush_graph()
            packets += self._context.encode(None)
        for encoded in packets:
            encoded.stream = self.stream
        return packets

    def _set_time(self, frame: av.AudioFrame, packet: av.Packet | None) -> None:
        """Add the time of a frame that has none: in a packet with several frames, all but the first."""
        base = Fraction(frame.time_base or self._source.time_base)
        if frame.pts is not None:
            start = frame.pts * base
        elif self._end is not None:
            start = self._end
        else:
            start = Fraction((packet.dts or 0) * packet.time_base) if packet is not None else Fraction(0)
        if frame.pts is None:
            frame.pts, frame.time_base = round(start / base), base
        self._end = start + Fraction(frame.samples, frame.sample_rate or 1)

    def _filtered(self, frame: av.AudioFrame) -> list[av.Packet]:
        packets = []
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._input:
            packets += self._flush_graph()
            self._input, self._graph = kind, self._build(frame)
        assert self._graph is not None
        self._graph.push(frame)
        return packets + self._pull()

    def _build(self, frame: av.AudioFrame) -> av.filter.Graph:
        context = self._context
        graph = av.filter.Graph()
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=frame.time_base,
        )
        resample = graph.add("aresample", f"{context.sample_rate}:async=1:min_hard_comp={_MIN_GAP_SECONDS}")
        shape = graph.add(
            "aformat",
            f"sample_fmts={context.format.name}:sample_rates={context.sample_rate}:channel_layouts={context.layout.name}",
        )
        sink = graph.add("abuffersink")
        source.link_to(resample)
        resample.link_to(shape)
        shape.link_to(sink)
        graph.configure()
        return graph

    def _pull(self) -> list[av.Packet]:
        packets: list[av.Packet] = []
        assert self._graph is not None
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return packets
            packets += self._context.encode(frame)

    def _flush_graph(self) -> list[av.Packet]:
        if self._graph is None:
            return []
        self._graph.push(None)
        packets = self._pull()
        self._graph = None
        return packets


def standard_layout(context: Any) -> str | None:
    """Return the standard layout if the file gives only the number of channels, which MP4 refuses; else None."""
    return _LAYOUTS.get(context.channels) if context.layout.name.endswith("channels") else None


def rate_for(encoder: str, rate: int) -> int:
    """Return the source's sample rate if the codec has it, else the next higher, else its highest."""
    if encoder == "libopus":
        return 48000
    rates = sorted(av.codec.Codec(encoder, "w").audio_rates or ())
    if not rates or rate in rates:
        return rate
    return next((r for r in rates if r > rate), rates[-1])


@cache
def accepts(encoder: str, layout: str, rate: int) -> bool:
    """Return True if an encoder can be opened for a channel layout and sample rate."""
    context: Any = av.CodecContext.create(encoder, "w")
    try:
        context.layout, context.sample_rate, context.time_base = layout, rate, Fraction(1, rate)
        context.format = av.codec.Codec(encoder, "w").audio_formats[0]  # type: ignore[index]
        context.open()
    except (av.error.FFmpegError, ValueError):
        return False
    return True
