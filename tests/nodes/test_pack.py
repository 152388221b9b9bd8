"""The pack as ComfyUI's registry and Manager see it: source text and pyproject.toml, nothing executed."""

from __future__ import annotations

import ast
import json
import re
import struct
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None

ROOT = Path(__file__).resolve().parents[2]
ENGLISH = json.loads((ROOT / "locales/en/nodeDefs.json").read_text(encoding="utf-8"))


def names_by_pattern(text: str) -> set[str]:
    """As the Manager finds them: the quoted keys of a dict that is assigned to a name ending in _CLASS_MAPPINGS."""
    found: set[str] = set()
    for body in re.findall(r"_CLASS_MAPPINGS\s*(?::\s*\w+\s*)?=\s*{([^}]*)}", text):
        found |= {key for _, key in re.findall(r"""(["'])([^"']*)\1\s*:\s*[^,\n]*""", body)}
    return found


def names_by_syntax(text: str) -> set[str]:
    """As newer versions find them too: `node_id` of a Schema in a class that is derived from ComfyNode itself."""
    found: set[str] = set()
    for each in ast.walk(ast.parse(text)):
        if isinstance(each, ast.ClassDef) and any(ast.unparse(base).endswith("ComfyNode") for base in each.bases):
            calls = [call for call in ast.walk(each) if isinstance(call, ast.Call)]
            keywords = [word for call in calls if ast.unparse(call.func).endswith("Schema") for word in call.keywords]
            found |= {ast.literal_eval(word.value) for word in keywords if word.arg == "node_id"}
    return found


def sources() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py") if ".venv" not in path.parts]


def test_a_scan_of_the_source_text_finds_every_node():
    assert set().union(*map(names_by_pattern, sources())) == set(ENGLISH)
    assert set().union(*map(names_by_syntax, sources())) <= set(ENGLISH)


def test_the_scan_reads_what_packs_write():
    name = "_".join(("NODE", "CLASS", "MAPPINGS"))  # in parts: this file is scanned too
    assert names_by_pattern(f"{name} = {{\n  'A b': A,\n  \"C\": C(),\n}}\n") == {"A b", "C"}
    assert names_by_pattern(f"{name} = {{each.name: each for each in ALL}}") == set()


def test_upscale_finds_upscale_image_first():
    """The page sorts names that begin with what was typed by their length."""
    names = sorted((text["display_name"] for text in ENGLISH.values()), key=len)
    assert next(name for name in names if name.startswith("Upscale")) == "Upscale Image (Supertile)"


@pytest.mark.skipif(tomllib is None, reason="Python 3.10 reads no TOML")
def test_the_registry_finds_what_it_shows():
    """All but PublisherId and the addresses of icon and banner, which depend on who publishes the pack where."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, comfy = pyproject["project"], pyproject["tool"]["comfy"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert re.fullmatch(r"[A-Za-z][\w.-]{0,98}", project["name"])
    assert project["description"]
    assert comfy.keys() == {"DisplayName", "requires-comfyui"}


def test_icon_and_banner_are_of_the_size_the_registry_shows():
    for name, largest in (("icon.png", (400, 400)), ("banner.png", (1260, 540))):
        data = (ROOT / "docs/images" / name).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", data[16:24]) == largest  # a square, and 21:9
