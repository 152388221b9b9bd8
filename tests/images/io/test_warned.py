"""Warnings about image files, passed on as sentences."""

from __future__ import annotations

import threading
import warnings

from supertile.images.io.errors import ImageFileWarning
from supertile.images.io.warned import warned


def test_each_sentence_is_told_once_from_any_thread_and_others_are_shown_as_before():
    told: list[str] = []

    def warn() -> None:
        warnings.warn("a.png is cut short.", ImageFileWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as shown, warned(told.append):
        warnings.simplefilter("always")
        thread = threading.Thread(target=warn)
        thread.start()
        thread.join()
        warn()
        warnings.warn("b.png has two frames.", ImageFileWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert told == ["a.png is cut short.", "b.png has two frames."]
    assert [str(each.message) for each in shown] == ["something else"]
