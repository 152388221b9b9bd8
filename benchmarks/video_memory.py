"""Measure the peak memory of video jobs of different lengths: it must not grow.

    python -m supertile.benchmarks.video_memory [--size 320x180] [--frames 100 2000] [--scale 2] [--codec h264]

Each job runs in its own process, whose peak resident memory is read at its end. The network only repeats pixels, so
that the pipeline is measured; the memory of a real network adds to it and depends only on tile and batch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np


def make_clip(path: Path, width: int, height: int, frames: int) -> None:
    """Write a clip of drifting waves with noise, which an encoder cannot compress to nothing."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    noise = generator.integers(-12, 13, (8, height, width))
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=Fraction(25), options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            luma = 128 + 60 * np.sin((x + 3 * i) / 17) * np.cos((y - 2 * i) / 23) + noise[i % 8]
            planes = np.full((height * 3 // 2, width), 128, np.uint8)
            planes[:height] = luma.clip(16, 235)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        output.mux(stream.encode(None))


def job(pipe: Connection, source: Path, target: Path, scale: int, codec: str) -> None:
    from ..inference import Upscaler
    from ..video.upscale import upscale_video
    from ..video.write.encoder_options import EncoderOptions
    from .repeat_pixels import repeating_model

    upscaler = Upscaler(repeating_model(scale), device="cpu", precision="fp32")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    report = upscale_video(source, target, upscaler, encoder=EncoderOptions(codec=codec), reuse_static=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send((report.frames, before / 1024, peak / 1024, time.perf_counter() - started, report.stage_table()))


def measure(source: Path, target: Path, scale: int, codec: str) -> tuple[int, float, float, float, str]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=job, args=(there, source, target, scale, codec))
    process.start()
    there.close()
    result: tuple[int, float, float, float, str] = here.recv()
    process.join()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="320x180")
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 2000])
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--codec", default="h264")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    print("| input | frames | before | peak | of which the job | seconds | stages |\n" + "|---" * 7 + "|")
    with tempfile.TemporaryDirectory() as folder:
        for frames in arguments.frames:
            source = Path(folder) / f"{frames}.mkv"
            make_clip(source, width, height, frames)
            done, before, peak, seconds, stages = measure(
                source, Path(folder) / f"{frames}-large.mkv", arguments.scale, arguments.codec
            )
            print(
                f"| {arguments.size} x{arguments.scale} {arguments.codec} | {done} | {before:.0f} MiB | {peak:.0f} MiB "
                f"| {peak - before:.0f} MiB | {seconds:.0f} | {stages} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
