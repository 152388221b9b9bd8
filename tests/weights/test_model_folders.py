"""Models found by name, and listed by their headers."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from supertile.arch import HAT, HATConfig, VapSR, VapSRConfig
from supertile.weights import torch_files
from supertile.weights.bundle import bundled_models, resolve
from supertile.weights.catalog import license_of, list_models
from supertile.weights.errors import UnreadableCheckpointError
from supertile.weights.loader import load_model
from supertile.weights.model_folders import find_model, model_files, model_folders

BUNDLED = list(bundled_models())


def small_vapsr(scale: int) -> dict[str, torch.Tensor]:
    return VapSR(VapSRConfig(scale=scale, num_feat=8, num_blocks=1, attention_dim=8)).state_dict()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A model folder, named by SUPERTILE_MODELS; the current and the home folder are empty."""
    for name in ("home", "here", "models/HAT"):
        (tmp_path / name).mkdir(parents=True)
    models = tmp_path / "models"
    save_file(small_vapsr(2), models / "Sharp_x2.safetensors", metadata={"modelspec.license": "CC-BY-4.0"})
    torch.save({"params_ema": small_vapsr(4)}, models / "Sharp_x4.pth")
    config = HATConfig(scale=3, num_feat=16, embed_dim=12, depths=(1,), num_heads=(2,))
    save_file(HAT(config).state_dict(), models / "HAT" / "Clean.safetensors")
    (models / "broken.pth").write_bytes(b"<!DOCTYPE html>" + bytes(1000))
    (models / "notes.txt").write_text("no model")
    (models / ".hidden.pth").touch()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("SUPERTILE_MODELS", str(models))
    return models


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("Sharp_x4.pth", "Sharp_x4.pth"),
        ("Sharp_x4", "Sharp_x4.pth"),
        ("sharp_X4", "Sharp_x4.pth"),
        ("HAT/Clean.safetensors", "HAT/Clean.safetensors"),
        ("HAT/Clean", "HAT/Clean.safetensors"),
        ("Clean", "HAT/Clean.safetensors"),
        ("cl", "HAT/Clean.safetensors"),
        ("hat/c", "HAT/Clean.safetensors"),
        ("Sharp_x2.safe", "Sharp_x2.safetensors"),
    ],
)
def test_a_name_is_found_without_suffix_folder_case_or_end(folder, name, file):
    assert find_model(name) == resolve(name) == folder / file


def test_a_model_is_loaded_by_its_name(folder):
    assert load_model("Sharp_x2").scale == 2


def test_a_path_that_exists_comes_before_every_name(folder):
    Path("Sharp_x2").write_text("a file of this name")
    assert resolve("Sharp_x2") == Path("Sharp_x2")
    assert resolve(folder / "Sharp_x2.safetensors") == folder / "Sharp_x2.safetensors"
    assert resolve("supertile-2x") == bundled_models()["supertile-2x"]


@pytest.mark.parametrize("name", ["", ".", "..", "/", "/Sharp_x2", "../models/Sharp", "none", "harp"])
def test_other_names_are_not_found(folder, name):
    assert find_model(name) is None


def test_a_beginning_of_several_names_lists_them(folder):
    with pytest.raises(UnreadableCheckpointError) as refused:
        load_model("Sharp")
    names = "Sharp_x2.safetensors and Sharp_x4.pth"
    assert str(refused.value) == (f"Cannot load Sharp: several models begin with this name: {names}; type more of it.")


@pytest.mark.parametrize(
    ("name", "near"),
    [("Shrap_x4.pth", "Sharp_x4.pth"), ("supertile4x", "supertile-4x"), ("cleen", "HAT/Clean.safetensors")],
)
def test_near_names_are_suggested(folder, name, near):
    with pytest.raises(UnreadableCheckpointError, match=r"there is no such file; did you mean .*\?$") as refused:
        load_model(name)
    assert near in str(refused.value)


def test_folders_come_in_order_and_once(folder, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    comfyui = tmp_path / "home" / "ComfyUI" / "models" / "upscale_models"
    comfyui.mkdir(parents=True)
    (tmp_path / "link").symlink_to(other)
    named = (other, tmp_path / "link", tmp_path / "missing", folder)
    monkeypatch.setenv("SUPERTILE_MODELS", os.pathsep.join(map(str, named)))
    assert model_folders() == [other, folder, comfyui]
    for each in (comfyui, other):
        save_file(small_vapsr(3), each / "Sharp_x2.safetensors")
    assert find_model("Sharp_x2") == other / "Sharp_x2.safetensors"


def test_comfyui_is_found_in_the_current_folder(folder, monkeypatch):
    monkeypatch.setenv("SUPERTILE_MODELS", "")
    assert model_folders() == []
    Path("models/upscale_models").mkdir(parents=True)
    assert [path.resolve() for path in model_folders()] == [Path("models/upscale_models").resolve()]


def test_a_link_to_a_folder_above_ends(folder):
    (folder / "loop").symlink_to(folder)
    assert len(model_files()) < 100


def test_the_list_names_what_each_file_is(folder, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(torch_files, "read_tensors", refuse)
    monkeypatch.setattr("supertile.weights.files.read_safetensors_tensors", refuse)
    listing = {each.name: each for each in list_models()}
    assert list(listing) == ["broken.pth", "HAT/Clean.safetensors", "Sharp_x2.safetensors", "Sharp_x4.pth", *BUNDLED]
    sharp = listing["Sharp_x2.safetensors"]
    assert (sharp.family, sharp.scale, sharp.license, sharp.problem) == ("VapSR", 2, "CC-BY-4.0", None)
    assert (listing["Sharp_x4.pth"].scale, listing["Sharp_x4.pth"].license) == (4, None)
    assert (listing["HAT/Clean.safetensors"].family, listing["HAT/Clean.safetensors"].scale) == ("HAT", 3)
    assert listing["broken.pth"].family is None
    assert "HTML" in str(listing["broken.pth"].problem) or "web page" in str(listing["broken.pth"].problem)
    assert listing["supertile-4x"].license == "Apache-2.0"
    assert sharp.file_bytes == sharp.path.stat().st_size


def test_another_family_is_named_and_its_scale_is_a_guess(folder):
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    torch.save(SRVGGNetCompact(num_feat=8, num_conv=2).state_dict(), folder / "4x_other.pth")
    save_file({"layer.weight": torch.ones(64, 64)}, folder / "unknown.safetensors")
    listing = {each.name: each for each in list_models()}
    other = listing["4x_other.pth"]
    assert (other.family, other.scale, other.scale_from_name) == ("RealESRGAN Compact", 4, True)
    assert listing["unknown.safetensors"].problem == "Neither Supertile nor spandrel knows its architecture."


@pytest.mark.parametrize(
    ("metadata", "license"),
    [({"License": "MIT"}, "MIT"), ({"licence": " CC \n BY"}, "CC BY"), ({"license": 1}, None), ({}, None)],
)
def test_the_license_is_what_the_file_states(metadata, license):
    assert license_of(metadata) == license


def test_500_files_are_listed_in_seconds(folder):
    for number in range(500):
        os.link(folder / "Sharp_x2.safetensors", folder / f"{number}.safetensors")
    started = time.process_time()
    assert len(list_models()) == 504 + len(BUNDLED)
    assert time.process_time() - started < 10
