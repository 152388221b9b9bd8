"""The child that opens damaged files with Supertile: what a user, and ComfyUI's lists, do with a file of each kind."""

from __future__ import annotations

import os
import sys
import tempfile
import types
from pathlib import Path

os.environ["SUPERTILE_KERNELS"] = "off"  # compiling starts a process, which the auditor would take for the file's

import av
import torch
from PIL import Image, ImageSequence, PngImagePlugin
from safetensors.torch import save_file
from supertile import Span, Upscaler, convert_checkpoint, load_model, upscale_image_file, upscale_video
from supertile.arch import VapSR, VapSRConfig
from supertile.images.io.animation import ANIMATION_SUFFIXES
from supertile.tests.fuzz.serve import Opener, UnreadableResultError, serve

PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 1 << 28  # results keep long text


def _openers() -> dict[str, Opener]:
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        path = Path(folder, "worker.safetensors")
        save_file(VapSR(VapSRConfig(scale=2, num_feat=4, num_blocks=1, attention_dim=4)).state_dict(), path)
        upscaler = Upscaler(load_model(path), device="cpu", precision="fp32")
    lists = _comfyui_lists()

    def checkpoint(path: Path, target: Path) -> None:
        lists(path)
        model = load_model(path)
        Upscaler(model, device="cpu", precision="fp32")(torch.full((1, model.input_channels, 8, 8), 0.5))
        convert_checkpoint(path, target)

    def image(path: Path, target: Path) -> None:
        upscale_image_file(path, target, upscaler)
        _check_images(target)

    def animation(path: Path, target: Path) -> None:
        upscale_video(path, target, upscaler)
        if target.suffix in ANIMATION_SUFFIXES:
            _check_images(target)

    def video(path: Path, target: Path) -> None:
        report = upscale_video(path, target, upscaler, span=Span(end=1))
        try:
            with av.open(str(target)) as result:
                decoded = sum(1 for _ in result.decode(video=0))
        except Exception as error:
            raise UnreadableResultError(f"{target.name}: {error}") from error
        if decoded != report.frames:
            raise UnreadableResultError(f"{target.name} has {decoded} frames of {report.frames}")

    return {"checkpoint": checkpoint, "image": image, "animation": animation, "video": video}


def _check_images(path: Path) -> None:
    try:
        with Image.open(path) as result:
            for frame in ImageSequence.Iterator(result):
                frame.load()
    except Exception as error:
        raise UnreadableResultError(f"{path.name}: {error}") from error


def _comfyui_lists():  # type: ignore[no-untyped-def]
    """Return a function that builds the nodes' lists of models for a folder that holds one file."""
    folder_paths = types.ModuleType("folder_paths")
    cli_args = types.ModuleType("comfy.cli_args")
    cli_args.args = types.SimpleNamespace(disable_metadata=False)  # type: ignore[attr-defined]
    latest = types.ModuleType("comfy_api.latest")
    latest.io = types.SimpleNamespace(FolderType=object)  # type: ignore[attr-defined]
    sys.modules |= {
        "folder_paths": folder_paths, "comfy": types.ModuleType("comfy"), "comfy.cli_args": cli_args,
        "comfy_api": types.ModuleType("comfy_api"), "comfy_api.latest": latest,
    }  # fmt: skip
    from supertile.nodes.folders import model_files

    def lists(path: Path) -> None:
        folder_paths.get_filename_list = lambda kind: [path.name]  # type: ignore[attr-defined]
        folder_paths.get_full_path = lambda kind, name: str(path) if name == path.name else None  # type: ignore[attr-defined]
        assert path.name in model_files()
        for family in ("HAT", "VapSR", "HiT-SR"):
            model_files(family)

    return lists


if __name__ == "__main__":
    serve(_openers())
