"""A real ComfyUI server with this node pack, on the CPU, started once.

COMFYUI_PATH is the path of a checkout of ComfyUI, COMFYUI_PYTHON an interpreter with its requirements (default: this
one). Without COMFYUI_PATH these tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from torch import Tensor, nn

from .server import Server, node

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, model_files: Path) -> Iterator[Server]:
    place = os.environ.get("COMFYUI_PATH")
    if not place:
        pytest.skip("COMFYUI_PATH is not set")
    base = model_files.parents[1]
    shutil.copy(HERE / "probe_nodes.py", base / "custom_nodes")
    (base / "custom_nodes" / "ComfyUI-Supertile").symlink_to(ROOT, target_is_directory=True)
    running = Server(Path(place), os.environ.get("COMFYUI_PYTHON", sys.executable), base)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory, randomized: Callable) -> Path:
    """ComfyUI's folder of upscale models, with one small network of each family and files that are no models."""
    base = tmp_path_factory.mktemp("comfyui")
    for name in ("custom_nodes", "models/upscale_models/more", "input", "output", "temp", "user"):
        (base / name).mkdir(parents=True)
    folder = base / "models" / "upscale_models"
    small = {"depths": (2,), "num_heads": (2,), "embed_dim": 16}
    networks = {
        "one.safetensors": HAT(HATConfig(scale=2, window_size=8, num_feat=16, **small)),
        "two.safetensors": VapSR(VapSRConfig(scale=2, num_feat=16, num_blocks=2, attention_dim=16)),
        "more/three.safetensors": HiTSR(HiTSRConfig(scale=2, mlp_dim=32, **small)),
        "four.safetensors": compact(),
    }
    for name, network in networks.items():
        state = randomized(network).state_dict()
        facts = {"modelspec.license": "CC0-1.0", "modelspec.author": "the tests"} if name == "one.safetensors" else None
        save_file({n: t.contiguous() for n, t in state.items()}, folder / name, facts)
    (folder / "broken.safetensors").write_bytes(b"no checkpoint at all, whatever its name says")
    save_file({"lora_up.weight": torch.zeros(2, 2)}, folder / "lora.safetensors")
    return folder


def compact() -> nn.Module:
    """Real-ESRGAN's compact network, x2, by the names its files have; spandrel knows it."""
    layers = [nn.Conv2d(3, 16, 3), nn.PReLU(16), nn.Conv2d(16, 16, 3), nn.PReLU(16), nn.Conv2d(16, 12, 3)]
    return nn.ModuleDict({"body": nn.Sequential(*layers)})


@pytest.fixture
def shown(server: Server) -> Callable[[dict[str, Any], str], Tensor]:
    """Run nodes and return the IMAGE of one of them, to the bit; fail if they fail."""

    def run(nodes: dict[str, Any], last: str) -> Tensor:
        target = server.base / "output" / "shown.pt"
        target.unlink(missing_ok=True)
        save = node("ProbeSaveTensor", image=[last, 0], name=target.name)
        result = server.run({**nodes, f"save {time.monotonic_ns()}": save})  # a new id: never from ComfyUI's cache
        assert result.status == "success", (result, server.log_text()[-3000:])
        return torch.load(target, weights_only=True)

    return run


@pytest.fixture(scope="session")
def library(server: Server) -> Callable[..., Path]:
    """Run the library on ComfyUI's interpreter: see library.py."""
    (server.base / "library").mkdir()
    (server.base / "library" / "supertile").symlink_to(ROOT, target_is_directory=True)

    def run(model: Path, source: Path, target: str, size: str, options: dict[str, Any]) -> Path:
        path = server.base / "library" / target
        path.unlink(missing_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(path.parent)}
        arguments = [str(HERE / "library.py"), *map(str, (model, source, path)), size, json.dumps(options)]
        subprocess.run([server.python, *arguments], check=True, env=environment, timeout=120)
        return path

    return run


@pytest.fixture
def by_library(server: Server, library: Callable[..., Path]) -> Callable[..., Tensor]:
    """Upscale images in ComfyUI's input folder with the library."""

    def run(model: Path, source: str, size: str = "", **options: Any) -> Tensor:
        return torch.load(library(model, server.base / "input" / source, "result.pt", size, options), weights_only=True)

    return run


@pytest.fixture
def by_library_video(library: Callable[..., Path]) -> Callable[..., Path]:
    """Upscale a video with the library."""
    return lambda model, source, size="", **options: library(model, source, "result.mp4", size, options)
