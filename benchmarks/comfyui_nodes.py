"""Compare our upscaling nodes in a real ComfyUI with ComfyUI's own and the same model, in fp32 and in `auto`.

    python -m supertile.benchmarks.comfyui_nodes --comfyui CHECKOUT --python ITS_PYTHON --model FILE clip.mp4 photo.png

Videos: Load Video, Upscale Video, Save Video, against Load Video, Get Video Components, Upscale Image (using Model),
Create Video, Save Video. Images: Load Image, Upscale Image (Supertile) or Upscale Image (using Model), Save Image. Each
runs in a server of its own, in turns, after a small image has been upscaled there. Measured are the time from the
prompt to its end and the growth of the server's peak memory; printed are the medians of the rounds, and the ranges of
ratios.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import av
from PIL import Image

from ..tests.comfyui.server import Server, node
from ..video.kinds import VIDEO_SUFFIXES

ROOT = Path(__file__).resolve().parents[1]

Prompt = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--no-auto", action="store_true", help="without bf16, auto computes what fp32 does")
    parser.add_argument("sources", type=Path, nargs="+", help="a video or an image")
    arguments = parser.parse_args()
    for source in arguments.sources:
        prompts = (video_prompts if source.suffix in VIDEO_SUFFIXES else image_prompts)(arguments.model, source)
        if arguments.no_auto:
            del prompts["ours, auto"]
        rows: dict[str, list[tuple[float, int]]] = {name: [] for name in prompts}
        for _ in range(arguments.rounds):
            for name, prompt in prompts.items():
                rows[name].append(measure(arguments, source, name, prompt))
        core = [seconds for seconds, _ in rows["core"]]
        for name, results in rows.items():
            seconds = [each for each, _ in results]
            ratios = sorted(theirs / ours for theirs, ours in zip(core, seconds, strict=True))
            print(
                f"{source.name}, {name}: {statistics.median(seconds):.1f} s, {max(grown for _, grown in results)} MiB; "
                f"{statistics.median(ratios):.2f} times as fast as the core ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                flush=True,
            )


def video_prompts(model: Path, source: Path) -> dict[str, Prompt]:
    with av.open(str(source)) as container:
        rate = float(container.streams.video[0].average_rate or 25)
    common = {
        "model": node("UpscaleModelLoader", model_name=model.name),
        "video": node("LoadVideo", file=source.name),
    }
    save = {"filename_prefix": "result", "format": "auto", "format.codec": "auto"}

    def ours(precision: str) -> Prompt:
        upscale = node(
            "SupertileUpscaleVideo", upscale_model=["model", 0], video=["video", 0], size="model scale",
            precision=precision,
        )  # fmt: skip
        return {**common, "upscale": upscale, "save": node("SaveVideo", video=["upscale", 0], **save)}

    core = {
        **common,
        "components": node("GetVideoComponents", video=["video", 0]),
        "upscale": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["components", 0]),
        "new": node("CreateVideo", images=["upscale", 0], audio=["components", 1], fps=rate),
        "save": node("SaveVideo", video=["new", 0], **save),
    }
    return {"ours, fp32": ours("fp32"), "core": core, "ours, auto": ours("auto")}


def image_prompts(model: Path, source: Path) -> dict[str, Prompt]:
    common = {
        "model": node("UpscaleModelLoader", model_name=model.name),
        "image": node("LoadImage", image=source.name),
        "save": node("SaveImage", images=["upscale", 0], filename_prefix="result"),
    }

    def with_(kind: str, **inputs: Any) -> Prompt:
        return {**common, "upscale": node(kind, upscale_model=["model", 0], image=["image", 0], **inputs)}

    return {
        "ours, fp32": with_("SupertileUpscaleImage", size="model scale", precision="fp32"),
        "core": with_("ImageUpscaleWithModel"),
        "ours, auto": with_("SupertileUpscaleImage", size="model scale", precision="auto"),
    }


def measure(arguments: argparse.Namespace, source: Path, name: str, prompt: Prompt) -> tuple[float, int]:
    """Return the seconds of a prompt, and the growth of the server's peak memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        make_folders(base)
        shutil.copy(arguments.model, base / "models" / "upscale_models")
        shutil.copy(source, base / "input")
        Image.new("RGB", (64, 64), "gray").save(base / "input" / "warm.png")
        server = Server(arguments.comfyui, arguments.python, base)
        try:
            server.wait_until_ready()
            run(server, image_prompts(arguments.model, base / "input" / "warm.png")[name])
            before = peak(server)
            begin = time.monotonic()
            run(server, prompt)
            return time.monotonic() - begin, peak(server) - before
        finally:
            server.stop()


def make_folders(base: Path) -> None:
    """Make the folders of a server, with this package among its custom nodes."""
    for each in ("custom_nodes", "models/upscale_models", "input", "output", "temp", "user"):
        (base / each).mkdir(parents=True)
    (base / "custom_nodes" / "ComfyUI-Supertile").symlink_to(ROOT, target_is_directory=True)


def run(server: Server, prompt: Prompt) -> None:
    result = server.wait(server.queue(prompt), seconds=7200)
    if result.status != "success":
        raise SystemExit(f"{result}\n{server.log_text()[-3000:]}")


def peak(server: Server) -> int:
    """Return the peak memory of the server since it started, in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024


if __name__ == "__main__":
    main()
