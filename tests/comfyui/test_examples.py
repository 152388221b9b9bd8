"""Every example workflow and blueprint in a real ComfyUI: it is listed, it runs unchanged, its result has its size."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from supertile.arch import VapSR, VapSRConfig

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.json"))
BLUEPRINT = FOLDER.parent / "subgraphs" / "Upscale video, exact.json"
PICTURE, CLIP = (40, 24), (64, 48)  # width, height
INPUTS = FOLDER.parent / "web" / "examples"
SIZES = {
    "Upscale an image": (160, 96),
    "Upscale an image to 4K": (3840, 2304),
    "Upscale a part of an image": (160, 96),
    "Chain two models": (160, 96),
    "Blend two models": (160, 96),
    "Upscale a seamless texture": (512, 512),
    "Upscale a folder": (512, 512),
    "Upscale a video": (256, 192),
    "Upscale a long video file": (256, 192),
}

WRITING = {"SaveImage", "SaveVideo", "SupertileUpscaleFolder", "SupertileUpscaleVideoFile"}
PACK = "extensions/ComfyUI-Supertile"
NO_MORE = object()


@pytest.fixture(scope="module", autouse=True)
def material(server, randomized) -> None:
    """Supply what is not ours: the image that ComfyUI ships, a video, and models if they are missing."""
    for scale in (2, 4):
        name = f"supertile-{scale}x.safetensors"
        if name not in server.options("SupertileLoadUpscaleModel", "model_name"):
            network = randomized(VapSR(VapSRConfig(scale=scale, num_feat=8, num_blocks=1, attention_dim=8)))
            save_file(network.state_dict(), server.base / "models" / "upscale_models" / name)
    slope = np.linspace(0, 255, PICTURE[0] * PICTURE[1] * 3).reshape(PICTURE[1], PICTURE[0], 3).astype(np.uint8)
    Image.fromarray(slope).save(server.base / "input" / "example.png")
    with av.open(str(server.base / "input" / "example.mp4"), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = *CLIP, "yuv420p"
        for index in range(5):
            image = np.full((CLIP[1], CLIP[0], 3), 40 * index, np.uint8)
            output.mux(video.encode(av.VideoFrame.from_ndarray(image)))
        output.mux(video.encode(None))


def test_the_server_lists_and_serves_them(server):
    assert sorted(server.get("/workflow_templates")["ComfyUI-Supertile"]) == EXAMPLES
    for name in EXAMPLES:
        path = f"/api/workflow_templates/ComfyUI-Supertile/{urllib.parse.quote(name)}"
        assert server.get(f"{path}.json")["nodes"]
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}.jpg", timeout=30) as answer:
            assert answer.headers["Content-Type"] == "image/jpeg"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(server, name):
    workflow = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    supply(server, workflow["extra"]["supertile_inputs"])
    result = server.run(prompt(workflow, server.get("/object_info")), seconds=600)
    assert result.status == "success", (result, server.log_text()[-3000:])
    kinds = {str(node["id"]): node["type"] for node in workflow["nodes"]}
    (last,) = (number for number in result.outputs if kinds[number] in WRITING)
    if kinds[last] == "SupertileUpscaleFolder":
        assert result.outputs[last]["text"][0].startswith("2 files done.\n")
        path = server.base / "output" / "upscaled" / "bricks.png"
    elif kinds[last] == "SupertileUpscaleVideoFile":
        (text,) = result.outputs[last]["text"]
        name_of_file = next(line for line in text.splitlines() if line.startswith("file: ")).removeprefix("file: ")
        path = server.base / "output" / name_of_file
        assert path.suffix == ".mkv"
    else:
        (shown,) = result.outputs[last]["images"]
        path = server.base / "output" / shown["subfolder"] / shown["filename"]
    assert size_of(path, frames=50) == SIZES[name]


def supply(server: Any, inputs: dict[str, str]) -> None:
    """Put inputs that are missing where web/js/example_inputs.js puts them; the server must serve them."""
    for value, file in inputs.items():
        target = server.base / "input" / value
        if not target.exists():
            assert value == f"supertile/{file}"
            target.parent.mkdir(exist_ok=True)
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/{PACK}/examples/{file}", timeout=30) as answer:
                target.write_bytes(answer.read())


def test_workflows_name_their_inputs(server):
    for name in EXAMPLES:
        workflow = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        values = [value for each in workflow["nodes"] for value in each.get("widgets_values", [])]
        for value, file in workflow["extra"]["supertile_inputs"].items():
            assert (INPUTS / file).is_file()
            assert value in values or "input/supertile" in values
    assert f"/{PACK}/js/example_inputs.js" in server.get("/extensions")


def test_the_texture_tiles():
    """Neighbors across an edge differ as others do, in input and result."""
    image = np.asarray(Image.open(INPUTS / "bricks.png"), np.float32)
    for axis in (0, 1):
        steps = np.abs(np.roll(image, -1, axis) - image).mean((1 - axis, 2))  # the last one is across the edge
        assert steps[-1] < np.quantile(steps, 0.95)
    assert (INPUTS / "bricks.png").stat().st_size < 150_000


def test_the_server_lists_and_serves_the_blueprint(server):
    listed = server.get("/global_subgraphs").items()
    ours = [(key, entry["name"]) for key, entry in listed if entry["info"]["node_pack"].endswith("ComfyUI-Supertile")]
    ((key, name),) = ours
    assert name == BLUEPRINT.stem
    assert json.loads(server.get(f"/global_subgraphs/{key}")["data"]) == json.loads(BLUEPRINT.read_text("utf-8"))


def test_the_blueprint_runs(server):
    workflow = json.loads(BLUEPRINT.read_text(encoding="utf-8"))
    (inner,) = workflow["definitions"]["subgraphs"]
    (outer,) = workflow["nodes"]
    assert (outer["type"], outer["title"]) == (inner["id"], BLUEPRINT.stem)
    assert [slot["name"] for slot in outer["inputs"]] == [slot["name"] for slot in inner["inputs"]]
    assert [slot["name"] for slot in outer["outputs"]] == [slot["name"] for slot in inner["outputs"]]
    nodes, known = {node["id"]: node for node in inner["nodes"]}, server.get("/object_info")
    links = {link["id"]: link for link in inner["links"]}
    for node in nodes.values():
        for slot in node["inputs"]:  # what comes from outside keeps its value
            slot["link"] = None if slot["link"] and links[slot["link"]]["origin_id"] == -10 else slot["link"]
    ends = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    inner["links"] = [[link[end] for end in ends] for link in links.values()]
    queued = prompt(inner, known) | {"file": {"class_type": "LoadVideo", "inputs": {"file": "example.mp4"}}}
    for position, outside in enumerate(inner["inputs"]):
        (link,) = (links[number] for number in outside["linkIds"])
        target = nodes[link["target_id"]]["inputs"][link["target_slot"]]
        assert (link["origin_id"], link["origin_slot"], target["name"]) == (-10, position, outside["name"])
    (video,) = (links[number] for number in inner["inputs"][0]["linkIds"])
    queued[str(video["target_id"])]["inputs"]["video"] = ["file", 0]
    (result,) = (links[number] for number in inner["outputs"][0]["linkIds"])
    saving = {"filename_prefix": "video/blueprint", "format": "auto", "codec": "auto"}
    saving["video"] = [str(result["origin_id"]), result["origin_slot"]]
    queued["save"] = {"class_type": "SaveVideo", "inputs": saving}
    done = server.run(queued, seconds=600)
    assert done.status == "success", (done, server.log_text()[-3000:])
    (shown,) = done.outputs["save"]["images"]
    assert size_of(server.base / "output" / shown["subfolder"] / shown["filename"], frames=5) == (128, 96)


def test_all_sizes_are_known():
    assert sorted(SIZES) == EXAMPLES


def size_of(path: Path, frames: int) -> tuple[int, int]:
    if path.suffix == ".png":
        with Image.open(path) as image:
            return image.size
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    assert len(decoded) == frames
    return decoded[0].width, decoded[0].height


# --- a workflow of the page -> a prompt --------------------------------------------------------------------------

DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
WIDGETS = {"COMBO", "INT", "FLOAT", "STRING", "BOOLEAN", DYNAMIC}


def prompt(workflow: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Return the prompt that the page sends for a workflow."""
    ends = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    nodes = {}
    for node in workflow["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        values = iter(node.get("widgets_values", []))
        inputs = dict(widgets(known[node["type"]]["input"], values))
        assert all(value == "image" for value in values), "values are left over"  # the button that uploads is one
        inputs |= {slot["name"]: ends[slot["link"]] for slot in node["inputs"] if slot["link"] is not None}
        nodes[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return nodes


def widgets(groups: dict[str, Any], values: Iterator[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield names and values of a node's widgets in the page's order, from values saved by position.

    Widgets that were added since keep their default.
    """
    for group in ("required", "optional"):
        for name, (kind, *more) in groups.get(group, {}).items():
            if not isinstance(kind, list) and kind not in WIDGETS:
                continue  # a socket
            if (value := next(values, NO_MORE)) is NO_MORE:
                return
            yield prefix + name, value
            if kind == DYNAMIC:
                chosen = next(option for option in more[0]["options"] if option["key"] == value)
                yield from widgets(chosen["inputs"], values, f"{prefix}{name}.")
