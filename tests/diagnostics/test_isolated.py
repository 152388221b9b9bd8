"""A check that raises, crashes or hangs is told, and costs nothing else."""

from __future__ import annotations

import signal
import sys
import time

import pytest
from supertile.diagnostics.isolated import EndedError, TooSlowError, isolated


def test_what_it_yields_arrives():
    assert list(isolated(sorted, [3, 1, 2], limit_s=60)) == [1, 2, 3]


def test_what_it_raises_is_told():
    with pytest.raises(EndedError, match="ValueError: invalid literal"):
        list(isolated(int, "many", limit_s=60))


@pytest.mark.skipif(sys.platform == "win32", reason="processes of Windows are not ended by signals")
def test_a_crash_is_told_by_its_signal():
    with pytest.raises(EndedError, match="it was ended by SIGILL"):
        list(isolated(signal.raise_signal, signal.SIGILL, limit_s=60))


def test_one_that_hangs_is_ended():
    started = time.monotonic()
    with pytest.raises(TooSlowError, match="it took longer than 2 s"):
        list(isolated(time.sleep, 600, limit_s=2))
    assert time.monotonic() - started < 60
