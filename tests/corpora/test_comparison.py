"""The comparison with other readers sees what differs, and nothing where all is right."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from supertile import Upscaler
from supertile.tests.corpora import images, videos
from supertile.tests.corpora.comparison import DEVIATING, EQUAL, READ_BY_US, REFUSED_BY_BOTH, doubling_upscaler
from supertile.tests.field.recordings import recording


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return doubling_upscaler()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_equal_images(tmp_path, upscaler, mode):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 9, 4)).astype(np.uint8), "RGBA")
    image = Image.new("I;16", (9, 8), 12345) if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "a.png")
    comparison = images.compare_image(tmp_path / "a.png", tmp_path / "result", upscaler)
    assert (comparison.outcome, comparison.details) == (EQUAL, [])


def test_other_outcomes_of_images(tmp_path, upscaler, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("RGB", (9, 8)).save(path)
    monkeypatch.setattr(images, "decoded_by_pillow", lambda path: np.full((8, 9, 3), 7, np.uint8))
    comparison = images.compare_image(path, tmp_path / "result", upscaler)
    assert (comparison.outcome, comparison.details) == (DEVIATING, ["100.00% of the pixels differ, by up to 7 of 255"])
    monkeypatch.undo()
    data = bytearray(path.read_bytes())
    data[29] ^= 1  # the checksum of the header
    path.write_bytes(data)
    assert images.compare_image(path, tmp_path / "other", upscaler).outcome == READ_BY_US
    path.write_bytes(b"nothing")
    assert images.compare_image(path, tmp_path / "none", upscaler).outcome == REFUSED_BY_BOTH


def test_videos(tmp_path, upscaler, monkeypatch):
    path = tmp_path / "a.mkv"
    path.write_bytes(recording(3, format="matroska"))
    comparison = videos.compare_video(path, tmp_path / "result", upscaler)
    assert (comparison.outcome, comparison.details) == (EQUAL, [])
    decoded = videos.decoded

    def darker(path, end):
        result = decoded(path, end)
        if end is None:
            result.luma = [luma - 2 for luma in result.luma]
            result.times[3] += 1
        return result

    monkeypatch.setattr(videos, "decoded", darker)
    comparison = videos.compare_video(path, tmp_path / "other", upscaler)
    assert comparison.outcome == DEVIATING
    assert [detail.split()[0] for detail in comparison.details] == ["1", "luma"]
