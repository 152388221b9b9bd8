"""`supertile models`, `--models` and the completion of names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from supertile.arch.vapsr import VapSR, VapSRConfig
from supertile.cli import app
from supertile.cli.options import complete_model
from typer.testing import CliRunner


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder: photo.png, and mine/ with a model and a file that is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUPERTILE_MODELS", raising=False)
    Image.new("RGB", (8, 6), (200, 80, 40)).save("photo.png")
    torch.manual_seed(0)
    Path("mine").mkdir()
    network = VapSR(VapSRConfig(scale=3, num_feat=8, num_blocks=1, attention_dim=8))
    save_file(network.state_dict(), "mine/Sharp.safetensors", metadata={"license": "CC0"})
    Path("mine/broken.pth").write_bytes(b"version https://git-lfs.github.com/spec/v1\n" + bytes(500))
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, arguments)


def test_models_are_listed_with_the_broken_ones(folder):
    result = run("models", "mine")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    own = next(line for line in lines if line[:2] == ["Sharp.safetensors", "VapSR"])
    assert own[-4:] == ["3x", "0.1", "MB", "CC0"]
    assert ["supertile-4x", "VapSR", "(32", "channels,", "16", "blocks)", "4x", "0.4", "MB", "Apache-2.0"] in lines
    assert any(line.startswith("mine/broken.pth: ") for line in result.stdout.splitlines())


def test_models_as_json(folder, monkeypatch):
    monkeypatch.setenv("SUPERTILE_MODELS", "mine")
    listing = {each["name"]: each for each in json.loads(run("models", "--json").stdout)}
    assert listing["Sharp.safetensors"]["scale"] == 3
    assert listing["Sharp.safetensors"]["path"] == "mine/Sharp.safetensors"
    assert listing["broken.pth"]["problem"]


def test_a_folder_is_searched_by_the_command_that_names_it(folder):
    result = run("upscale", "photo.png", "large.png", "--models", "mine", "-m", "sharp", "--device", "cpu")
    assert result.exit_code == 0, result.output
    with Image.open("large.png") as image:
        assert image.size == (24, 18)
    assert "SUPERTILE_MODELS" not in os.environ
    assert run("info", "sharp").exit_code == 1
    assert json.loads(run("info", "sharp", "--models", "mine", "--json").stdout)["scale"] == 3


@pytest.mark.parametrize("command", ["upscale", "info", "convert", "eval", "bench", "attribution", "receptive-field"])
def test_every_command_with_a_model_takes_a_folder(command):
    assert "--models" in run(command, "--help").output


def test_names_and_files_are_completed(folder, monkeypatch):
    assert complete_model("supertile-p") == ["supertile-photo-2x", "supertile-photo-4x"]
    assert complete_model("mine/") == ["mine/Sharp.safetensors", "mine/broken.pth"]
    assert complete_model("missing/") == []
    monkeypatch.setenv("SUPERTILE_MODELS", "mine")
    assert complete_model("Sh") == ["Sharp", "Sharp.safetensors"]


def test_the_shell_completes_names(folder):
    environment = {"_SUPERTILE_COMPLETE": "complete_bash", "COMP_WORDS": "supertile upscale a b --model sup"}
    environment["COMP_CWORD"] = "5"
    result = CliRunner().invoke(app, [], env=environment, prog_name="supertile")
    assert "supertile-photo-4x" in result.stdout
