"""Measure the time to the first result: imports, model, first tile; each run in a new process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from .errors import BenchError

_PROBE = """
import json, sys, time

times, at = {{}}, time.perf_counter()

def lap(name):
    global at
    now = time.perf_counter()
    times[name], at = now - at, time.perf_counter()

import torch
lap("import torch")
import {package}
lap("import supertile, beyond torch")
cuda = torch.cuda.is_initialized()
from {package} import Upscaler, load_model
lap("from supertile import Upscaler, load_model")
cuda = cuda or torch.cuda.is_initialized()
torch.set_num_threads({threads})
model = load_model({model!r})
lap("load_model")
upscaler = Upscaler(model, device={device!r})
lap("Upscaler, with the choice of a precision")
image = torch.rand(1, model.input_channels, 128, 128)
upscaler(image)
lap("first tile, 128x128")
upscaler(image)
lap("second tile")
print(json.dumps({{"times": times, "cuda_at_import": cuda}}))
"""


def measure_startup(device: str, threads: int, rounds: int, model: str) -> dict[str, Any]:
    """Measure the steps up to the first result.

    Returns:
        "steps": name -> median seconds; "to_first_result": median of their sum; "cuda_at_import": True if importing
        has initialized CUDA; "model" and "rounds" as given.

    Raises:
        BenchError: a run has failed.
    """
    package = __name__.partition(".")[0]
    probe = _PROBE.format(package=package, model=model, device=device, threads=threads)
    root = str(Path(__file__).resolve().parents[2])
    paths = [*([root] if Path(__file__).resolve().parents[1].name == package else []), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    runs = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env=environment)
        if done.returncode:
            raise BenchError(f"A new process failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        runs.append(json.loads(done.stdout))
    steps = {name: statistics.median(run["times"][name] for run in runs) for name in runs[0]["times"]}
    total = [sum(seconds for name, seconds in run["times"].items() if name != "second tile") for run in runs]
    return {
        "model": model,
        "steps": steps,
        "to_first_result": statistics.median(total),
        "cuda_at_import": any(run["cuda_at_import"] for run in runs),
        "rounds": rounds,
    }
