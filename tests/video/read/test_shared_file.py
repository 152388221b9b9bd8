"""Two readers of one file object do not disturb each other."""

from __future__ import annotations

import io

from supertile.video.read.shared_file import views


def test_views_have_positions_of_their_own():
    one, two = views(io.BytesIO(b"0123456789"))
    assert one.read(3) == b"012"
    assert two.read(2) == b"01"
    assert one.seek(-2, io.SEEK_END) == 8
    assert (one.read(), two.read(1), one.tell(), two.tell()) == (b"89", b"2", 10, 3)
    one.close()
    assert two.read(1) == b"3"
