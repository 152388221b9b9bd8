"""The example workflows as files: complete, consistent, and runnable in a new installation of ComfyUI."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "example_workflows"
EXAMPLES = sorted(FOLDER.glob("*.json"))
NOTES = {"MarkdownNote"}  # nodes of the page, which never reach the server
CORE = {"LoadImage", "SaveImage", "PreviewImage", "ImageStitch", "LoadVideo", "SaveVideo", "SolidMask", "MaskComposite"}
BROUGHT = {f"supertile/{path.name}" for path in (ROOT / "web" / "examples").iterdir()}
MODELS = {f"supertile-{name}.safetensors" for name in ("2x", "4x", "photo-2x", "photo-4x")}


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request) -> dict[str, Any]:
    return json.loads(request.param.read_text(encoding="utf-8"))


def own_ids() -> set[str]:
    """Return the ids of our nodes, from the sources: they cannot be imported without ComfyUI."""
    texts = {
        node.value
        for file in (ROOT / "nodes").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {text for text in texts if text.startswith("Supertile") and text.isalnum()}


def test_every_example_has_a_small_thumbnail_and_nothing_else_lies_there():
    assert len(EXAMPLES) == 9
    names = {path.stem for path in EXAMPLES}
    assert {path.name for path in FOLDER.iterdir()} == {f"{n}{s}" for n in names for s in (".json", ".jpg")}
    for name in names:
        path = FOLDER / f"{name}.jpg"
        assert path.stat().st_size < 60_000
        with Image.open(path) as thumbnail:
            assert thumbnail.format == "JPEG"
            assert thumbnail.width == thumbnail.height  # like the cards of the page


def test_nodes_are_ours_or_the_cores(example):
    ours = {node["type"] for node in example["nodes"]} - CORE - NOTES
    assert ours
    assert ours <= own_ids()


def test_links_are_consistent(example):
    nodes = {node["id"]: node for node in example["nodes"]}
    assert len(nodes) == len(example["nodes"])
    assert max(nodes) == example["last_node_id"]
    assert [link[0] for link in example["links"]] == list(range(1, example["last_link_id"] + 1))
    for number, source, output, target, place, kind in example["links"]:
        assert nodes[source]["outputs"][output]["type"] == kind
        assert number in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][place]["type"] in (kind, "*")
        assert nodes[target]["inputs"][place]["link"] == number
    ends = [slot["link"] for node in nodes.values() for slot in node["inputs"] if slot["link"] is not None]
    assert sorted(ends) == [link[0] for link in example["links"]]


def test_values_by_place_and_by_name_agree(example):
    """Older pages read them by place, newer ones by name."""
    for node in example["nodes"]:
        if node["type"] not in NOTES:
            assert node.get("widgets_values", []) == list(node.get("widgets_values_named", {}).values()), node["type"]


def test_only_bundled_models_and_files_that_are_there_or_brought_along(example):
    loaders = [node for node in example["nodes"] if node["type"] == "SupertileLoadUpscaleModel"]
    assert loaders
    assert {node["widgets_values_named"]["model_name"] for node in loaders} <= MODELS
    values = {node["type"]: node.get("widgets_values_named", {}) for node in example["nodes"]}
    assert values.get("LoadImage", {}).get("image") in (None, "example.png", *BROUGHT)
    for kind in ("LoadVideo", "SupertileUpscaleVideoFile"):
        assert values.get(kind, {}).get("file") in (None, *BROUGHT)


def test_a_note_says_what_to_change(example):
    (note,) = (node for node in example["nodes"] if node["type"] in NOTES)
    assert "**What to change**" in note["widgets_values"][0]


def test_links_run_to_the_right(example):
    """One that ran back would be hidden behind its nodes."""
    nodes = {node["id"]: node for node in example["nodes"]}
    for _, source, _, target, _, _ in example["links"]:
        assert nodes[source]["pos"][0] + nodes[source]["size"][0] < nodes[target]["pos"][0]


def test_nodes_do_not_lie_on_each_other(example):
    boxes = [(*node["pos"], *node["size"]) for node in example["nodes"]]
    for index, (left, top, width, height) in enumerate(boxes):
        for x, y, wide, high in boxes[:index]:
            apart = 30 if x < left + width and left < x + wide else 0  # a title stands above its node
            assert (
                left + width <= x or x + wide <= left or top + height + apart <= y or y + high + apart <= top
            ), (boxes[index], (x, y, wide, high))  # fmt: skip
