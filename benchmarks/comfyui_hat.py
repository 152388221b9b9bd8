"""Compare our HAT with spandrel's in a real ComfyUI, both loaded and run by ComfyUI's own nodes.

    python -m supertile.benchmarks.comfyui_hat --comfyui CHECKOUT --python ITS_PYTHON [--side 192] [--rounds 3]

*Load Upscale Model* and *Upscale Image (using Model)*, in two servers: one as it is with this pack, one with
SUPERTILE_SPANDREL_HAT=0. They take turns with the same images, after a small one that is not measured. Measured are the
time from the prompt to its end and the growth of the server's peak memory, and how far the results differ: from each
other, and from those of *Upscale Image (Supertile)*, which runs once at the end.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..arch import HAT, HATConfig
from ..arch.hat import overlap_bias_index, window_bias_index
from ..diagnostics.processor import processor_name
from ..tests.comfyui.server import Server, node
from .comfyui_nodes import ROOT, Prompt, make_folders, peak, run

MODEL = "HAT_SRx4.pth"
GIVEN = {"upscale_model": ["model", 0], "image": ["image", 0]}
CORE = node("ImageUpscaleWithModel", **GIVEN)
OURS = node("SupertileUpscaleImage", **GIVEN, size="model scale", precision="fp32")
SERVERS = {"ours": {}, "spandrel's": {"SUPERTILE_SPANDREL_HAT": "0"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--side", type=int, default=192, help="of the square images, in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        bases = {name: Path(stack.enter_context(tempfile.TemporaryDirectory())) for name in SERVERS}
        servers = {}
        for name, base in bases.items():
            prepare(base, arguments.side, arguments.rounds)
            servers[name] = Server(arguments.comfyui, arguments.python, base, SERVERS[name])
            stack.callback(servers[name].stop)
        seconds: dict[str, list[float]] = {name: [] for name in SERVERS}
        before = {}
        for name, server in servers.items():
            server.wait_until_ready()
            upscale(server, "warm.png")
            before[name] = peak(server)
        for number in range(arguments.rounds):
            for name, server in servers.items():
                seconds[name].append(upscale(server, f"{number}.png"))
        print(f"{processor_name()}; HAT x4, {arguments.side}x{arguments.side}")
        for name, server in servers.items():
            each = ", ".join(f"{value:.1f}" for value in seconds[name])
            print(f"{name}: {each} s; peak memory {before[name]} MiB before and {peak(server) - before[name]} MiB more")
        ratios = [theirs / ours for ours, theirs in zip(*seconds.values(), strict=True)]
        print(f"time: {statistics.median(ratios):.2f} times ours ({min(ratios):.2f} to {max(ratios):.2f})")
        last = f"{arguments.rounds - 1}.png"
        run(servers["ours"], prompt(last, "own node", OURS))
        largest = max(
            difference(*(base / "output" / f"{number}.pt" for base in bases.values()))
            for number in range(arguments.rounds)
        )
        outputs = bases["ours"] / "output"
        own = difference(outputs / f"{arguments.rounds - 1}.pt", outputs / "own node.pt")
        print(f"largest difference from spandrel's: {largest:.2g}; from our node: {own:.2g}")


def prepare(base: Path, side: int, rounds: int) -> None:
    """Make a server's folders, with a HAT of random weights and with images; the same in every folder."""
    make_folders(base)
    shutil.copy(ROOT / "tests" / "comfyui" / "probe_nodes.py", base / "custom_nodes")
    torch.manual_seed(0)
    network = HAT(HATConfig(scale=4))
    state = dict(network.state_dict())
    state["relative_position_index_SA"] = window_bias_index(network.config.window_size)
    state["relative_position_index_OCA"] = overlap_bias_index(network.config.window_size, network.config.overlap_window)
    torch.save({"params_ema": state}, base / "models" / "upscale_models" / MODEL)
    noise = np.random.default_rng(0)
    for name, size in {"warm": 64, **{str(number): side for number in range(rounds)}}.items():
        coarse = Image.fromarray(noise.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8))
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(base / "input" / f"{name}.png")


def upscale(server: Server, image: str) -> float:
    """Return the seconds that it takes."""
    begin = time.monotonic()
    run(server, prompt(image, Path(image).stem, CORE))
    return time.monotonic() - begin


def prompt(image: str, name: str, upscaling: Prompt) -> Prompt:
    """Upscale an image by a node, and store the result to the bit."""
    return {
        "model": node("UpscaleModelLoader", model_name=MODEL),
        "image": node("LoadImage", image=image),
        "upscale": upscaling,
        "save": node("ProbeSaveTensor", image=["upscale", 0], name=f"{name}.pt"),
    }


def difference(one: Path, other: Path) -> float:
    """Return the largest difference between two results in [0, 1]."""
    a, b = (torch.load(path, weights_only=True) for path in (one, other))
    return float((a - b).abs().max())


if __name__ == "__main__":
    main()
