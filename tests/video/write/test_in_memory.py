"""One picture through H.264 and back."""

from __future__ import annotations

import numpy as np
from supertile.video.write.in_memory import through_h264


def test_a_lower_rate_loses_more_and_colors_stay():
    y, x = np.mgrid[:73, :75]
    image = np.stack([128 + 80 * np.sin(x / 5), 128 + 60 * np.cos(y / 7), 100 + x], 2).round().astype(np.uint8)
    results = [through_h264(image, crf).astype(float) for crf in (10, 28, 40)]
    errors = [np.abs(result - image).mean() for result in results]
    assert {result.shape for result in results} == {image.shape}
    assert errors == sorted(errors)
    assert errors[-1] > 2 * errors[0]
    assert np.abs((results[0] - image).mean((0, 1))).max() < 0.2
