"""Sound from memory, read back by FFmpeg."""

import av
import numpy as np
import pytest
import torch
from supertile.video.remux.wav import aac_file, wav_file


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_the_samples_come_back_to_the_bit(channels):
    sound = torch.rand(channels, 5000) * 2 - 1
    with av.open(wav_file(sound, 44100)) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.codec_context.sample_rate) == ("pcm_f32le", 44100)
        blocks = [frame.to_ndarray().reshape(-1, channels) for frame in container.decode(stream)]
    assert np.array_equal(np.concatenate(blocks).T, sound.numpy())


@pytest.mark.parametrize("shape", [(2,), (0, 5), (2, 0), (9, 5), (1, 2, 5)])
def test_what_is_no_sound_is_refused(shape):
    with pytest.raises(ValueError, match="1 to 8 channels"):
        wav_file(torch.zeros(shape), 44100)


@pytest.mark.parametrize("rate", [44100, 48000, 11025, 50_000])
def test_compressed_it_sounds_the_same_at_the_same_time(rate):
    time = torch.arange(rate) / rate
    sound = 0.5 * torch.sin(2 * torch.pi * 440 * time) * (time > 0.5)
    with av.open(aac_file(sound.expand(2, -1), rate)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("fltp", "stereo", rate)
        frames = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
    heard = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    first = frames[0].pts * frames[0].time_base if frames[0].pts is not None else 0
    onset = float(first) + np.flatnonzero(np.abs(heard[0]) > 0.05)[0] / rate
    assert onset == pytest.approx(0.5, abs=0.03)
    middle = heard[0, round(0.7 * rate) : round(0.9 * rate)]
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / 2**0.5, rel=0.05)
