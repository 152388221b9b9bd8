"""Compare Images in a real ComfyUI: figures, images and refusals."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from supertile.analysis.comparison import compare
from supertile.analysis.comparison_sheet import draw_sheet, sentence
from supertile.analysis.fidelity import Fidelity, mean

from .server import node


@pytest.fixture
def stored(server):
    """Store images as an input file under a name that ComfyUI has not cached; return the name."""

    def store(images: torch.Tensor) -> str:
        name = f"compared_{time.monotonic_ns()}.pt"
        torch.save(images, server.base / "input" / name)
        return name

    return store


def batch(count: int, channels: int = 3, height: int = 32, seed: int = 0) -> torch.Tensor:
    """Random images, 40 pixels wide."""
    return torch.rand(count, height, 40, channels, generator=torch.Generator().manual_seed(seed))


def compared(one: str, other: str, **widgets: Any) -> dict[str, Any]:
    return {
        "one": node("ProbeLoadTensor", name=one),
        "other": node("ProbeLoadTensor", name=other),
        "compare": node("SupertileCompareImages", image=["one", 0], reference=["other", 0], **widgets),
    }


def by_library(a: torch.Tensor, b: torch.Tensor, border: int = 0):
    return compare(a.movedim(-1, 0), b.movedim(-1, 0), border)


@pytest.mark.parametrize("border", [0, 5])
def test_the_report_is_what_the_library_measures(server, stored, border):
    a, b = batch(1), batch(1, seed=1)
    result = server.run(compared(stored(a), stored(b), border=border))
    assert result.status == "success", result
    assert result.outputs["compare"]["text"] == [sentence(by_library(a[0], b[0], border).fidelity)]
    assert len(result.outputs["compare"]["images"]) == 1


def test_the_images_are_those_of_the_library(server, shown, stored):
    a, b = batch(2), batch(1, seed=1)
    found = [by_library(each, b[0]) for each in a]
    for output, expected in (
        (6, [each.difference for each in found]),
        (5, [
            draw_sheet(one.movedim(-1, 0), b[0].movedim(-1, 0), each, ("image", "reference"))
            for one, each in zip(a, found, strict=True)
        ]),
    ):  # fmt: skip
        nodes = compared(stored(a), stored(b))
        nodes["picked"] = node("ImageFromBatch", image=["compare", output], batch_index=0, length=2)
        result = shown(nodes, "picked").movedim(-1, 1)
        assert torch.allclose(result[:, :, 110:], torch.stack(expected)[:, :, 110:], atol=1e-6)  # below its letters
        assert result.shape == torch.stack(expected).shape


def test_figures_are_numbers_for_other_nodes(server, stored):
    a, b = batch(3), batch(3, seed=1)
    figures = mean([by_library(*pair).fidelity for pair in zip(a, b, strict=True)])
    nodes = compared(stored(a), stored(b))
    names = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb")
    for index, name in enumerate(names, 1):
        nodes[name] = node("PreviewAny", source=["compare", index])
    result = server.run(nodes)
    assert result.status == "success", result
    assert Fidelity(*(float(result.outputs[name]["text"][0]) for name in names)) == figures
    lines = result.outputs["compare"]["text"][0].splitlines()
    assert [line.partition(":")[0] for line in lines] == ["1", "2", "3", "mean"]


def test_equal_images_beside_others_in_a_batch(server, shown, stored):
    a = batch(2)
    b = a.clone()
    b[1] = 1 - b[1]
    nodes = compared(stored(a), stored(b))
    text = server.run(nodes).outputs["compare"]["text"][0].splitlines()
    assert text[0] == "1: equal: no pixel differs"
    assert text[2].startswith("mean: Y inf dB, SSIM 0.")
    nodes["picked"] = node("ImageFromBatch", image=["compare", 5], batch_index=0, length=2)
    sheets = shown(nodes, "picked")
    assert torch.equal(sheets[0, -200:], sheets[0, -1:].expand(200, -1, -1))  # paper, where the other has its detail
    assert not torch.equal(sheets[1, -200:], sheets[1, -1:].expand(200, -1, -1))


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"count": 2}, {"count": 3}, "Batches of 2 and 3 images cannot be paired"),
        ({"count": 1}, {"count": 1, "height": 30}, "images of 40x32 and 40x30 cannot be compared pixel by pixel"),
        ({"count": 1, "channels": 4}, {"count": 1}, "Transparent images cannot be compared"),
        ({"count": 1, "height": 8}, {"count": 1, "height": 8}, "fewer than 11 pixels a side"),
    ],
)
def test_what_cannot_be_compared_is_refused(server, stored, one, other, message):
    result = server.run(compared(stored(batch(**one)), stored(batch(**other))))
    assert result.status == "error"
    assert message in result.message
    assert "\n" not in result.message.strip()


def test_gray_and_opaque_images_are_compared_as_color(server, stored):
    gray, color = batch(1, channels=1), batch(1, channels=3, seed=1)
    opaque = torch.cat([color, torch.ones(1, 32, 40, 1)], -1)
    result = server.run(compared(stored(gray), stored(opaque)))
    assert result.outputs["compare"]["text"] == [sentence(by_library(gray[0], color[0]).fidelity)]
