"""Chains, blends, strength, kept colors and masks on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from supertile import Upscaler, blend_models, chain_models
from supertile.cli import app
from supertile.tests.conftest import write_small_vapsr
from supertile.tests.video.conftest import smooth_planes, write_video
from typer.testing import CliRunner

FP32 = ("--device", "cpu", "--precision", "fp32")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder: a.png, in/b.png, in/c.png, mask.png (white at the left), model.safetensors (2x)."""
    monkeypatch.chdir(tmp_path)
    seed = np.random.default_rng(0)
    for name in ("a.png", "in/b.png", "in/c.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(seed.integers(60, 200, (20, 24, 3), dtype=np.uint8)).save(name)
    mask = np.zeros((20, 24), np.uint8)
    mask[:, :6] = 255
    Image.fromarray(mask).save("mask.png")
    write_small_vapsr(tmp_path / "model.safetensors")
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, ["upscale", *arguments, *FP32])


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_models_run_one_after_the_other(folder):
    result = run("a.png", "b.png", "--model", "supertile-2x", "--then", "supertile-photo-2x", "--then", "supertile-2x")
    assert result.exit_code == 0, result.stderr
    chain = chain_models("supertile-2x", "supertile-photo-2x", "supertile-2x")
    expected = Upscaler(chain, device="cpu", precision="fp32")(Image.open("a.png"))
    assert np.array_equal(pixels("b.png"), expected)
    assert pixels("b.png").shape == (160, 192, 3)


def test_models_are_blended(folder):
    result = run("a.png", "b.png", "--model", "supertile-2x", "--blend", "supertile-photo-2x=0.3")
    assert result.exit_code == 0, result.stderr
    blend = blend_models("supertile-2x", "supertile-photo-2x", 0.3)
    assert np.array_equal(pixels("b.png"), Upscaler(blend, device="cpu", precision="fp32")(Image.open("a.png")))


def test_results_are_finished(folder):
    result = run("a.png", "b.png", "--model", "supertile-2x", "--strength", "0.6", "--keep-colors")
    assert result.exit_code == 0, result.stderr
    with Image.open("b.png") as larger, Image.open("a.png") as source:
        reduced = np.asarray(larger.convert("RGB").resize(source.size, Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(reduced - np.asarray(source)).max() <= 1


def test_a_mask_marks_where_the_model_is_used(folder):
    assert run("a.png", "b.png", "--model", "supertile-2x", "--mask", "mask.png").exit_code == 0
    assert run("a.png", "whole.png", "--model", "supertile-2x").exit_code == 0
    assert run("a.png", "plain.png", "--model", "supertile-2x", "--strength", "0").exit_code == 0
    masked, whole, plain = (pixels(name) for name in ("b.png", "whole.png", "plain.png"))
    assert np.array_equal(masked[:, :12], whole[:, :12])
    assert np.array_equal(masked[:, -8:], plain[:, -8:])
    with Image.open("a.png") as image:
        bicubic = np.asarray(image.resize((48, 40), Image.Resampling.BICUBIC))
    assert np.abs(plain.astype(int) - bicubic.astype(int)).max() <= 1


def test_an_empty_mask_is_said(folder):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save("black.png")
    command = [sys.executable, "-m", "supertile", "upscale", "a.png", "b.png", "--model", "supertile-2x", *FP32]
    result = subprocess.run([*command, "--mask", "black.png"], capture_output=True, text=True, check=True)
    assert "The mask marks nothing, so the image is resampled, and the model does not run." in result.stderr


def test_a_folder_is_done_again_only_with_other_options(folder):
    options = ["in", "out", "--model", "supertile-2x", "--keep-colors", "--mask", "mask.png"]
    assert run(*options).exit_code == 0
    again = run(*options, "--json")
    summary = json.loads(again.stdout.splitlines()[-1])
    assert (summary["done"], summary["skipped"]) == (0, 2)
    for other in (["--strength", "0.5"], ["--then", "supertile-2x"]):
        result = run(*options, *other)
        assert result.exit_code == 1
        assert {"--strength": "strength", "--then": "model"}[other[0]] in result.stderr
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save("mask.png")
    assert "mask" in run(*options).stderr
    assert "2 files to do" in run("in", "new/", *options[2:], "--dry-run").stderr.replace("\n", " ")


def test_devices_share_images_with_all_of_it(folder):
    options = ["--model", "supertile-2x", "--then", "supertile-2x", "--blend", "supertile-photo-2x=0.5"]
    options += ["--keep-colors", "--mask", "mask.png"]
    assert run("in", "out", *options).exit_code == 0
    result = CliRunner().invoke(app, ["upscale", "in", "shared", *options, "--devices", "cpu,cpu", *FP32[2:]])
    assert result.exit_code == 0, result.stderr
    for name in ("b.png", "c.png"):
        assert np.abs(pixels(f"out/{name}").astype(int) - pixels(f"shared/{name}").astype(int)).max() <= 1


def test_videos_take_all_but_masks(folder):
    write_video("film.mp4", [smooth_planes("yuv420p", 32, 24, i) for i in range(3)], codec="libx264")
    result = run("film.mp4", "large.mkv", "--model", "supertile-2x", "--then", "supertile-2x", "--keep-colors",
                 "--mask", "mask.png")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "--mask is for images; the videos are upscaled as a whole." in result.stderr.replace("\n", " ")
    with av.open("large.mkv") as file:
        assert [(frame.width, frame.height) for frame in file.decode(video=0)] == [(128, 96)] * 3


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--then", "supertile-2x"], 2, "--then needs --model, which says what the first model is."),
        (["--blend", "supertile-2x=0.5"], 2, "--blend needs --model"),
        (["--model", "supertile-2x", "--blend", "supertile-photo-2x"], 2, "is not MODEL=WEIGHT"),
        (["--model", "supertile-2x", "--blend", "supertile-photo-2x=2"], 2, "weight from 0 to 1"),
        (["--model", "supertile-2x", "--blend", "supertile-4x=0.5"], 1, "only models of equal scale can be blended."),
        (["--model", "supertile-2x", "--then", "nothing.pth"], 1, "nothing.pth"),
        (["--model", "supertile-2x", "--strength", "1.5"], 2, "less than or equal to 1"),
        (["--model", "supertile-2x", "--mask", "missing.png"], 1, "missing.png does not exist."),
        (["--model", "supertile-2x", "--mask", "model.safetensors"], 1, "model.safetensors"),
    ],
)
def test_mistakes_are_one_sentence(folder, options, code, sentence):
    result = run("a.png", "b.png", *options)
    assert result.exit_code == code, result.stderr
    assert sentence in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr
    assert not Path("b.png").exists()
