"""Compare Upscale Video in a real ComfyUI with ComfyUI's own nodes and the same model.

    python -m supertile.benchmarks.comfyui_video --comfyui CHECKOUT --python ITS_PYTHON --model FILE --video FILE

Ours: Load Video, Upscale Video, Save Video. ComfyUI's: Load Video, Get Video Components, Upscale Image (using Model),
Create Video, Save Video. Each runs in its own server, one after the other, after an image has been upscaled there.
Measured are the time from the prompt to its end and the growth of the server's peak memory.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import av
from PIL import Image

from ..tests.comfyui.server import Server, node

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--video", type=Path, required=True)
    arguments = parser.parse_args()
    with av.open(str(arguments.video)) as container:
        rate = float(container.streams.video[0].average_rate or 25)
    model = {"model": node("UpscaleModelLoader", model_name=arguments.model.name)}
    source = node("LoadVideo", file=arguments.video.name)
    save = {"filename_prefix": "result", "format": "auto", "format.codec": "auto"}
    ours = {
        **model,
        "video": source,
        "upscale": node(
            "SupertileUpscaleVideo", upscale_model=["model", 0], video=["video", 0], size="model scale",
            precision="fp32",
        ),
        "save": node("SaveVideo", video=["upscale", 0], **save),
    }  # fmt: skip
    core = {
        **model,
        "video": source,
        "components": node("GetVideoComponents", video=["video", 0]),
        "upscale": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["components", 0]),
        "new": node("CreateVideo", images=["upscale", 0], audio=["components", 1], fps=rate),
        "save": node("SaveVideo", video=["new", 0], **save),
    }
    rows = [(name, *measure(arguments, prompt)) for name, prompt in (("ours", ours), ("core", core))]
    for name, seconds, before, grown, frames in rows:
        print(f"{name}: {seconds:.0f} s, peak memory {before} MiB before and {grown} MiB more, {frames} frames")
    print(f"time: {rows[1][1] / rows[0][1]:.2f} times ours; growth: {rows[1][3] / max(rows[0][3], 1):.1f} times ours")


def measure(arguments: argparse.Namespace, prompt: dict[str, Any]) -> tuple[float, int, int, int]:
    """Return seconds, peak memory before the prompt and its growth in MiB, and the frames written."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for name in ("custom_nodes", "models/upscale_models", "input", "output", "temp", "user"):
            (base / name).mkdir(parents=True)
        (base / "custom_nodes" / "ComfyUI-Supertile").symlink_to(ROOT, target_is_directory=True)
        shutil.copy(arguments.model, base / "models" / "upscale_models")
        shutil.copy(arguments.video, base / "input")
        Image.new("RGB", (64, 64), "gray").save(base / "input" / "warm.png")
        server = Server(arguments.comfyui, arguments.python, base)
        try:
            server.wait_until_ready()
            run(server, {
                "model": prompt["model"],
                "image": node("LoadImage", image="warm.png"),
                "upscale": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["image", 0]),
                "save": node("PreviewImage", images=["upscale", 0]),
            })  # fmt: skip
            before = peak(server)
            begin = time.monotonic()
            run(server, prompt)
            seconds = time.monotonic() - begin
            grown = peak(server) - before
            (result,) = (base / "output").glob("result*")
            with av.open(str(result)) as container:
                frames = sum(1 for _ in container.decode(video=0))
            return seconds, before, grown, frames
        finally:
            server.stop()


def run(server: Server, prompt: dict[str, Any]) -> None:
    result = server.wait(server.queue(prompt), seconds=7200)
    if result.status != "success":
        raise SystemExit(f"{result}\n{server.log_text()[-3000:]}")


def peak(server: Server) -> int:
    """Return the peak memory of the server since it started, in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024


if __name__ == "__main__":
    main()
