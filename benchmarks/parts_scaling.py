"""Measure what a part of a video costs, and project from it how many workers a film keeps busy.

    python -m supertile.benchmarks.parts_scaling --video FILE [--model NAME] [--plot docs/images/parts-scaling.svg]

Costs are seconds of CPU time: those of parts that are computed one by one, each with its own opening, probing, seeking,
and encoder, minus those of one pass; and those of the join. Then two workers are compared with one, and a film of two
hours is simulated: workers take the next part as soon as they are free, parts differ by a fifth in their time, and the
join begins when the last is done.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
import torch

from ..images.io.atomic import atomic_file
from ..inference import Upscaler
from ..inference.pool import Event, UpscalerPool
from ..inference.spec import UpscalerSpec
from ..video.parts import job as jobs
from ..video.parts.job import JobOptions
from ..video.parts.plan import PART_SECONDS
from ..video.parts.publish import join_parts
from ..video.read.scan import packet_times
from ..video.report import VideoReport
from ..video.upscale import upscale_video
from ..video.write.encoder_options import EncoderOptions
from .parts import Case, write_source
from .repeat_pixels import repeating_model

SOURCE = Case(".mp4", "libx264", {"g": "50", "bf": "2"}, "h264")
WORKERS = (1, 2, 4, 8, 16, 32, 64)
FRAME_SECONDS = (10.0, 1.0, 0.1, 0.02)
FILM_SECONDS, FRAME_RATE = 2 * 3600, 24
START_SECONDS = 20.0
"""Until a worker has started Python and loaded its model."""


@dataclass(frozen=True)
class Costs:
    """Seconds of CPU time for each part."""

    scan: float
    part: float
    join: float


class InlinePool:
    """A pool of one worker in this process, which computes each part by itself."""

    devices = ("cpu",)

    def __init__(self, upscaler: Upscaler) -> None:
        self._upscaler = upscaler

    def run(self, work: Callable[..., Any], tasks: list[Any], **_: object) -> Iterator[Event[Any]]:
        for task in tasks:
            yield Event("finished", task, "cpu", work(self._upscaler, task, lambda _: None, lambda: False))


def measure_costs(source: Path, folder: Path) -> Costs:
    """Compare parts that are computed one by one with one pass over all of them."""
    upscaler = Upscaler(repeating_model(2), device="cpu", precision="fp32")
    join: list[float] = []

    def timed_join(*arguments: Any, **options: Any) -> None:
        started = time.process_time()
        join_parts(*arguments, **options)
        join.append(time.process_time() - started)

    def run(pool: Any) -> float:
        started = time.process_time()
        upscale_video(source, folder / "out.mkv", upscaler, pool=pool, overwrite=True, reuse_static=False)
        return time.process_time() - started

    started = time.process_time()
    times = packet_times(source)
    scan = time.process_time() - started
    assert times is not None
    with av.open(str(source)) as container:
        assert container.duration is not None
        parts = container.duration / 1e6 // PART_SECONDS
    with mock.patch.object(jobs, "join_parts", timed_join):
        run(None)  # warms up
        difference = -run(None) + run(InlinePool(upscaler))
    return Costs(scan / parts, difference / parts, min(join) / parts)


def compare_workers(source: Path, model: str, folder: Path) -> tuple[float, bool]:
    """Return (seconds of one worker divided by those of two, True if both decode to the same frames)."""
    torch.set_num_threads(1)
    spec = UpscalerSpec(model, settings=(("precision", "fp32"),))
    options: dict[str, Any] = {"encoder": EncoderOptions(codec="ffv1"), "job": JobOptions(part_seconds=2)}
    upscaler = spec.build("cpu")

    def run(target: Path, pool: UpscalerPool | None) -> tuple[float, VideoReport]:
        started = time.perf_counter()
        report = upscale_video(source, target, upscaler, pool=pool, overwrite=True, reuse_static=False, **options)
        return time.perf_counter() - started, report

    with UpscalerPool(spec, ["cpu", "cpu"]) as pool:
        run(folder / "two.mkv", pool)  # starts the workers
        two, report = run(folder / "two.mkv", pool)
        one, _ = run(folder / "one.mkv", None)
    print(f"one worker {one:.1f} s, two workers {two:.1f} s: {report.frames_by_device}")
    return one / two, frames_of(folder / "one.mkv") == frames_of(folder / "two.mkv")


def frames_of(path: Path) -> list[tuple[int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(frame.pts, frame.to_ndarray().tobytes()) for frame in container.decode(video=0)]


def simulate(workers: int, frame_seconds: float, costs: Costs) -> float:
    """Return the seconds of a film."""
    parts = FILM_SECONDS // PART_SECONDS
    spread = np.random.default_rng(0).normal(1, 0.2, parts).clip(0.5, 2)
    begin = costs.scan * parts
    free = [begin + START_SECONDS] * workers
    for seconds in spread * PART_SECONDS * FRAME_RATE * frame_seconds + costs.part:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free) + costs.join * parts


def write_plot(path: Path, costs: Costs) -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.plot(WORKERS, WORKERS, color="0.7", linestyle="--", label="ideal")
    for frame_seconds, marker in zip(FRAME_SECONDS, "osv^", strict=True):
        speedup = [simulate(1, frame_seconds, costs) / simulate(count, frame_seconds, costs) for count in WORKERS]
        axes.plot(WORKERS, speedup, marker=marker, markersize=4, label=f"{frame_seconds:g} s per frame")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:.0f}")
    axes.set_xlabel("workers")
    axes.set_ylabel("times as fast as one worker")
    axes.grid(True, alpha=0.3)
    axes.legend(frameon=False)
    with atomic_file(path, overwrite=True) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--model", help="for two workers against one; none: that is left out")
    parser.add_argument("--width", type=int, default=320, help="of the source, in pixels")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source.mp4"
        write_source(source, SOURCE, arguments.video, 64, arguments.width)
        costs = measure_costs(source, folder)
        print(f"each part: scan {costs.scan:.4f} s, own start and end {costs.part:.3f} s, join {costs.join:.4f} s")
        if arguments.model:
            write_source(source, SOURCE, arguments.video, 24, arguments.width)
            ratio, equal = compare_workers(source, arguments.model, folder)
            print(f"two workers are {ratio:.2f} times as fast as one; frames {'equal' if equal else 'DIFFERENT'}")
    print("| s per frame | " + " | ".join(f"{count} workers" for count in WORKERS) + " |\n|" + "---|" * 8)
    for frame_seconds in FRAME_SECONDS:
        one = simulate(1, frame_seconds, costs)
        cells = [f"{one / simulate(count, frame_seconds, costs):.1f}" for count in WORKERS]
        print(f"| {frame_seconds:g} | " + " | ".join(cells) + " |")
    if arguments.plot:
        write_plot(arguments.plot, costs)


if __name__ == "__main__":
    main()
