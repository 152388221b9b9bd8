"""Make audio files in memory from a waveform, for `streams_from` of `upscale_video`."""

from __future__ import annotations

import io
import struct

import av
from torch import Tensor

from .audio import AudioConverter

_IEEE_FLOAT = 3
_UNKNOWN = 2**32 - 1  # for sizes beyond 32 bits: readers continue to the end of the file


def wav_file(waveform: Tensor, sample_rate: int) -> io.BytesIO:
    """Return a WAV file of 32-bit floats.

    Args:
        waveform: (1 to 8 channels, samples) in [-1, 1].
        sample_rate: in Hz.

    Raises:
        ValueError: the waveform has another shape, or the rate is below 1 Hz.
    """
    if waveform.dim() != 2 or not waveform.numel() or waveform.shape[0] > 8 or sample_rate < 1:
        raise ValueError(
            f"audio must have 1 to 8 channels of samples, not {tuple(waveform.shape)} at {sample_rate} Hz."
        )
    samples = waveform.detach().to("cpu").float().t().contiguous().numpy().astype("<f4", copy=False)
    channels, size = waveform.shape[0], samples.nbytes
    data = min(size, _UNKNOWN)
    format = struct.pack("<HHIIHH", _IEEE_FLOAT, channels, sample_rate, 4 * channels * sample_rate, 4 * channels, 32)
    fact = struct.pack("<I", min(waveform.shape[1], _UNKNOWN))
    file = io.BytesIO()
    file.write(b"RIFF" + struct.pack("<I", min(50 + data, _UNKNOWN)) + b"WAVE")
    for name, content in ((b"fmt ", format), (b"fact", fact)):
        file.write(name + struct.pack("<I", len(content)) + content)
    file.write(b"data" + struct.pack("<I", data))
    file.write(samples.data)
    file.seek(0)
    return file


def aac_file(waveform: Tensor, sample_rate: int) -> io.BytesIO:
    """Return an AAC file in MP4 of such a waveform. MP4 can hold floats too, but hardly any player supports them."""
    file = io.BytesIO()
    with av.open(wav_file(waveform, sample_rate)) as source, av.open(file, "w", format="mp4") as output:
        converter = AudioConverter(source.streams.audio[0], output, "aac")
        for packet in source.demux():
            for encoded in converter.packets(packet if packet.dts is not None else None):
                output.mux(encoded)
    file.seek(0)
    return file
