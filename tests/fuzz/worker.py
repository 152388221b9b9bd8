"""Open one file after the other in a process of its own; a line of JSON in, a line of JSON out.

In: {"kind": "checkpoint" | "image" | "video", "path": ..., "target": ...}. Out: {"outcome": ..., "detail": ...,
"grown": bytes}, with the outcomes of `run.Outcome`. Code that a file would run is seen by an audit hook.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path

os.environ["SUPERTILE_KERNELS"] = "off"  # compiling starts a process, which is what the audit hook looks for

import torch
from spandrel import ImageModelDescriptor
from supertile import Span, SupertileError, Upscaler, load_model, upscale_image_file, upscale_video
from supertile.arch import VapSR, VapSRConfig

_SUSPICIOUS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "subprocess.Popen", "socket.connect",
               "os.mkdir", "shutil.rmtree", "ctypes.dlopen")  # fmt: skip
_events: list[str] = []
_watching = False


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event in _SUSPICIOUS:
        _events.append(event)


def _peak_bytes() -> int:
    """Return the largest resident memory since `_reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _model(folder: Path) -> ImageModelDescriptor:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = VapSR(VapSRConfig(scale=2, num_feat=4, num_blocks=1, attention_dim=4))
    save_file(network.state_dict(), folder / "worker.safetensors")
    return load_model(folder / "worker.safetensors")


def _open(kind: str, path: Path, target: Path, upscaler: Upscaler) -> None:
    if kind == "checkpoint":
        model = load_model(path)
        Upscaler(model, device="cpu", precision="fp32")(torch.full((1, model.input_channels, 8, 8), 0.5))
    elif kind == "image":
        upscale_image_file(path, target, upscaler)
    else:
        upscale_video(path, target, upscaler, span=Span(end=2))


def main() -> None:
    global _watching
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    upscaler = Upscaler(_model(Path(sys.argv[1])), device="cpu", precision="fp32")
    sys.addaudithook(_audit)
    answers = os.fdopen(os.dup(1), "w")  # FFmpeg's and other libraries' own words go to stderr
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        path, target = Path(job["path"]), Path(job["target"])
        _events.clear()
        _reset_peak()
        before, _watching = _peak_bytes(), True
        try:
            _open(job["kind"], path, target, upscaler)
            outcome, detail = "done", ""
        except SupertileError as error:
            outcome, detail = "refused", str(error)
        except BaseException as error:
            outcome = "wrong exception"
            detail = "".join(traceback.format_exception(error))[-2000:]
        _watching = False
        if job["kind"] == "checkpoint" and _events:
            outcome, detail = "code run", ", ".join(_events)
        print(
            json.dumps({"outcome": outcome, "detail": detail, "grown": _peak_bytes() - before}),
            file=answers,
            flush=True,
        )


if __name__ == "__main__":
    main()
