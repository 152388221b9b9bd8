"""Measure the start of a job in many parts, of which an interrupted run has left all: time and memory.

    python -m supertile.benchmarks.parts_start [--parts 100 1000 10000]

The film is the same for each number of parts: 16 hours, with 10,000 key frames. It is a real file, whose frames are
tiny, and the records are real, but nothing is decoded or encoded: the files of the parts are empty space. Each number
of parts is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from fractions import Fraction
from json import dumps
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np

FRAMES, RATE, KEY_FRAMES = 144, 25, 10_000
STEPS = ("scan", "plan", "records", "check")


def write_source(path: Path) -> None:
    """Write the film, from the packets of two frames."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=RATE, options={"g": str(FRAMES)})
        stream.width = stream.height = 16
        frame = av.VideoFrame.from_ndarray(np.zeros((24, 16), np.uint8), format="yuv420p")
        packets = []
        for number in range(2):
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for number in range(KEY_FRAMES * FRAMES):
            packet = packets[min(1, number % FRAMES)]
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = number
            output.mux(packet)


def job(pipe: Connection, source: Path, parts: int) -> None:
    """Start a job of which all parts are done.

    Send the seconds of each step, by the clock and of CPU time, and the mebibytes that the process has grown by at the
    end of the scan and at most after it.
    """
    from ..images.framing import Framing
    from ..inference import Upscaler
    from ..video.frames import Span
    from ..video.parts.check import check_frames
    from ..video.parts.folder import PartRecord
    from ..video.parts.job import PartsJob
    from ..video.parts.plan import plan_parts
    from ..video.parts.task import VideoTask
    from ..video.read.open import SourceOptions, open_source
    from ..video.read.scan import packet_times
    from ..video.write.encoder_options import EncoderOptions
    from .repeat_pixels import repeating_model

    upscaler = Upscaler(repeating_model(2), device="cpu", precision="fp32")
    opened = open_source(source, SourceOptions(), span=Span(), warn=print)
    info = opened.info
    opened.close()
    task = VideoTask(
        source, source.with_name("large.mkv"), Framing.whole(32, 32), EncoderOptions(), Span(), SourceOptions()
    )
    frames = KEY_FRAMES // parts * FRAMES
    before = peak_memory()
    laps: list[tuple[float, float]] = []
    with lap(laps):
        times = packet_times(source)
    assert times is not None
    scanned = peak_memory()
    with lap(laps):
        planned = plan_parts(times, info.time_base, info.start_pts, seconds=(frames - FRAMES / 2) / RATE)
        begun = PartsJob(task, info, planned, upscaler)
        begun.begin()
    assert len(planned) == parts, len(planned)
    for part in planned:
        pts = times.pts[part.index * frames : (part.index + 1) * frames].tolist()
        record = PartRecord(pts, [40] * frames, [5000] * frames, end=pts[-1] + 40)
        with open(begun.folder.media(part), "wb") as media:
            media.truncate(5000 * frames)
        begun.folder.path.joinpath(f"{part.index:05}.json").write_text(dumps(asdict(record)))
    begun.folder.close()
    del begun
    with lap(laps):
        continued = PartsJob(task, info, planned, upscaler)
        continued.begin()
    with lap(laps):
        check_frames(continued.folder)
    pipe.send((laps, scanned - before, peak_memory() - before))
    continued.folder.delete()


@contextmanager
def lap(laps: list[tuple[float, float]]) -> Iterator[None]:
    """Append the seconds of a block, by the clock and of CPU time."""
    start, busy = time.perf_counter(), time.process_time()
    yield
    laps.append((time.perf_counter() - start, time.process_time() - busy))


def peak_memory() -> float:
    """Return the most mebibytes that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, nargs="+", default=[100, 1000, 10_000])
    arguments = parser.parse_args()
    columns = ("parts", *STEPS, "start", "its CPU time", "memory, scan", "all")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.mkv"
        write_source(source)
        for parts in arguments.parts:
            here, there = context.Pipe()
            process = context.Process(target=job, args=(there, source, parts))
            process.start()
            there.close()
            laps, scan, memory = here.recv()
            process.join()
            start, busy = (sum(lap[kind] for lap in laps[:3]) for kind in (0, 1))
            seconds = [f"{each:.2f} s" for each in (*(wall for wall, _ in laps), start, busy)]
            print("| " + " | ".join([str(parts), *seconds, f"{scan:.0f} MiB", f"{memory:.0f} MiB"]) + " |", flush=True)


if __name__ == "__main__":
    main()
