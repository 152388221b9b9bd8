"""The measuring nodes in a real ComfyUI, which runs them in inference mode: the same figures as the library's."""

from __future__ import annotations

import pytest
import torch
from supertile.analysis.attribution import Patch, attribute
from supertile.analysis.gradients import Differentiable
from supertile.analysis.seams import SeamCheck
from supertile.weights.loader import load_model

from .server import node

LOADERS = {
    "one.safetensors": "SupertileLoadHATModel",
    "two.safetensors": "SupertileLoadVapSRModel",
    "more/three.safetensors": "SupertileLoadHiTSRModel",
    "four.safetensors": "UpscaleModelLoader",  # ComfyUI's own: its weights are made in inference mode
}


def prepared(server, name: str, loader: str) -> dict:
    y, x = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 72), indexing="ij")
    plane = 0.5 + 0.4 * torch.sin(9 * x + 5 * y) * torch.sign(x - y)
    torch.save(torch.stack([plane, plane / 2, 1 - plane], -1)[None], server.base / "input" / "measured.pt")
    return {"image": node("ProbeLoadTensor", name="measured.pt"), "model": node(loader, model_name=name)}


def pixels(server) -> torch.Tensor:
    return torch.load(server.base / "input" / "measured.pt", weights_only=True)[0].movedim(-1, 0)


@pytest.mark.parametrize("name", LOADERS)
def test_a_map_is_that_of_the_library(server, shown, model_files, name):
    nodes = prepared(server, name, LOADERS[name])
    nodes["lam"] = node(
        "SupertileLocalAttributionMap",
        upscale_model=["model", 0],
        image=["image", 0],
        x=30,
        y=20,
        patch_size=3,
        steps=4,
    )
    nodes["map"] = node("MaskToImage", mask=["lam", 1])
    result = shown(nodes, "map")[0, ..., 0]
    model = Differentiable(load_model(model_files / name), device="cpu")
    expected = attribute(model, pixels(server), Patch(30, 20, 3), steps=4).map
    torch.testing.assert_close(result, expected / expected.max(), atol=1e-3, rtol=0)
    assert result.shape == (40, 72)


def test_a_patch_outside_of_the_image_is_refused(server):
    nodes = prepared(server, "two.safetensors", "SupertileLoadVapSRModel")
    nodes["lam"] = node(
        "SupertileLocalAttributionMap", upscale_model=["model", 0], image=["image", 0], x=70, y=0, patch_size=8
    )
    result = server.run(nodes)
    assert result.status == "error"
    assert "does not lie in an image of 72x40" in result.message


def test_seams_are_those_of_the_library(server, shown, model_files):
    nodes = prepared(server, "two.safetensors", "SupertileLoadVapSRModel")
    check = node(
        "SupertileSeamCheck", upscale_model=["model", 0], image=["image", 0], tile="64", overlap="0", search=True,
        below=0.01,
    )  # fmt: skip
    nodes |= {"seams": check, "text": node("PreviewAny", source=["seams", 2])}
    result = server.run(nodes)
    assert result.status == "success", result
    model = load_model(model_files / "two.safetensors")
    smallest = SeamCheck(model, pixels(server), 64, device="cpu", precision="fp32").smallest(0.01)
    assert smallest is not None
    assert smallest.overlap > 0
    assert result.outputs["text"]["text"] == [str(smallest.overlap)]
    assert shown({**nodes}, "seams").shape[3] == 3
