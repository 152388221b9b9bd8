"""Compare a video job from file to file with the bare Upscaler on the same frames, in alternating rounds.

    python -m supertile.benchmarks.video_pipeline --model FILE --video FILE [--frames 30] [--rounds 3]

The result is the share of the Upscaler's frames per second that remains after decoding, color conversion and
encoding. Static tiles are not reused, so that both compute the same.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path

from ..inference import Upscaler
from ..video.color.yuv import split_gamut, to_rgb
from ..video.frames import Span
from ..video.read.file import VideoReader
from ..video.report import VideoReport
from ..video.upscale import upscale_video
from ..video.write.encoder_options import EncoderOptions
from ..weights.loader import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--codec", default="h264")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()

    upscaler = Upscaler(load_model(arguments.model), precision=arguments.precision)
    with VideoReader(arguments.video) as reader:
        info = reader.info
        raw = list(itertools.islice(reader, arguments.frames))
    images = [
        split_gamut(to_rgb(frame.planes, info.layout, info.color, width=info.width, height=info.height)[0])[0]
        for frame in raw
    ]
    end = (raw[-1].pts + raw[-1].duration - raw[0].pts) * info.time_base

    def core() -> float:
        started = time.perf_counter()
        for _ in upscaler.stream(images, keep_on_device=True):
            pass
        return len(images) / (time.perf_counter() - started)

    def job(folder: str) -> VideoReport:
        return upscale_video(
            arguments.video, Path(folder) / "large.mkv", upscaler,
            encoder=EncoderOptions(codec=arguments.codec), span=Span(end=Fraction(end)), reuse_static=False,
            overwrite=True,
        )  # fmt: skip

    print("| round | core | file to file | ratio | stages |\n|---|---|---|---|---|")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        job(folder)  # warms up
        for number in range(arguments.rounds):
            bare, report = core(), job(folder)
            assert report.frames == len(images)
            ratios.append(report.fps / bare)
            print(
                f"| {number + 1} | {bare:.2f} fps | {report.fps:.2f} fps | {ratios[-1]:.0%} | {report.stage_table()} |",
                flush=True,
            )
    print(f"\nmedian {statistics.median(ratios):.0%} of the core's frames per second")


if __name__ == "__main__":
    main()
