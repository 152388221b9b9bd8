"""Combined models, strength, kept colors and masks in a real ComfyUI, compared with the library and plain tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from .server import node
from .test_nodes import ANY, images
from .test_videos import MODEL, SIZE, clip, frames, upscaled

__all__ = ["clip"]

HAT, VAPSR, COMPACT = "one.safetensors", "two.safetensors", "four.safetensors"


def combined(server, kind: str, *names: str, precision: str = "auto", **widgets: Any) -> dict[str, Any]:
    """Nodes that load models and combine them as "model", and an "image"."""
    nodes = {f"load {number}": node(ANY, model_name=name, precision=precision) for number, name in enumerate(names, 1)}
    if kind == "chain":
        links = {f"models.model_{number}": [f"load {number}", 0] for number in range(1, len(names) + 1)}
        nodes["model"] = node("SupertileChainUpscaleModels", **links)
    else:
        nodes["model"] = node(
            "SupertileBlendUpscaleModels",
            upscale_model=["load 1", 0],
            other_model=["load 2", 0],
            **({"weight": 0.5} | widgets),
        )
    return {**nodes, "image": node("ProbeLoadTensor", name=images(server, "combined.pt", 1, 24, 36, 3))}


def upscaling(nodes: dict[str, Any], **widgets: Any) -> dict[str, Any]:
    widgets = {"size": "model scale", "precision": "fp32"} | widgets
    return nodes | {
        "upscale": node("SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0], **widgets),
        "core": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["image", 0]),
    }


def source(server, name: str = "combined.pt") -> Tensor:
    return torch.load(server.base / "input" / name, weights_only=True).movedim(-1, 1)


# --- chain and blend ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [(VAPSR, VAPSR), (HAT, COMPACT), (COMPACT, VAPSR, HAT)])
def test_a_chain_is_the_librarys_and_works_in_the_core_node(server, shown, by_library, model_files, names):
    nodes = upscaling(combined(server, "chain", *names))
    result = shown(nodes, "upscale")
    then = [str(model_files / name) for name in names[1:]]
    assert result.equal(by_library(model_files / names[0], "combined.pt", then=then, precision="fp32"))
    core = shown(nodes, "core")
    assert core.shape == result.shape == (1, 24 * 2 ** len(names), 36 * 2 ** len(names), 3)
    assert (core - result).abs().max() < 1e-4, "small enough for one tile"


def test_a_chain_keeps_its_models_alone_too(server, shown):
    """They are also used alone, before and after; ComfyUI moves the weights of each by itself."""
    nodes = upscaling(combined(server, "chain", VAPSR, COMPACT))
    nodes["alone"] = node(
        "SupertileUpscaleImage", upscale_model=["load 1", 0], image=["image", 0], size="model scale", precision="fp32"
    )
    nodes["by hand"] = node(
        "SupertileUpscaleImage", upscale_model=["load 2", 0], image=["alone", 0], size="model scale", precision="fp32"
    )
    assert shown(nodes, "by hand").equal(shown(nodes, "upscale"))


@pytest.mark.parametrize("others", [(VAPSR, VAPSR), (HAT, VAPSR), (COMPACT, HAT)])
def test_a_blend_is_the_librarys(server, shown, by_library, model_files, others):
    first, second = others
    nodes = upscaling(combined(server, "blend", first, second, weight=0.25))
    expected = by_library(model_files / first, "combined.pt", blend=[str(model_files / second), 0.25], precision="fp32")
    assert shown(nodes, "upscale").equal(expected)
    assert (shown(nodes, "core") - expected).abs().max() < 1e-4


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("weight", [0, 0.5, 1])
def test_a_blend_of_the_bundled_pair_is_denoise(server, shown, by_library, scale, weight):
    names = f"supertile-{scale}x.safetensors", f"supertile-photo-{scale}x.safetensors"
    nodes = upscaling(combined(server, "blend", *names, weight=weight))
    expected = by_library(Path(f"supertile-{scale}x"), "combined.pt", denoise=weight, precision="fp32")
    assert shown(nodes, "upscale").equal(expected)


def test_combined_models_load_in_half_precision(server, shown):
    for kind in ("chain", "blend"):
        results = {}
        for precision in ("auto", "bf16"):
            nodes = upscaling(combined(server, kind, VAPSR, COMPACT, precision=precision), precision="auto")
            results[precision] = shown(nodes, "upscale"), shown(nodes, "core")
        for one, half in zip(*results.values(), strict=True):
            assert not one.equal(half)
            assert (one - half).abs().mean() < 0.01


def test_models_that_comfyui_has_hung_handles_on_are_combined(server, shown):
    nodes = combined(server, "chain", VAPSR, COMPACT)
    nodes["hung"] = node("ProbeDynamicVRAM", upscale_model=["load 1", 0])
    nodes["model"]["inputs"]["models.model_1"] = ["hung", 0]
    assert shown(upscaling(nodes), "upscale").shape == (1, 96, 144, 3)


def test_other_nodes_take_combined_models(server):
    nodes = combined(server, "chain", VAPSR, COMPACT)
    nodes["large"] = node("ProbeLoadTensor", name=images(server, "seams.pt", 1, 150, 140, 3))
    nodes |= {
        "info": node("SupertileUpscaleModelInfo", upscale_model=["model", 0]),
        "map": node(
            "SupertileLocalAttributionMap", upscale_model=["model", 0], image=["image", 0], x=0, y=0, patch_size=0,
            steps=2,
        ),
        "seams": node(
            "SupertileSeamCheck", upscale_model=["model", 0], image=["large", 0], tile="96", overlap="auto",
            search=False, below=1.0,
        ),
    }  # fmt: skip
    result = server.run(nodes)
    assert result.status == "success", (result, server.log_text()[-3000:])
    (text,) = result.outputs["info"]["text"]
    assert text.startswith(f"file: {VAPSR}, then {COMPACT}\nfamily: VapSR, then RealESRGAN Compact\n")
    assert "\nscale: x4\n" in text


def test_what_cannot_be_blended_is_one_sentence(server):
    nodes = upscaling(combined(server, "blend", "supertile-2x.safetensors", "supertile-4x.safetensors", weight=0.5))
    result = server.run(nodes | {"save": node("ProbeSaveTensor", image=["upscale", 0], name="x.pt")})
    assert result.status == "error"
    assert result.message.strip() == (
        "supertile-2x.safetensors enlarges 2x and supertile-4x.safetensors 4x; only models of equal scale can be "
        "blended."
    )


def test_a_chain_needs_two_models(server):
    nodes = upscaling(combined(server, "chain", VAPSR))
    assert server.run(nodes | {"save": node("ProbeSaveTensor", image=["upscale", 0], name="x.pt")}).status == "rejected"


# --- strength, colors, mask --------------------------------------------------------------------------------------


def one_model(server, **widgets: Any) -> dict[str, Any]:
    nodes = {
        "image": node("ProbeLoadTensor", name=images(server, "large.pt", 2, 150, 140, 3)),
        "model": node(ANY, model_name=VAPSR),
    }
    return upscaling(nodes, tile="64", **widgets)


def bicubic(server) -> Tensor:
    larger = F.interpolate(source(server, "large.pt"), scale_factor=2, mode="bicubic", antialias=True)
    return larger.clamp(0, 1).movedim(1, -1)


def test_strength_mixes_in_the_bicubic_image(server, shown):
    plain = shown(one_model(server), "upscale")
    expected = 0.3 * plain + 0.7 * bicubic(server)
    torch.testing.assert_close(shown(one_model(server, strength=0.3), "upscale"), expected, atol=1e-5, rtol=0)
    assert shown(one_model(server, strength=1.0, keep_colors="no"), "upscale").equal(plain)


def test_a_result_with_kept_colors_reduces_to_its_source(server, shown):
    result = shown(one_model(server, keep_colors="yes"), "upscale").movedim(-1, 1)
    codes = result.mul(255).round() / 255
    reduced = F.interpolate(codes, (150, 140), mode="bicubic", antialias=True)
    off = (reduced - source(server, "large.pt")).abs() * 255
    assert off.quantile(0.999) < 0.5, "but for a few pixels between black and white"
    plain = F.interpolate(
        shown(one_model(server), "upscale").movedim(-1, 1), (150, 140), mode="bicubic", antialias=True
    )
    assert off.mean() < 0.1 * ((plain - source(server, "large.pt")).abs() * 255).mean()


def masked(server, mask: Tensor, **widgets: Any) -> dict[str, Any]:
    name = f"mask {mask.shape[0]} {mask.sum():.0f}.pt"  # another for each, because ComfyUI caches what was loaded
    torch.save(mask[..., None].expand(*mask.shape, 3).clone(), server.base / "input" / name)
    return one_model(server, mask=["mask", 0], **widgets) | {
        "drawn": node("ProbeLoadTensor", name=name),
        "mask": node("ImageToMask", image=["drawn", 0], channel="red"),
    }


def test_a_mask_is_where_the_model_is_used(server, shown, by_library, model_files):
    mask = torch.zeros(1, 150, 140)
    mask[:, 30:50, 20:40] = 1
    result = shown(masked(server, mask), "upscale")
    plain = shown(one_model(server), "upscale")
    assert result[:, 60:100, 40:80].equal(plain[:, 60:100, 40:80])
    torch.testing.assert_close(result[:, 140:, 120:], bicubic(server)[:, 140:, 120:], atol=1e-6, rtol=0)
    where = str(server.base / "input" / "mask 1 400.pt")
    assert result.equal(by_library(model_files / VAPSR, "large.pt", mask=where, tile=64, precision="fp32"))


def test_each_image_has_its_own_mask(server, shown):
    masks = torch.stack([torch.zeros(20, 20), torch.ones(20, 20)])
    result = shown(masked(server, masks), "upscale")
    torch.testing.assert_close(result[0], bicubic(server)[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(result[1], shown(one_model(server), "upscale")[1], atol=1e-3, rtol=0)


def test_masks_that_cannot_be_paired_are_refused(server):
    nodes = masked(server, torch.ones(3, 8, 8))
    result = server.run(nodes | {"save": node("ProbeSaveTensor", image=["upscale", 0], name="x.pt")})
    assert "There are 3 masks for 2 images; connect one for each, or one for all." in result.message


def test_an_empty_mask_is_said(server):
    nodes = masked(server, torch.zeros(1, 8, 8))
    result = server.run(nodes | {"save": node("ProbeSaveTensor", image=["upscale", 0], name="x.pt")})
    assert result.status == "success", result
    (text,) = result.outputs["upscale"]["text"]
    assert text.splitlines()[-1] == "note: The mask is empty, so the image was only resampled."


# --- videos ------------------------------------------------------------------------------------------------------


def test_videos_are_finished_and_chained(server, clip):
    results = {}
    for name, widgets in {"plain": {}, "source": {"strength": 0.0}, "kept": {"keep_colors": "yes"}}.items():
        nodes = {"video": node("LoadVideo", file=clip), **upscaled(["video", 0], codec="ffv1", **widgets)}
        nodes["save"] = node("SaveVideo", video=["upscale", 0], filename_prefix="finished", format="auto",
                             **{"format.codec": "auto"})  # fmt: skip
        result = server.run(nodes)
        assert result.status == "success", (result, server.log_text()[-3000:])
        path = server.base / "output" / result.outputs["save"]["images"][0]["filename"]
        results[name] = torch.stack([torch.from_numpy(frame) for frame in frames(path)]).movedim(-1, 1).float()
    before = torch.stack([torch.from_numpy(f) for f in frames(server.base / "input" / clip)]).movedim(-1, 1).float()
    off = {
        name: (F.interpolate(video, before.shape[2:], mode="bicubic", antialias=True) - before).abs().mean()
        for name, video in results.items()
    }
    assert max(off["kept"], off["source"]) < 0.1 * off["plain"], off


def test_a_workflow_that_was_saved_before_these_inputs_runs(server, clip):
    """Its values by place have that of the upload button where the page now reads the first of the new inputs."""
    nodes = {
        **MODEL,
        "upscale": node(
            "SupertileUpscaleVideoFile", upscale_model=["model", 0], file=clip, **SIZE, filename_prefix="former",
            format="mkv", **{"format.codec": "ffv1"}, quality=90, keep_colors="image",
        ),
    }  # fmt: skip
    result = server.run(nodes)
    assert result.status == "success", (result, server.log_text()[-3000:])
    nodes["upscale"]["inputs"]["keep_colors"] = "perhaps"
    assert server.run(nodes).status == "rejected"
