"""Measure *Upscale Image (Supertile)* in a running ComfyUI, alone and beside programs that keep cores busy.

    python -m supertile.benchmarks.comfyui_busy --comfyui CHECKOUT --python ITS_PYTHON --model VapSR_X4.pth

A prompt enlarges 24 equal images of one size; each prompt has other pixels, so nothing is cached. One server runs all
of it, so torch is loaded long before the load begins. The other programs count in a loop, each in a session of its own
or, with `--same-session`, all in that of the server. Printed are medians and the longest, in seconds for an image; the
first prompt beside others is among them.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from ..tests.comfyui.server import Server, node
from .busy import counting
from .comfyui_nodes import Prompt, make_folders, run

IMAGES = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--size", default="160x90")
    parser.add_argument("--others", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=3, help="each of two prompts for each number of others")
    parser.add_argument("--same-session", action="store_true")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    times: dict[int, list[float]] = {number: [] for number in arguments.others}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        make_folders(base)
        shutil.copy(arguments.model, base / "models" / "upscale_models")
        server = Server(arguments.comfyui, arguments.python, base)
        try:
            server.wait_until_ready()
            color = iter(range(1, 1 << 24, 9973))
            run(server, prompt(arguments.model.name, width, height, next(color)))
            for _ in range(arguments.rounds):
                for number, found in times.items():
                    busy = [counting(arguments.same_session) for _ in range(number)]
                    for _ in range(2):
                        start = time.monotonic()
                        run(server, prompt(arguments.model.name, width, height, next(color)))
                        found.append((time.monotonic() - start) / IMAGES)
                    for process in busy:
                        process.kill()
                        process.wait()
        finally:
            server.stop()
    print("| other programs | median | longest | times alone |\n|---|---|---|---|")
    alone = statistics.median(times.get(0) or [float("nan")])
    for number, found in times.items():
        middle = statistics.median(found)
        print(f"| {number} | {middle:.3f} | {max(found):.3f} | {middle / alone:.2f} |")


def prompt(model: str, width: int, height: int, color: int) -> Prompt:
    return {
        "model": node("UpscaleModelLoader", model_name=model),
        "images": node("EmptyImage", width=width, height=height, batch_size=IMAGES, color=color),
        "upscale": node(
            "SupertileUpscaleImage", upscale_model=["model", 0], image=["images", 0], size="model scale",
            precision="fp32",
        ),
        "seen": node("PreviewImage", images=["first", 0]),
        "first": node("ImageFromBatch", image=["upscale", 0], batch_index=0, length=1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
