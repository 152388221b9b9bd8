"""Without --model the source decides which bundled network serves it; --denoise blends both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from supertile.cli import app
from supertile.images.journal import JOURNAL_NAME
from supertile.weights import bundle
from typer.testing import CliRunner


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder: in/ with a JPEG, another one and a clean PNG."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    codes = np.linspace(0, 255, 24 * 20 * 3).reshape(24, 20, 3).astype(np.uint8)
    for name in ("drawing.png", "photo.jpg", "second.jpg"):
        Image.fromarray(codes).save(f"in/{name}")
    return tmp_path


@pytest.fixture
def loaded(monkeypatch) -> list[str]:
    """The names of the models that were loaded."""
    names: list[str] = []
    monkeypatch.setattr("supertile.weights.loader.resolve", lambda path: names.append(path) or bundle.resolve(path))
    return names


def run(*arguments: str):
    return CliRunner().invoke(app, ["upscale", *arguments, "--device", "cpu"])


def test_a_jpeg_gets_the_network_for_photos_and_a_line_says_so(folder, loaded):
    result = run("in/photo.jpg", "out.png")
    assert result.exit_code == 0, result.output
    assert result.stderr == "photo.jpg is a JPEG: supertile-photo-4x; choose another with --model.\n"
    assert loaded == ["supertile-photo-4x"]
    assert run("in/photo.jpg", "small.png", "--size", "2x", "-q").stderr == ""
    assert loaded[1:] == ["supertile-photo-2x"]


def test_a_folder_of_both_says_it_once_for_each_kind_and_loads_each_once(folder, loaded):
    result = run("in", "out")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == [
        "drawing.png is clean: supertile-4x; choose another with --model.",
        "photo.jpg is a JPEG: supertile-photo-4x; choose another with --model.",
        "3 files done.",
    ]
    assert sorted(loaded) == ["supertile-4x", "supertile-photo-4x"]


def test_each_file_is_what_its_network_makes_of_it_and_the_journal_knows(folder):
    run("in", "out", "--format", "png")
    for name, model in (("drawing.png", "supertile-4x"), ("photo.jpg", "supertile-photo-4x")):
        run(f"in/{name}", "alone.png", "--overwrite", "-m", model)
        alone = np.asarray(Image.open("alone.png"))
        assert np.array_equal(alone, np.asarray(Image.open(Path("out", name).with_suffix(".png")))), name
    assert "3 skipped (done before)" in run("in", "out", "--format", "png").stderr
    assert Path("out", JOURNAL_NAME).is_file()
    result = run("in", "out", "--format", "png", "--model", "supertile-4x")
    assert result.exit_code == 1
    assert "0 files done, 1 skipped (done before), 2 failed." in result.stderr
    assert "made with another model (chosen by the source, now supertile-4x)" in result.stderr


def test_a_model_given_overrides(folder, loaded):
    result = run("in/photo.jpg", "out.png", "--model", "supertile-4x")
    assert result.stderr == ""
    assert loaded == ["supertile-4x"]


def test_several_devices_share_the_files_of_either_kind(folder):
    result = CliRunner().invoke(app, ["upscale", "in", "out", "--devices", "cpu,cpu", "--size", "2x"])
    assert result.exit_code == 0, result.output
    run("in", "one", "--size", "2x")
    for name in ("drawing.png", "photo.jpg"):
        assert Path("out", name).read_bytes() == Path("one", name).read_bytes(), name


def test_denoise_blends_both_networks(folder):
    images = {}
    for strength in ("0", "0.5", "1"):
        assert run("in/photo.jpg", "out.png", "--overwrite", "--denoise", strength, "--size", "2x").exit_code == 0
        images[strength] = np.asarray(Image.open("out.png"))
    for strength, model in (("0", "supertile-2x"), ("1", "supertile-photo-2x")):
        assert run("in/photo.jpg", "out.png", "--overwrite", "--model", model).exit_code == 0
        assert np.array_equal(images[strength], np.asarray(Image.open("out.png")))
    assert not np.array_equal(images["0.5"], images["0"])
    assert not np.array_equal(images["0.5"], images["1"])


def test_denoise_refuses_other_models_and_other_numbers(folder):
    Path("other.safetensors").write_bytes(b"")
    result = run("in/photo.jpg", "out.png", "--denoise", "0.5", "--model", "other.safetensors")
    assert result.exit_code == 1
    assert "for the bundled networks only" in result.stderr
    assert run("in/photo.jpg", "out.png", "--denoise", "1.5").exit_code == 2
