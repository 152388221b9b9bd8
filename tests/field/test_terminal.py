"""Terminals as people have them: closed, full, cut off, and unable to show a name."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from supertile.cli.streams import TolerantStream
from supertile.images.journal import JOURNAL_NAME

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its terminals are another matter")
ODD = os.fsdecode(b"caf\xe9.png")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        image(f"in/{number}.png")
    return tmp_path


def image(name: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    codes = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(codes).save(name)


def shell(model: str, line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of the shell in which SUPERTILE is the command and MODEL the options."""
    line = line.replace("SUPERTILE", f"{sys.executable} -m supertile").replace("MODEL", f"--model {model} --device cpu")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(["bash", "-c", line], env=environment, capture_output=True, timeout=120, check=False)


def check_made(count: int = 6) -> None:
    results = [path for path in Path("out").iterdir() if path.name != JOURNAL_NAME]
    assert len(results) == count
    for path in results:
        with Image.open(path) as result:
            result.load()
            assert result.size == (16, 12)


@pytest.mark.parametrize(
    ("redirection", "words"),
    [
        ("<&- >&- 2>&-", b""),
        (">/dev/full", b"Warning: Standard output cannot be written (No space left on device)."),
        ("2>&1 | head -1 >/dev/null; exit ${PIPESTATUS[0]}", b""),
    ],
)
def test_files_are_made_whatever_becomes_of_the_output(folder, model, redirection, words):
    image("in/bad.png")
    Path("in/bad.png").write_bytes(b"no image")
    ran = shell(model, f"SUPERTILE upscale in out MODEL {redirection}")
    assert ran.returncode == 1, ran.stderr  # one of seven failed
    check_made()
    assert b"Traceback" not in ran.stderr
    assert b"Exception ignored" not in ran.stderr
    assert b"Unexpected" not in ran.stderr
    assert words in ran.stderr


def test_a_lost_list_of_results_is_no_failure(folder, model):
    ran = shell(model, "SUPERTILE upscale in out MODEL | head -1; exit ${PIPESTATUS[0]}")
    assert (ran.returncode, ran.stderr) == (0, b"6 files done.\n")


def test_a_lost_result_is_a_failure(folder, model):
    ran = shell(model, f"SUPERTILE info {model} --json >/dev/full")
    assert ran.returncode == 1
    assert ran.stderr == b"Standard output cannot be written (No space left on device).\n"


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_names_of_any_bytes_are_made_byte_for_byte(folder, model, encoding):
    names = [b"caf\xe9.png", "Gr\u00fc\u00dfe \U0001f600.png".encode(), b"\xff\xfe\x80.png"]
    for name in names:
        os.rename(b"in/" + os.fsencode(f"{names.index(name)}.png"), b"in/" + name)
    Path(os.fsdecode(b"in/bad\xe9.png")).write_bytes(b"no image")
    ran = shell(model, "SUPERTILE upscale in out MODEL", PYTHONIOENCODING=encoding, PYTHONUTF8="1")
    assert ran.returncode == 1
    assert sorted(os.listdir(b"out")) == sorted([JOURNAL_NAME.encode(), *names, b"3.png", b"4.png", b"5.png"])
    check_made()
    assert len(ran.stdout.splitlines()) == 6
    lines = ran.stderr.decode(encoding.partition(":")[0]).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("in/bad\\udce9.png is not an image")


def test_an_odd_name_in_wrong_usage_is_a_sentence(folder, model):
    ran = subprocess.run(
        [sys.executable, "-m", "supertile", "upscale", ODD, "out", "--tile", ODD],
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"}, capture_output=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert b"Traceback" not in ran.stderr


def test_a_stream_escapes_what_it_cannot_show():
    raw = io.BytesIO()
    stream = TolerantStream(io.TextIOWrapper(raw, "ascii", "strict"))
    stream.write("a\u00e9\udce9\n")
    stream.flush()
    assert raw.getvalue() == b"a\\xe9\\udce9\n"
