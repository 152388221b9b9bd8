"""The texts of the nodes in ComfyUI's page: translations and help pages are complete and valid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from supertile.nodes.locale import escaped, file_text, node_defs

ROOT = Path(__file__).resolve().parents[2]
TRANSLATIONS = ("zh", "ja")
# The choices of `format` share this key but not their English tooltips, which the page takes from the schema. The
# translations describe all choices in one tooltip.
ONLY_TRANSLATED = {("SupertileUpscaleVideoFile", "inputs", "format_codec", "tooltip")}


def read(language: str, file: str) -> dict[str, Any]:
    return json.loads((ROOT / "locales" / language / file).read_text(encoding="utf-8"))


def texts(tree: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    if isinstance(tree, str):
        return {path: tree}
    return {key: text for name, branch in tree.items() for key, text in texts(branch, (*path, name)).items()}


NODES = list(read("en", "nodeDefs.json"))


@pytest.mark.parametrize("file", ["nodeDefs.json", "main.json"])
@pytest.mark.parametrize("language", TRANSLATIONS)
def test_every_text_is_translated(language, file):
    english, translated = texts(read("en", file)), texts(read(language, file))
    assert translated.keys() - ONLY_TRANSLATED == english.keys()
    same = {path: text for path, text in translated.items() if text == english.get(path)}
    assert same == {}
    latin = {path: text for path, text in translated.items() if not re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", text)}
    assert latin == {}


@pytest.mark.parametrize("language", ["en", *TRANSLATIONS])
def test_texts_mean_themselves_to_the_page(language):
    """The page reads them as messages of vue-i18n, in which { } @ | are syntax; {'@'} is the character."""
    for file in ("nodeDefs.json", "main.json"):
        for path, text in texts(read(language, file)).items():
            assert text.strip() == text != "", path
            assert not re.search(r"[{}@|]", re.sub(r"\{'[{}@|]'\}", "", text)), (path, text)


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_choices_are_named_as_the_page_shows_them(language):
    """Their names are not translated, so the tooltip has to quote them."""
    sizes = {node["inputs"]["size"]["tooltip"] for node in read(language, "nodeDefs.json").values() if "size" in
             node["inputs"]}  # fmt: skip
    for tooltip in sizes:
        assert all(name in tooltip for name in ("model scale", "factor", "megapixels", "longest side", "exact"))


def test_texts_come_from_a_schema():
    """With inputs that depend on a choice, special characters, and outputs with their own name."""
    choice = {"key": "tiled", "inputs": {"required": {"tile": ["INT", {"tooltip": "Pixels."}]}}}
    other = {"key": "grid", "inputs": {"required": {"tile": ["INT", {"tooltip": "Rows."}], "gap": ["INT"]}}}
    info = {
        "display_name": "A node", "description": "Costs {5} @ most.",
        "input": {
            "required": {"mode": ["COMFY_DYNAMICCOMBO_V3", {"options": [choice, other]}], "image": ["IMAGE"]},
            "optional": {"name": ["STRING", {"display_name": "Name", "tooltip": "a|b, %width%"}]},
        },
        "output": ["IMAGE", "STRING"], "output_name": ["IMAGE", "report"], "output_tooltips": [None, "All of it."],
    }  # fmt: skip
    assert node_defs({"SupertileA": info, "Other": {}}) == {
        "SupertileA": {
            "display_name": "A node",
            "description": "Costs {'{'}5{'}'} {'@'} most.",
            "inputs": {
                "mode": {"name": "mode"},
                "mode_tile": {"name": "tile"},
                "mode_gap": {"name": "gap"},
                "image": {"name": "image"},
                "name": {"name": "Name", "tooltip": "a{'|'}b, %width%"},
            },
            "outputs": {"1": {"name": "report", "tooltip": "All of it."}},
        }
    }
    assert escaped("plain, 100 %") == "plain, 100 %"


def test_the_english_file_is_written_by_our_own_code():
    assert (ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8") == file_text(
        read("en", "nodeDefs.json")
    )


# --- help pages --------------------------------------------------------------------------------------------------

DOCS = ROOT / "web" / "docs"
MAX_IMAGE_BYTES = 60_000


def help_page(node: str, language: str) -> str:
    path = DOCS / f"{node}.md" if language == "en" else DOCS / node / f"{language}.md"
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("language", ["en", *TRANSLATIONS])
@pytest.mark.parametrize("node", NODES)
def test_every_node_has_help(node, language):
    """Under its displayed name, with a screenshot, and with every input and output by its displayed name."""
    text, names = help_page(node, language), read(language, "nodeDefs.json")[node]
    assert text.startswith(f"# {names['display_name']}\n")
    assert re.search(rf"!\[[^\]]+\]\(images/{node}\.png\)", text)
    shown = [field["name"] for key, field in names["inputs"].items() if not key.startswith("size_")]
    shown += [field["name"] for field in names["outputs"].values()]
    assert [name for name in shown if f"`{name}`" not in text] == []
    english = help_page(node, "en")
    for part in (r"^## ", r"^\|", r"^ *- ", r"!\["):  # a translation omits nothing
        assert len(re.findall(part, text, re.M)) == len(re.findall(part, english, re.M)), part


def test_images_of_the_help_are_there_and_small():
    """Links are relative to the folder of the English pages, for the translations too."""
    pages = [page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")]
    named = {link for page in pages for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page)}
    assert named == {f"images/{image.name}" for image in (DOCS / "images").iterdir()}
    assert {link: size for link in named if (size := (DOCS / link).stat().st_size) > MAX_IMAGE_BYTES} == {}


def test_help_is_for_nodes_that_exist():
    assert {path.stem for path in DOCS.glob("*.md")} == set(NODES)
    folders = {path.name for path in DOCS.iterdir() if path.is_dir()} - {"images"}
    assert folders == set(NODES)
