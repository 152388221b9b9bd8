"""Every node in a real ComfyUI: its options, results, refusals and interruption."""

from __future__ import annotations

import shutil
import time
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from supertile.weights.bundle import bundled_models

from .server import node

LOADERS = {
    "SupertileLoadHATModel": "one.safetensors",
    "SupertileLoadVapSRModel": "two.safetensors",
    "SupertileLoadHiTSRModel": "more/three.safetensors",
}
HAT, VAPSR, HITSR = LOADERS
ANY = "SupertileLoadUpscaleModel"
BUNDLED = [f"supertile-{name}.safetensors" for name in ("2x", "4x", "photo-2x", "photo-4x")]


def images(server, name: str, *shape: int) -> str:
    """Store smooth images with edges as an input file; return its name."""
    count, height, width, channels = shape
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    plane = 0.5 + 0.4 * torch.sin(9 * x + 5 * y) * torch.sign(x - y)
    phases = torch.arange(count * channels).view(count, 1, 1, channels) / 7
    torch.save((plane[None, :, :, None] * (1 - phases) + phases / 2).clamp(0, 1), server.base / "input" / name)
    return name


def loaded_and_shown(server, name: str = "small.pt") -> dict[str, Any]:
    return {"image": node("ProbeLoadTensor", name=images(server, name, 1, 24, 36, 3))}


def described(loader: str, name: str, **options: str) -> dict[str, Any]:
    """Load a model and describe it."""
    model = node(loader, model_name=name, **options)
    return {"model": model, "info": node("SupertileUpscaleModelInfo", upscale_model=["model", 0])}


# --- loaders -----------------------------------------------------------------------------------------------------


def test_the_pack_is_loaded(server):
    nodes = {name for name, facts in server.get("/object_info").items() if "Supertile" in facts["python_module"]}
    upscaling = {
        "SupertileUpscaleImage",
        "SupertileUpscaleVideo",
        "SupertileUpscaleVideoFile",
        "SupertileUpscaleFolder",
    }
    combining = {"SupertileChainUpscaleModels", "SupertileBlendUpscaleModels"}
    measuring = {"UpscaleModelInfo", "CompareImages", "LocalAttributionMap", "SeamCheck"}
    assert nodes == {*LOADERS, ANY, *combining, *upscaling, *(f"Supertile{name}" for name in measuring)}
    assert "(IMPORT FAILED)" not in server.log_text()


def test_each_loader_lists_the_files_of_its_family(server):
    for loader, name in LOADERS.items():
        own = [each for each in server.options(loader, "model_name") if not each.startswith("added")]
        assert own == [name, *(BUNDLED if loader == "SupertileLoadVapSRModel" else [])]
    everything = server.options(ANY, "model_name")
    assert {*LOADERS.values(), "four.safetensors", *BUNDLED} <= set(everything)
    assert {"broken.safetensors", "lora.safetensors"} <= set(everything)  # which say what is wrong when they are loaded
    assert server.log_text().count("broken.safetensors: ") == 1  # logged once, however often ComfyUI asks for the lists


def test_a_file_that_appears_is_listed(server, model_files):
    shutil.copy(model_files / "two.safetensors", model_files / "added.safetensors")
    assert "added.safetensors" in server.options("SupertileLoadVapSRModel", "model_name")
    assert "added.safetensors" not in server.options("SupertileLoadHATModel", "model_name")


def test_a_list_without_models_says_where_they_come_from(server, model_files):
    (model_files / "one.safetensors").rename(model_files / "one.away")
    try:
        listed = [each for each in server.options(HAT, "model_name") if not each.startswith("added")]
        assert listed in ([], ["no HAT model in models/upscale_models"])
        result = server.run(described(HAT, "no HAT model in models/upscale_models"))
    finally:
        (model_files / "one.away").rename(model_files / "one.safetensors")
    assert result.status == "rejected"
    assert "Choose a HAT model: put one into models/upscale_models and press R." in result.message
    assert "github.com/XPixelGroup/HAT and openmodeldb.info" in result.message


@pytest.mark.parametrize("loader", LOADERS)
def test_saved_workflows_that_name_a_bundled_model_keep_running(server, loader):
    """Earlier versions offered them in every list."""
    result = server.run(described(loader, "supertile-2x.safetensors"))
    assert result.status == "success", result
    assert "family: VapSR" in result.outputs["info"]["text"][0]


def test_a_model_of_another_family_is_named(server):
    result = server.run(described(HAT, "two.safetensors"))
    assert result.status == "rejected"
    assert "two.safetensors is not a HAT model; Load Upscale Model (Supertile) opens it." in result.message


@pytest.mark.parametrize("loader", [*LOADERS, ANY])
def test_a_device_may_be_chosen(server, shown, loader):
    """This server runs on the CPU alone, where every choice gives the same, also a card of another machine."""
    assert server.options(loader, "device") == ["default", "cpu"]
    results = []
    for device in ({}, {"device": "default"}, {"device": "cpu"}, {"device": "gpu:7"}):
        model = node(loader, model_name=LOADERS.get(loader, "four.safetensors"), **device)
        core = node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["image", 0])
        results.append(shown({**loaded_and_shown(server), "model": model, "core": core}, "core"))
    assert all(result.equal(results[0]) for result in results)
    assert "This machine has no gpu:7; " in server.log_text()
    refused = server.run(described(loader, LOADERS.get(loader, "four.safetensors"), device="gpu:first"))
    assert refused.status == "rejected"
    assert "device: 'gpu:first' is not offered; choose default, cpu." in refused.message


@pytest.mark.parametrize("loader", [*LOADERS, ANY])
def test_a_loaded_model_works_in_the_core_node_at_every_precision(server, shown, loader):
    name = LOADERS.get(loader, "four.safetensors")
    results = {}
    for precision in ("auto", "fp32", "bf16", "fp16"):
        nodes = {
            **loaded_and_shown(server),
            "model": node(loader, model_name=name, precision=precision),
            "core": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["image", 0]),
        }
        results[precision] = shown(nodes, "core")
        assert results[precision].shape == (1, 48, 72, 3)
        assert results[precision].dtype == torch.float32
    assert results["auto"].equal(results["fp32"])
    for half in ("bf16", "fp16"):
        assert not results[half].equal(results["fp32"])
        assert (results[half] - results["fp32"]).abs().mean() < 0.01


def test_mean_and_base_window_reach_the_model(server, shown):
    def with_options(loader: str, **options: str) -> torch.Tensor:
        model = node(loader, model_name=LOADERS[loader], **options)
        core = node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["image", 0])
        return shown({**loaded_and_shown(server), "model": model, "core": core}, "core")

    for loader, option in [
        ("SupertileLoadHATModel", {"mean": "0.5 (neosr)"}),
        ("SupertileLoadHiTSRModel", {"mean": "0.5 (neosr)"}),
        ("SupertileLoadHiTSRModel", {"base_window": "16"}),
    ]:
        assert not with_options(loader, **option).equal(with_options(loader))


def test_a_file_that_changes_is_loaded_anew(server, shown, model_files):
    (model_files / "added_later.safetensors").write_bytes((model_files / "two.safetensors").read_bytes())
    nodes = {
        **loaded_and_shown(server),
        "model": node(ANY, model_name="added_later.safetensors"),
        "core": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["image", 0]),
    }
    before = shown(nodes, "core")
    (model_files / "added_later.safetensors").write_bytes((model_files / "one.safetensors").read_bytes())
    assert not shown(nodes, "core").equal(before)


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_models_work_without_any_file(server, shown, name):
    nodes = {
        **loaded_and_shown(server),
        "model": node(ANY, model_name=name),
        "core": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["image", 0]),
    }
    scale = 2 if "2x" in name else 4
    larger = shown(nodes, "core")
    assert larger.shape == (1, 24 * scale, 36 * scale, 3)
    small = torch.nn.functional.avg_pool2d(larger.movedim(-1, 1), scale).movedim(1, -1)
    source = torch.load(server.base / "input" / "small.pt", weights_only=True)
    assert (small - source).abs().mean() < 0.02  # the same image, not noise


# --- the core's loader -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["HAT", "VapSR", "HiT-SR", "bundled"])
def test_the_core_loads_and_runs_our_families(server, shown, model_files, official_vapsr, golden_case, kind):
    sources = {
        "HAT": lambda: golden_case("hat_s_like_x2").path,
        "VapSR": lambda: official_vapsr("VapSR_X2.pth"),
        "HiT-SR": lambda: golden_case("hit_srf_x4").path,
        "bundled": lambda: bundled_models()["supertile-4x"],
    }
    source = sources[kind]()
    name = f"added_{source.name}"
    shutil.copy(source, model_files / name)
    results = []
    for loader in ("UpscaleModelLoader", ANY):
        nodes = {
            **loaded_and_shown(server),
            "model": node(loader, model_name=name),
            "core": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["image", 0]),
        }
        results.append(shown(nodes, "core"))
    scale = 2 if kind in ("HAT", "VapSR") else 4
    assert results[0].shape == (1, 24 * scale, 36 * scale, 3)
    assert results[0].equal(results[1])


def test_saved_hat_workflows_of_core_nodes_run_with_our_network(server, model_files, golden_case):
    """As plug-ins of other programs send them: only nodes of the core, and the authors' file as it is published."""
    weights = load_file(golden_case("hat_s_like_x2").path)
    torch.save({"params_ema": weights}, model_files / "added_HAT_SRx4_ImageNet-pretrain.pth")
    Image.effect_noise((40, 33), 60).convert("RGB").save(server.base / "input" / "noise.png")
    workflow = {
        "1": node("LoadImage", image="noise.png"),
        "2": node("UpscaleModelLoader", model_name="added_HAT_SRx4_ImageNet-pretrain.pth"),
        "3": node("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
        "4": node("ImageScale", image=["3", 0], upscale_method="bicubic", width=100, height=80, crop="disabled"),
        "5": node("SaveImage", images=["4", 0], filename_prefix="hat"),
    }
    result = server.run(workflow)
    assert result.status == "success", result
    (saved,) = result.outputs["5"]["images"]
    with Image.open(server.base / "output" / saved["filename"]) as image:
        assert image.size == (100, 80)
    info = node("SupertileUpscaleModelInfo", upscale_model=["2", 0])
    text = server.run({"2": workflow["2"], "info": info}).outputs["info"]["text"][0]
    assert {"family: HAT", "variant: HAT (144 channels, 2 blocks, window 16)"} <= set(text.splitlines())


# --- images ----------------------------------------------------------------------------------------------------


TILED = {"tile": "64", "overlap": "16", "batch": "2", "seamless": "both", "self_ensemble": True}


@pytest.mark.parametrize(
    ("loader", "shape", "size", "words", "widgets", "options"),
    [
        (HAT, (1, 24, 36, 3), {"size": "model scale"}, "", {}, {}),
        (VAPSR, (3, 20, 30, 3), {"size": "factor", "size.factor": 1.5}, "1.5x", {}, {}),
        (HITSR, (2, 30, 20, 4), {"size": "model scale"}, "", {}, {}),
        (HAT, (1, 30, 20, 4), {"size": "longest side", "size.longest_side": 97}, "x97", {}, {}),
        (VAPSR, (1, 24, 36, 3), {"size": "exact", "size.width": 50, "size.height": 61}, "stretch:50x61", {}, {}),
        (HITSR, (1, 24, 36, 3), {"size": "megapixels", "size.megapixels": 0.01}, "0.01mp", {}, {}),
        (VAPSR, (1, 100, 130, 3), {"size": "model scale"}, "", TILED,
         {"tile": 64, "overlap": 16, "batch": 2, "seamless": "both", "self_ensemble": True}),
        (HAT, (2, 100, 130, 4), {"size": "model scale"}, "", {"tile": "96"}, {"tile": 96}),
        (HITSR, (1, 100, 130, 3), {"size": "model scale"}, "", {"tile": "whole image"}, {"tile": None}),
        (HITSR, (1, 100, 130, 3), {"size": "model scale"}, "", {"tile": "whole picture"}, {"tile": None}),
        (HAT, (1, 24, 36, 3), {"size": "model scale"}, "", {"precision": "bf16"}, {"precision": "bf16"}),
    ],
)  # fmt: skip
def test_the_node_equals_the_library_bit_for_bit(
    server, shown, by_library, model_files, loader, shape, size, words, widgets, options
):
    source = images(server, f"{'x'.join(map(str, shape))}.pt", *shape)
    nodes = {
        "image": node("ProbeLoadTensor", name=source),
        "model": node(loader, model_name=LOADERS[loader]),
        "upscale": node("SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0], **size, **widgets),
    }
    result = shown(nodes, "upscale")
    expected = by_library(model_files / LOADERS[loader], source, words, **options)
    assert result.shape == expected.shape
    assert result.equal(expected)


def test_the_loaders_precision_is_the_upscalers(server, shown, by_library, model_files):
    nodes = loaded_and_shown(server)
    nodes["model"] = node("SupertileLoadHATModel", model_name="one.safetensors", precision="bf16")
    nodes["upscale"] = node("SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0], size="model scale")
    expected = by_library(model_files / "one.safetensors", "small.pt", precision="bf16")
    assert shown(nodes, "upscale").equal(expected)


@pytest.mark.parametrize("loader", [HAT, ANY])
def test_the_node_may_choose_another_precision_than_the_loader(server, shown, loader):
    results = {}
    for precision in ("auto", "bf16", "fp16", "fp32"):
        nodes = loaded_and_shown(server)
        name = LOADERS.get(loader, "four.safetensors")
        nodes["model"] = node(loader, model_name=name, precision="bf16")
        nodes["upscale"] = node(
            "SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0], size="model scale",
            precision=precision,
        )  # fmt: skip
        results[precision] = shown(nodes, "upscale")
    assert results["auto"].equal(results["bf16"])
    for one, other in [("bf16", "fp16"), ("fp16", "fp32"), ("bf16", "fp32")]:
        assert not results[one].equal(results[other])
        assert (results[one] - results[other]).abs().mean() < 0.01


def test_a_model_can_be_cast_whatever_comfyui_hangs_on_it(server, shown, by_library, model_files):
    nodes = loaded_and_shown(server)
    nodes["loaded"] = node(HAT, model_name="one.safetensors", precision="fp32")
    nodes["model"] = node("ProbeDynamicVRAM", upscale_model=["loaded", 0])
    nodes["upscale"] = node(
        "SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0], size="model scale", precision="bf16"
    )
    assert shown(nodes, "upscale").equal(by_library(model_files / "one.safetensors", "small.pt", precision="bf16"))
    nodes["core"] = node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["image", 0])
    assert shown(nodes, "core").shape == (1, 48, 72, 3)  # the model itself is unchanged


def test_progress_and_previews_are_shown(server):
    """One step for each tile; ComfyUI passes on only some of them."""
    nodes = {
        "image": node("ProbeLoadTensor", name=images(server, "watched.pt", 6, 256, 320, 3)),
        "model": node(HAT, model_name="one.safetensors"),
        "upscale": node(
            "SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0], size="model scale",
            tile="128", batch="1",
        ),
        "save": node("ProbeSaveTensor", image=["upscale", 0], name="watched.pt"),
    }  # fmt: skip
    steps, previews = server.watch(nodes, "upscale")
    tiles = steps[-1][1]
    assert tiles % 6 == 0
    assert steps[-1][0] == tiles
    assert steps == sorted(steps)
    assert len(steps) > 6
    assert previews >= 1


def test_the_node_shows_the_true_size(server):
    """The page writes the size of the small preview under it."""
    nodes = loaded_and_shown(server)
    nodes["model"] = node(VAPSR, model_name="two.safetensors")
    size = {"size": "exact", "size.width": 100, "size.height": 50}
    nodes["upscale"] = node("SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0], **size)
    nodes["save"] = node("ProbeSaveTensor", image=["upscale", 0], name="sized.pt")
    (output,) = server.seen(nodes, "upscale")["shown"]
    sizes, time_taken, *notes = output["text"][0].splitlines()
    assert sizes == "size: 36x24 -> 100x50"
    assert time_taken.startswith("time: ")
    assert notes == ["note: The model ran 2 times, to 144x96.", "note: Resampled from 144x96 to the exact size."]
    assert server.seen(nodes, "upscale")["shown"] == [output]  # again from the cache, for a page that was opened anew


def test_models_of_the_core_loader_are_taken(server, shown):
    nodes = loaded_and_shown(server)
    nodes["model"] = node("UpscaleModelLoader", model_name="four.safetensors")
    nodes["upscale"] = node("SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0], size="model scale")
    assert shown(nodes, "upscale").shape == (1, 48, 72, 3)


def test_an_interruption_stops_within_a_batch_and_the_next_prompt_runs(server, shown):
    """Eight images in tiles, each in eight flips; ComfyUI's own bar would notice only after a percent of the work."""
    nodes = {
        "image": node("ProbeLoadTensor", name=images(server, "large.pt", 8, 640, 640, 3)),
        "model": node("SupertileLoadHATModel", model_name="one.safetensors"),
        "upscale": node(
            "SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0], size="model scale",
            tile="64", batch="1", self_ensemble=True,
        ),
        "save": node("ProbeSaveTensor", image=["upscale", 0], name="never.pt"),
    }  # fmt: skip
    prompt = server.queue(nodes)
    time.sleep(3)
    assert not server.get(f"/history/{prompt}")  # it is still running
    begin = time.monotonic()
    server.post("/interrupt", {})
    assert server.wait(prompt).status == "interrupted"
    assert time.monotonic() - begin < 10  # of minutes
    assert not (server.base / "output" / "never.pt").exists()

    nodes = loaded_and_shown(server) | {"model": nodes["model"]}
    nodes["upscale"] = node("SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0], size="model scale")
    assert shown(nodes, "upscale").shape == (1, 48, 72, 3)


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../input/one.safetensors", "/etc/hostname", "more/../one.safetensors", "absent.pth", "x" * 5000]
)
@pytest.mark.parametrize("loader", [*LOADERS, ANY])
def test_names_that_are_not_listed_are_refused(server, loader, name):
    shutil.copy(server.base / "models" / "upscale_models" / "one.safetensors", server.base / "input")
    nodes = {"model": node(loader, model_name=name)}
    nodes["info"] = node("SupertileUpscaleModelInfo", upscale_model=["model", 0])
    result = server.run(nodes)
    assert result.status == "rejected"
    assert "Value not in list" in result.message
    assert len(result.message) < 1000


@pytest.mark.parametrize(
    ("size", "status", "message"),
    [
        ({"size": "factor", "size.factor": 1e9}, "rejected", "bigger than max"),
        ({"size": "exact", "size.width": 0, "size.height": 10}, "rejected", "smaller than min"),
        ({"size": "8k"}, "error", "not offered"),
        (
            {"size": "exact", "size.width": 100_000, "size.height": 100_000},
            "error",
            "result of 100000x100000 pixels",
        ),
        ({"size": "exact", "size.width": 1, "size.height": 99_999}, "error", "pixels by way of 294912x196608"),
    ],
)
def test_absurd_sizes_are_refused(server, size, status, message):
    nodes = loaded_and_shown(server)
    nodes["model"] = node(ANY, model_name="two.safetensors")
    nodes["upscale"] = node("SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0], **size)
    nodes["save"] = node("ProbeSaveTensor", image=["upscale", 0], name="never.pt")
    begin = time.monotonic()
    result = server.run(nodes)
    assert result.status == status
    assert message in result.message
    assert "\n" not in result.message.strip()
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(("value", "words"), [("nan", "not numbers (NaN)"), ("inf", "infinite"), ("-inf", "infinite")])
def test_an_image_of_no_finite_numbers_is_named(server, value, words):
    """A node that has failed made it; clamping infinity would hide that."""
    batch = torch.rand(3, 16, 16, 3)
    batch[1, 3, 4, 0] = float(value)
    torch.save(batch, server.base / "input" / f"{value}.pt")
    model, scale = ["model", 0], "model scale"
    taking = {
        "Image 2 of 3": node("SupertileUpscaleImage", upscale_model=model, image=["batch", 0], size=scale),
        "Frame 2 of 3": node("SupertileUpscaleVideo", upscale_model=model, video=["video", 0], size=scale),
        "Reference 2 of 3": node("SupertileCompareImages", image=["first", 0], reference=["batch", 0]),
        "The image": node(
            "SupertileLocalAttributionMap", upscale_model=model, image=["bad", 0], x=0, y=0, patch_size=0
        ),
    }
    for which, taker in taking.items():
        nodes = {
            "batch": node("ProbeLoadTensor", name=f"{value}.pt"),
            "first": node("ImageFromBatch", image=["batch", 0], batch_index=0, length=1),
            "bad": node("ImageFromBatch", image=["batch", 0], batch_index=1, length=1),
            "video": node("CreateVideo", images=["batch", 0], fps=10.0),
            "model": node(ANY, model_name="two.safetensors"),
            "taker": taker,
            "shown": node("PreviewAny", source=["taker", 0]),
        }
        result = server.run(nodes)
        assert result.status == "error", (which, result)
        assert result.message.startswith(f"{which} holds values that are {words}; the node that made it has failed.")


def test_a_tile_that_is_not_offered_is_refused(server):
    nodes = loaded_and_shown(server)
    nodes["model"] = node(ANY, model_name="two.safetensors")
    nodes["upscale"] = node(
        "SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0], size="model scale", tile="100"
    )
    nodes["save"] = node("ProbeSaveTensor", image=["upscale", 0], name="never.pt")
    result = server.run(nodes)
    assert result.status == "rejected"
    assert "'100' is not offered" in result.message


def test_more_images_than_memory_are_refused(server):
    torch.save(torch.zeros(1, 2, 2, 3).expand(999, -1, -1, -1).clone(), server.base / "input" / "many.pt")
    nodes = {
        "image": node("ProbeLoadTensor", name="many.pt"),
        "model": node(ANY, model_name="two.safetensors"),
        "upscale": node(
            "SupertileUpscaleImage", upscale_model=["model", 0], image=["image", 0],
            **{"size": "exact", "size.width": 16_384, "size.height": 16_384},
        ),
        "save": node("ProbeSaveTensor", image=["upscale", 0], name="never.pt"),
    }  # fmt: skip
    result = server.run(nodes)
    assert result.status == "error"
    assert "GiB are free; choose a smaller size or fewer images" in result.message


# --- model info --------------------------------------------------------------------------------------------------


def test_info_says_what_is_known(server):
    nodes = {"model": node("SupertileLoadHATModel", model_name="one.safetensors", precision="bf16")}
    nodes["info"] = node("SupertileUpscaleModelInfo", upscale_model=["model", 0])
    result = server.run(nodes)
    assert result.status == "success", result
    text = result.outputs["info"]["text"][0]
    for line in ("file: one.safetensors", "family: HAT", "scale: x2", "precision: bf16", "license: CC0-1.0"):
        assert line in text.splitlines()
    assert "images" not in result.outputs["info"], "the page would show the text twice"


def test_info_takes_models_of_other_loaders(server):
    nodes = {"model": node("UpscaleModelLoader", model_name="four.safetensors")}
    nodes["info"] = node("SupertileUpscaleModelInfo", upscale_model=["model", 0])
    text = server.run(nodes).outputs["info"]["text"][0]
    assert {"family: RealESRGAN Compact", "scale: x2", "precision: fp32"} <= set(text.splitlines())
