"""ComfyUI's folders of upscale models, with those of its extra_model_paths.yaml."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from supertile.weights.comfyui_folders import EXTRA_PATHS, comfyui_folders
from supertile.weights.model_folders import find_model, model_folders

EXAMPLE = """\
# Rename this to extra_model_paths.yaml
comfyui:
     base_path: /comfy   # an install
     #is_default: true
     checkpoints: models/checkpoints/
     text_encoders: |
          models/text_encoders/
          models/clip/
     upscale_models: models/upscale_models/

# config for a1111 ui
"a1111":
    base_path: 'stable diffusion/webui'
    upscale_models: |
                  models/ESRGAN

                  models/RealESRGAN
    embeddings: embeddings
empty:
own:
  is_default: True
  upscale_models: "/mine/best models"
"""


def write(root: Path, text: str) -> None:
    (root / EXTRA_PATHS).write_text(text, encoding="utf-8")


def test_the_order_is_comfyuis(tmp_path):
    own = tmp_path / "models" / "upscale_models"
    assert comfyui_folders(tmp_path) == [own]
    write(tmp_path, EXAMPLE)
    assert comfyui_folders(tmp_path) == [
        Path("/mine/best models"),
        own,
        Path("/comfy/models/upscale_models"),
        tmp_path / "stable diffusion/webui/models/ESRGAN",
        tmp_path / "stable diffusion/webui/models/RealESRGAN",
    ]


def test_a_default_moves_to_the_front_and_home_and_variables_are_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DISK", "/disk")
    write(tmp_path, "a:\n  base_path: ~/x\n  upscale_models: m\nb:\n  base_path: $DISK\n  upscale_models: m\n")
    assert comfyui_folders(tmp_path)[1:] == [Path(os.path.expanduser("~/x/m")), Path("/disk/m")]
    write(tmp_path, "a:\n  upscale_models: |\n    x\n    y\nb:\n  is_default: yes\n  upscale_models: y\n")
    assert comfyui_folders(tmp_path) == [tmp_path / "y", tmp_path / "models" / "upscale_models", tmp_path / "x"]


def test_models_are_found_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SUPERTILE_MODELS", "")
    folder, comfyui = tmp_path / "elsewhere", tmp_path / "home" / "ComfyUI"
    folder.mkdir()
    comfyui.mkdir(parents=True)
    write(comfyui, f"mine:\n    base_path: {folder.parent}\n    upscale_models: elsewhere\n")
    (folder / "Sharp.safetensors").touch()
    assert model_folders() == [folder]
    assert find_model("sharp") == folder / "Sharp.safetensors"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "upscale_models: x\n",
        "- a\n- b\n",
        "{a: {upscale_models: x}}\n",
        "a: {upscale_models: x}\n",
        "a:\n  - upscale_models\n",
        "a: !!python/object/apply:os.system [echo]\n",
        "a:\n\tupscale_models: x\n",
        "a:\n  b:\n    upscale_models: x\n",
        "a:\n  upscale_models:\n",
        "a:\n  upscale_models: # x\n",
        "a:\n  upscale_models: |\n",
        "a" * 100_000,
        ": :\n" * 10_000,
    ],
)
def test_what_is_written_otherwise_is_passed_over(tmp_path, text):
    write(tmp_path, text)
    assert comfyui_folders(tmp_path) == [tmp_path / "models" / "upscale_models"]


def test_files_that_are_no_text_are_passed_over(tmp_path):
    own = [tmp_path / "models" / "upscale_models"]
    (tmp_path / EXTRA_PATHS).write_bytes(b"\xff\xfea:\n")
    assert comfyui_folders(tmp_path) == own
    (tmp_path / EXTRA_PATHS).write_bytes(b"a:\n upscale_models: x\n" + b"#" * (2 << 20))
    assert comfyui_folders(tmp_path) == own
    (tmp_path / EXTRA_PATHS).unlink()
    (tmp_path / EXTRA_PATHS).mkdir()
    assert comfyui_folders(tmp_path) == own


def test_no_text_is_an_error(tmp_path):
    generator = random.Random(0)
    for _ in range(300):
        write(tmp_path, "".join(generator.choices("a:|>'\"\\#- \n{}[]&*!%", k=200)) + "\n a:\n  upscale_models: x")
        assert tmp_path / "models" / "upscale_models" in comfyui_folders(tmp_path)
