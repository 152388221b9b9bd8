"""A video whose upscaling is killed again and again: the same command goes on, and the file is that of one run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ...field.test_interrupted_folders import Server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
PART_SECONDS = 1


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    server = Server(
        tmp_path,
        setup=f"from supertile.video.parts import job; job.JobOptions.__init__.__defaults__ = ({PART_SECONDS}, False, False)",
    )
    yield server
    server.stop()
