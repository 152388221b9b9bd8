"""A real ComfyUI server with this pack among its nodes, on the CPU, started once.

COMFYUI_PATH names a checkout of ComfyUI, COMFYUI_PYTHON an interpreter that has its requirements (default: this one).
Without the first, these tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent


@dataclass
class Result:
    """What became of a prompt: "success", "error", "interrupted", or "rejected" before it ran."""

    status: str
    message: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)


class Server:
    """A running ComfyUI, spoken to over HTTP."""

    def __init__(self, comfyui: Path, python: str, base: Path) -> None:
        self.base, self.python, self.log = base, python, base / "server.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [
            python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(self.port),
            "--base-directory", str(base), "--database-url", f"sqlite:///{base}/user/comfyui.db",
            "--disable-auto-launch", "--disable-api-nodes",
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=comfyui, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )

    def wait_until_ready(self, seconds: float = 180) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.get("/system_stats")
                return
            except OSError:
                time.sleep(0.3)
        raise RuntimeError(f"ComfyUI did not start:\n{self.log_text()[-3000:]}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: object) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def options(self, node: str, name: str) -> list[str]:
        """What a combo of a node offers."""
        inputs = self.get(f"/object_info/{node}")[node]["input"]
        return next(group[name][1]["options"] for group in inputs.values() if name in group)

    def queue(self, prompt: dict[str, Any]) -> str:
        return self.post("/prompt", {"prompt": prompt})["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = 120) -> Result:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI died:\n{self.log_text()[-3000:]}")
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry:
                messages = dict(entry["status"]["messages"])
                if "execution_interrupted" in messages:
                    return Result("interrupted")
                if "execution_error" in messages:
                    return Result("error", messages["execution_error"]["exception_message"])
                return Result(entry["status"]["status_str"], outputs=entry["outputs"])
            time.sleep(0.1)
        raise TimeoutError(f"no result within {seconds} s:\n{self.log_text()[-3000:]}")

    def watch(self, prompt: dict[str, Any], of: str) -> tuple[list[tuple[int, int]], int]:
        """Run nodes as a browser would: every (done, total) of one of them, and how many previews came."""
        script = [self.python, str(HERE / "browser.py"), str(self.port), json.dumps(prompt), of]
        done = subprocess.run(script, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout)
        return [tuple(step) for step in seen["steps"]], seen["previews"]

    def run(self, prompt: dict[str, Any]) -> Result:
        try:
            return self.wait(self.queue(prompt))
        except urllib.error.HTTPError as error:
            answer = json.load(error)
            details = [e for node in answer.get("node_errors", {}).values() for e in node["errors"]]
            return Result("rejected", "; ".join(f"{e['message']}: {e['details']}" for e in details))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, model_files: Path) -> Iterator[Server]:
    place = os.environ.get("COMFYUI_PATH")
    if not place:
        pytest.skip("COMFYUI_PATH names no checkout of ComfyUI")
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
def model_files(tmp_path_factory: pytest.TempPathFactory, randomised: Callable) -> Path:
    """ComfyUI's folder of upscale models, with one small network of each family and files that are none."""
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
        state = randomised(network).state_dict()
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
    """Runs nodes and gives what comes out of one of them as an IMAGE, to the bit; fails where they fail."""

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
    """Runs the library on ComfyUI's interpreter: see library.py."""
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
    """What the library makes of pictures in ComfyUI's input folder."""

    def run(model: Path, source: str, size: str = "", **options: Any) -> Tensor:
        return torch.load(library(model, server.base / "input" / source, "result.pt", size, options), weights_only=True)

    return run


@pytest.fixture
def by_library_video(library: Callable[..., Path]) -> Callable[..., Path]:
    """What the library makes of a video."""
    return lambda model, source, size="", **options: library(model, source, "result.mp4", size, options)


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}
