"""Measure the start of a job in many parts, of which an interrupted run has left all: CPU time and memory.

    python -m supertile.benchmarks.parts_start [--parts 100 1000 10000]

Each part has 144 frames, which makes 16 hours of 10,000 parts. The source is a real file, whose frames are tiny, and
the records are real, but nothing is decoded or encoded: the files of the parts are empty space. Each number of parts is
measured in a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import resource
import tempfile
import time
from dataclasses import asdict
from fractions import Fraction
from json import dumps
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np

FRAMES, RATE = 144, 25
STEPS = ("scan", "plan", "records", "check")


def write_source(path: Path, parts: int) -> None:
    """Write a video of so many parts, from the packets of two frames."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=RATE, options={"g": str(FRAMES)})
        stream.width = stream.height = 16
        frame = av.VideoFrame.from_ndarray(np.zeros((24, 16), np.uint8), format="yuv420p")
        packets = []
        for number in range(2):
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for number in range(parts * FRAMES):
            packet = packets[min(1, number % FRAMES)]
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = number
            output.mux(packet)


def job(pipe: Connection, source: Path, parts: int) -> None:
    """Start a job of which all parts are done, and send the seconds of each step and the mebibytes that they took."""
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
    frames = open_source(source, SourceOptions(), span=Span(), warn=print)
    info = frames.info
    frames.close()
    task = VideoTask(
        source, source.with_name("large.mkv"), Framing.whole(32, 32), EncoderOptions(), Span(), SourceOptions()
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    laps = [time.process_time()]
    times = packet_times(source)
    laps.append(time.process_time())
    assert times is not None
    planned = plan_parts(times, info.time_base, info.start_pts, seconds=5)
    assert len(planned) == parts, len(planned)
    begun = PartsJob(task, info, planned, upscaler)
    begun.begin()
    laps.append(time.process_time())
    for part, first in zip(planned, range(0, len(times.pts), FRAMES), strict=True):
        pts = times.pts[first : first + FRAMES].tolist()
        record = PartRecord(pts, [40] * FRAMES, [5000] * FRAMES, end=pts[-1] + 40)
        with open(begun.folder.media(part), "wb") as media:
            media.truncate(5000 * FRAMES)
        begun.folder.path.joinpath(f"{part.index:05}.json").write_text(dumps(asdict(record)))
    begun.folder.close()
    del begun
    written = time.process_time()
    continued = PartsJob(task, info, planned, upscaler)
    continued.begin()
    laps.append(time.process_time() - written + laps[-1])
    written = time.process_time()
    check_frames(continued.folder)
    laps.append(time.process_time() - written + laps[-1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send(([b - a for a, b in itertools.pairwise(laps)], (peak - memory) / 1024))
    continued.folder.delete()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, nargs="+", default=[100, 1000, 10_000])
    arguments = parser.parse_args()
    print(f"| parts | {' | '.join(STEPS)} | start | memory |\n" + "|---" * (len(STEPS) + 3) + "|")
    context = multiprocessing.get_context("spawn")
    for parts in arguments.parts:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "source.mkv"
            write_source(source, parts)
            here, there = context.Pipe()
            process = context.Process(target=job, args=(there, source, parts))
            process.start()
            there.close()
            seconds, mebibytes = here.recv()
            process.join()
            steps = " | ".join(f"{each:.2f} s" for each in seconds)
            print(f"| {parts} | {steps} | {sum(seconds[:3]):.1f} s | {mebibytes:.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
