"""Threads of encoders leave the cores to others."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are scheduled by other rules elsewhere")
@pytest.mark.parametrize("codec", ["av1", "h264"])
def test_no_thread_is_left_in_real_time(codec, tmp_path):
    """SVT-AV1 puts the thread that opens it, and its own, into real-time scheduling where it may: as root."""
    script = f"""
        import os
        from fractions import Fraction
        import numpy as np
        from supertile import ArrayWriter, EncoderOptions
        from supertile.video.write.encoders import why_not_available
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        why_not_available("libsvtav1")
        with ArrayWriter("a.mkv", Fraction(25), encoder=EncoderOptions(codec={codec!r})) as writer:
            for _ in range(2):
                writer.write(np.zeros((64, 64, 3), np.uint8))
                for thread in os.listdir("/proc/self/task"):
                    assert os.sched_getscheduler(int(thread)) == os.SCHED_OTHER
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
