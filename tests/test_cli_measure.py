"""The commands that measure a model: figures as the library gives them, whole files, errors as sentences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from supertile.analysis.attribution import Patch, attribute
from supertile.analysis.gradients import Differentiable
from supertile.analysis.seams import SeamCheck
from supertile.arch.vapsr import VapSR, VapSRConfig
from supertile.cli import app
from supertile.weights.loader import load_model
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def model(tmp_path_factory, randomized) -> str:
    net = randomized(VapSR(VapSRConfig(scale=2, num_feat=8, num_blocks=1, attention_dim=8)))
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_file(net.state_dict(), path)
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with a.png."""
    monkeypatch.chdir(tmp_path)
    codes = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(codes).save("a.png")
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, arguments)


def test_maps_of_two_models_and_their_figures(folder, model, read_rgb):
    options = ["--patch", "10,12,3", "--steps", "4", "--json", "a.json", "--device", "cpu"]
    result = run("attribution", "a.png", "map.png", "-m", model, "-m", "supertile-2x", *options)
    assert result.exit_code == 0, result.stderr
    figures = json.loads(Path("a.json").read_text())
    assert figures["patch"] == {"x": 10, "y": 12, "size": 3}
    assert [each["model"] for each in figures["models"]] == [model, "supertile-2x"]
    found = attribute(
        Differentiable(load_model(model), device="cpu"), read_rgb(Path("a.png")), Patch(10, 12, 3), steps=4
    )
    assert figures["models"][0]["diffusion_index"] == pytest.approx(found.diffusion_index, rel=1e-4)
    assert figures["models"][0]["completeness"] == pytest.approx(found.completeness, rel=1e-4)
    assert f"DI {found.diffusion_index:.2f}" in result.stdout
    with Image.open("map.png") as drawn:
        assert drawn.width > 3 * 384  # the image, and a map for each model
        red = np.array(drawn.convert("RGB")).astype(int)
    assert ((red[..., 0] - red[..., 1]) > 100).any()


def test_a_field_on_noise_and_on_images(folder, model):
    result = run("receptive-field", "field.png", "-m", model, "--side", "32", "--count", "1", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "farthest 12 pixels" in result.stdout  # 8 of the block, 4 around it
    result = run("receptive-field", "b.png", "-m", model, "--image", "a.png", "--json", "b.json", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert json.loads(Path("b.json").read_text())["models"][0]["farthest"] == 12
    assert Path("field.png").stat().st_size > 0 < Path("b.png").stat().st_size


def test_seams_and_the_smallest_overlap(folder, model, read_rgb):
    options = ["--model", model, "--tile", "36", "--overlap", "0", "--below", "5", "--device", "cpu"]
    result = run("seams", "a.png", *options, "--json", "--out", "map.png")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["overlap"] == 0
    assert found["largest"] > 1
    check = SeamCheck(load_model(model), read_rgb(Path("a.png")), 36, device="cpu", precision="fp32")
    smallest = check.smallest(5)
    assert (found["smallest"] or {}).get("overlap") == (smallest and smallest.overlap)
    assert Path("map.png").is_file()
    said = run("seams", "a.png", *options)
    sentence = (
        "No overlap" if smallest is None else f"The smallest overlap with errors below 5/255 is {smallest.overlap}."
    )
    assert sentence in said.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["attribution", "a.png", "a.png"], 1, "a.png is the source itself"),
        (["attribution", "a.png", "map.xyz"], 1, "map.xyz ends in '.xyz', which cannot be written"),
        (["attribution", "a.png", "map.png", "--patch", "46,0,8"], 1, "does not lie in an image of 48x40"),
        (["attribution", "a.png", "map.png", "--patch", "4,4"], 2, "is not X,Y,SIZE"),
        (["attribution", "none.png", "map.png"], 1, "none.png does not exist"),
        (["seams", "a.png", "--tile", "64"], 1, "is a single tile of 64"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(folder, model, arguments, code, sentence):
    result = run(*arguments, "--model", model, "--device", "cpu")
    assert result.exit_code == code
    assert sentence in " ".join(result.stderr.replace("│", " ").split())
    assert [path.name for path in folder.iterdir()] == ["a.png"]


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(folder, model):
    Path("map.png").write_bytes(b"mine")
    arguments = ["attribution", "a.png", "map.png", "--model", model, "--steps", "1", "--device", "cpu"]
    assert run(*arguments).exit_code == 1
    assert Path("map.png").read_bytes() == b"mine"
    assert run(*arguments, "--overwrite").exit_code == 0
    assert torch.from_numpy(np.array(Image.open("map.png"))).float().std() > 0
