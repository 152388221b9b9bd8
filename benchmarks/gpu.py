"""Run on a GPU what can only be learned there: tests, comparisons, file to file. In under eight minutes.

    python benchmarks/gpu.py results/ [--hat CHECKOUT] [--vapsr CHECKOUT] [--hitsr CHECKOUT] [--only NAME ...]

Needs torch with CUDA, spandrel, einops, safetensors, av, pytest, hypothesis, typer and rich, but not the package itself
installed. Every step is a process with a time limit of its own, so one that hangs costs only itself. Its output goes to
`results/NAME.txt`, figures to `results/NAME.json`, and after each step `results/summary.json` is complete up to it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable


@dataclass(frozen=True)
class Step:
    """A command, by the name of its results."""

    name: str
    command: tuple[str, ...]
    limit_s: int
    environment: dict[str, str] = field(default_factory=dict)


def _bench(name: str, results: Path, case: str, limit_s: int, *options: str, kernels: bool = True) -> Step:
    command = (PYTHON, "-m", "supertile", "bench", "--device", "cuda", "--rounds", "3", "--case", case)
    figures = ("--json", str(results / f"{name}.json"))
    return Step(name, (*command, *figures, *options), limit_s, {} if kernels else {"SUPERTILE_KERNELS": "off"})


def steps(results: Path, checkouts: tuple[str, ...]) -> list[Step]:
    """Return all steps, the most important first."""
    tests = sorted(str(path) for path in ROOT.glob("tests/**/test_cuda.py"))
    pytest = (PYTHON, "-m", "pytest", "-q", "-x", "--maxfail=20", *tests)
    clip = str(results / "clip.mp4")
    pipeline = (PYTHON, "-m", "supertile.benchmarks.video_pipeline", "--model", "supertile-4x", "--video", clip)
    return [
        Step("machine", ("nvidia-smi",), 20),
        Step("tests", pytest, 120),
        _bench("hat", results, "hat", 45, *checkouts),
        _bench("vapsr", results, "vapsr", 30, *checkouts),
        _bench("hit-srf", results, "hit-srf", 40, *checkouts),
        _bench("hat-l", results, "hat-l", 60, *checkouts),
        _bench("compact", results, "compact", 20),
        _bench("esrgan", results, "esrgan", 30),
        _bench("hat-without-kernels", results, "hat", 30, kernels=False),
        _bench("vapsr-without-kernels", results, "vapsr", 20, kernels=False),
        _bench("hit-srf-without-kernels", results, "hit-srf", 30, kernels=False),
        Step("clip", (PYTHON, __file__, clip, "--make-clip"), 30),
        Step("video-x264", (*pipeline, "--codec", "h264"), 60),
        Step("video-nvenc", (*pipeline, "--codec", "h264_nvenc"), 40),
    ]


def run(step: Step, results: Path, packages: Path) -> dict[str, object]:
    """Run one step and return what became of it."""
    environment = {**os.environ, **step.environment, "PYTHONPATH": str(packages), "PYTHONUNBUFFERED": "1"}
    started = time.monotonic()
    with (results / f"{step.name}.txt").open("w", encoding="utf-8") as output:
        try:
            process = subprocess.run(
                step.command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, timeout=step.limit_s
            )
            outcome: object = process.returncode
        except subprocess.TimeoutExpired:
            outcome = f"stopped after {step.limit_s} s"
        except OSError as error:
            outcome = str(error)
    return {"outcome": outcome, "seconds": round(time.monotonic() - started, 1), "command": " ".join(step.command)}


def make_clip(path: Path) -> None:
    """Write 40 frames of 1280x720 that move a little."""
    import av
    import numpy as np

    y, x = np.mgrid[:720, :1280]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(40):
            waves = [np.sin((x + 3 * number) / (7 + c)) * np.cos((y - 2 * number) / (11 + c)) for c in range(3)]
            frame = av.VideoFrame.from_ndarray(np.uint8(127.5 + 120 * np.stack(waves, -1)), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder for the results")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these steps")
    for name in ("hat", "vapsr", "hitsr"):
        parser.add_argument(f"--{name}", metavar="CHECKOUT", help="the authors' repository, to be compared with")
    parser.add_argument("--make-clip", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make_clip:
        make_clip(arguments.results)
        return 0
    results = arguments.results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    checkouts = [(f"--{n}", str(Path(p).resolve())) for n in ("hat", "vapsr", "hitsr") if (p := vars(arguments)[n])]
    summary: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as packages:
        (Path(packages) / "supertile").symlink_to(ROOT, target_is_directory=True)
        for step in steps(results, tuple(word for pair in checkouts for word in pair)):
            if arguments.only is None or step.name in arguments.only:
                summary[step.name] = run(step, results, Path(packages))
                print(step.name, summary[step.name]["outcome"], summary[step.name]["seconds"], flush=True)
                (results / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return 0 if all(each["outcome"] == 0 for each in summary.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
