"""The pack's pyproject.toml, as ComfyUI and its registry read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READ = """
import sys
from comfy_config.config_parser import extract_node_configuration
print(extract_node_configuration(sys.argv[1]).model_dump_json())
"""


@pytest.fixture(scope="module")
def pack() -> dict:
    place = os.environ.get("COMFYUI_PATH")
    if not place:
        pytest.skip("COMFYUI_PATH is not set")
    command = [os.environ.get("COMFYUI_PYTHON", sys.executable), "-c", READ, str(ROOT)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_comfyui_reads_what_the_pack_is(pack):
    project, comfy = pack["project"], pack["tool_comfy"]
    assert project["name"] == "supertile"
    assert "comfyui" not in project["name"]  # the registry's rule, and names are for ever
    assert project["license"]["text"] == "Apache-2.0"
    assert project["supported_comfyui_version"] == ">=0.23.0"
    assert project["supported_os"] == ["OS Independent"]  # one value that ComfyUI does not know empties the list
    assert comfy["display_name"] == "Supertile"


def test_the_page_is_served_once(pack):
    """From WEB_DIRECTORY; with a `web` in addition, it would be served under a second name too, without help pages."""
    assert pack["tool_comfy"]["web"] is None
