"""Which sources of any kind count as compressed or noisy."""

from __future__ import annotations

import numpy as np
from PIL import Image
from supertile.video.source_kind import source_kind


def test_a_video_is_known_by_its_name():
    assert source_kind("film.MKV") == (True, "is a video")


def test_of_numbered_images_the_first_decides(tmp_path):
    image = Image.fromarray(np.full((20, 20, 3), 90, np.uint8))
    image.save(tmp_path / "frame10.png", format="JPEG")
    image.save(tmp_path / "frame9.png")
    image.save(tmp_path / "frameless.png", format="JPEG")
    assert source_kind(tmp_path / "frame%d.png") == (False, "is clean")
    (tmp_path / "frame9.png").unlink()
    assert source_kind(tmp_path / "frame%d.png") == (True, "is a JPEG")
    assert source_kind(tmp_path / "none" / "%d.png") == (False, "")


def test_an_animation_is_judged_as_an_image(tmp_path):
    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (10, 200)]
    for name, degraded in (("a.gif", False), ("a.png", False)):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert source_kind(tmp_path / name).is_degraded is degraded
