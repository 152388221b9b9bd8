"""Tables and progress bars on narrow terminals."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from supertile.cli import app
from supertile.cli.display import frame_bar_state, progress_bar
from supertile.tests.conftest import write_small_vapsr
from supertile.video.report import VideoProgress
from typer.testing import CliRunner


def plain(text: str) -> list[str]:
    """Return the lines of a terminal's output, without control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()


def lines_of(width: int, *arguments: str) -> list[str]:
    terminal = {"COLUMNS": str(width), "FORCE_COLOR": "1", "TERM": "xterm"}
    result = CliRunner().invoke(app, arguments, env=terminal)
    assert result.exit_code == 0, result.output
    return plain(result.stdout)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with one model of a long name."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    Path("mine").mkdir()
    write_small_vapsr(Path("mine/A_model_with_a_rather_long_name_x2.safetensors"), num_feat=8)
    return tmp_path


def test_models_are_a_table_where_it_fits(folder):
    lines = lines_of(140, "models", "mine")
    assert any(line.split()[:2] == ["A_model_with_a_rather_long_name_x2.safetensors", "VapSR"] for line in lines)
    assert any(line.split() == ["name", "network", "scale", "size", "license"] for line in lines)


@pytest.mark.parametrize("width", [40, 20])
def test_models_are_a_list_where_it_does_not(folder, width):
    lines = lines_of(width, "models", "mine")
    assert max(map(cell_len, lines)) <= width
    of_one = " ".join(" ".join(lines[lines.index("supertile-4x") + 1 :]).split())
    assert of_one.startswith("network: VapSR (32 channels, 16 blocks) scale: 4x size: 0.4 MB")
    assert "A_model_with_a_rather_long_name_x2.safetensors" in "".join(lines).replace(" ", "")


@pytest.mark.parametrize("width", [40, 20])
def test_info_is_a_list(folder, width):
    lines = lines_of(width, "info", "supertile-4x")
    assert max(map(cell_len, lines)) <= width
    assert {"scale: 4x", "license: Apache-2.0"} <= {" ".join(line.split()) for line in lines}
    assert "network: VapSR (32 channels, 16 blocks) scale: 4x" in " ".join(" ".join(lines).split())


def test_json_does_not_depend_on_the_width(folder):
    assert len(json.loads("\n".join(lines_of(20, "models", "mine", "--json")))) == 5


@pytest.mark.parametrize(
    ("width", "words"),
    [
        (120, ["frames (16.03 fps, 123.5 MB written)", "1234/172800", "1 d 15 h left", "files", "17/1200"]),
        (79, ["frames ", "╸", "1234/172800", "1 d 15 h left", "17/1200", "12 h 30 min left"]),
        (40, ["frames ", "1234/172800", "1 d 15 h left", "17/1200", "12 h 30 min left"]),
        (30, ["frames ", "1%", "1 d 15 h", "12 h 30 min"]),
        (20, ["frames 1 d 15 h", "files  12 h 30 min"]),
    ],
)
def test_progress_is_one_line_for_each_task(width, words):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    with progress_bar(console, hidden=False) as bars:
        bars.add_task("files", total=1200, completed=17, seconds_left=45000)
        frames = bars.add_task("frames", total=None)
        bars.update(frames, **frame_bar_state(VideoProgress(1234, 172800, 77.0, 123456789)), seconds_left=140000)
        with console.capture() as captured:
            console.print(bars.make_tasks_table(bars.tasks))
    lines = plain(captured.get())[1:3]  # below them they are drawn anew
    assert all(cell_len(line) <= width for line in lines)
    assert all(each in "\n".join(lines) for each in words), lines
