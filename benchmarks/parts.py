"""Compare videos upscaled in parts with the same videos in one piece: times of frames, quality, size, CPU time.

    python -m supertile.benchmarks.parts --video FILE [--seconds 64] [--width 320] [--rounds 2] [--part-seconds 8]

The frames of FILE, played again and again, become a source of each kind; both ways of upscaling run in alternating
rounds, each in a process of its own. The network only repeats pixels, so that nothing hides the cost of parts; a real
network adds the same time to both. PSNR is that of luma against the upscaled frames, which FFV1 holds without loss.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import resource
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Case:
    """A kind of source, and the codec that it is upscaled to.

    Attributes:
        suffix, encoder, options: of the source.
        codec: of the target.
        vfr: frames of the source last 20 to 70 ms.
    """

    suffix: str
    encoder: str
    options: dict[str, str]
    codec: str
    vfr: bool = False


CASES = {
    "H.264, open GOPs": Case(".mkv", "libx264", {"x264-params": "open-gop=1:keyint=60:bframes=3"}, "h264"),
    "H.264, VFR": Case(".mp4", "libx264", {"g": "100", "bf": "2"}, "h264", vfr=True),
    "MPEG-2 in TS": Case(".ts", "mpeg2video", {"g": "12", "bf": "2", "b": "1500k"}, "h264"),
    "HEVC, open GOPs": Case(".mp4", "libx265", {"x265-params": "log-level=none:keyint=60:open-gop=1"}, "hevc"),
    "VP9": Case(".webm", "libvpx-vp9", {"g": "100", "cpu-used": "5", "deadline": "realtime", "crf": "30"}, "vp9"),
    "H.264 to AV1": Case(".mp4", "libx264", {"g": "100", "bf": "2"}, "av1"),
}


def write_source(path: Path, case: Case, video: Path, seconds: float, width: int) -> None:
    """Write a source of a kind from the frames of a video, made `width` pixels wide and repeated."""
    generator = np.random.default_rng(0)
    with av.open(str(video)) as container:
        context = container.streams.video[0].codec_context
        height = round(width * context.height / context.width / 2) * 2
        frames = [frame.reformat(width, height, "yuv420p") for frame in container.decode(video=0)]
        rate = Fraction(container.streams.video[0].average_rate or 25)
    time_base = Fraction(1, 1000) if case.vfr else 1 / rate
    pts = 0
    with av.open(str(path), "w") as output:
        stream = output.add_stream(case.encoder, rate=rate, options=dict(case.options))
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        stream.codec_context.time_base = time_base
        for frame in itertools.cycle(frames):
            if pts * time_base >= seconds:
                break
            frame.pts, frame.time_base, frame.pict_type = pts, time_base, 0
            pts += int(generator.integers(20, 70)) if case.vfr else 1
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def job(pipe: Connection, source: Path, target: Path, codec: str, part_seconds: float) -> None:
    """Upscale a video and send its seconds of user CPU time."""
    from ..inference import Upscaler
    from ..video.parts.job import JobOptions
    from ..video.upscale import upscale_video
    from ..video.write.encoder_options import EncoderOptions
    from .repeat_pixels import repeating_model

    upscaler = Upscaler(repeating_model(2), device="cpu", precision="fp32")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    upscale_video(
        source,
        target,
        upscaler,
        encoder=EncoderOptions(codec=codec),
        reuse_static=False,
        overwrite=True,
        job=JobOptions(part_seconds=part_seconds),
    )
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_utime - before)


def run(source: Path, target: Path, codec: str, part_seconds: float) -> float:
    """Return the seconds of user CPU time of a job in a new process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=job, args=(there, source, target, codec, part_seconds))
    process.start()
    there.close()
    seconds: float = here.recv()
    process.join()
    return seconds


def luma(path: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the time in milliseconds and the luma of each frame."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            assert frame.pts is not None
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            yield round(frame.pts * Fraction(frame.time_base) * 1000), rows[: frame.height, : frame.width]


def psnr(path: Path, reference: Path) -> tuple[list[int], float]:
    """Return the times of all frames in milliseconds, and their PSNR in decibels."""
    times: list[int] = []
    errors = []
    for (time, frame), (_, expected) in zip(luma(path), luma(reference), strict=True):
        times.append(time)
        errors.append(np.square(frame.astype(np.float32) - expected).mean())
    return times, float(10 * np.log10(255**2 / np.mean(errors)))


def compare(case: Case, arguments: argparse.Namespace) -> str:
    """Return the row of a table about a case."""
    rounds, part_seconds = arguments.rounds, arguments.part_seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / f"source{case.suffix}"
        write_source(source, case, arguments.video, arguments.seconds, arguments.width)
        whole, parts, lossless = folder / "whole.mkv", folder / "parts.mkv", folder / "lossless.mkv"
        run(source, lossless, "ffv1", 0)
        ratios = []
        for _ in range(rounds):
            before = run(source, whole, case.codec, 0)
            after = run(source, parts, case.codec, part_seconds)
            ratios.append(after / before)
        (times, quality), (part_times, part_quality) = psnr(whole, lossless), psnr(parts, lossless)
        sizes = whole.stat().st_size, parts.stat().st_size
        return (
            f"| {len(times)} | {'equal' if times == part_times else 'DIFFERENT'} | {quality:.2f} dB "
            f"| {part_quality - quality:+.3f} dB | {sizes[0] / 1000:.0f} kB | {sizes[1] / sizes[0] - 1:+.2%} "
            f"| {before:.1f} s | {statistics.median(ratios) - 1:+.1%} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=64)
    parser.add_argument("--width", type=int, default=320, help="of the source, in pixels")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--part-seconds", type=float, default=8)
    parser.add_argument("--only", nargs="*", default=[""], help="cases whose names contain one of these")
    arguments = parser.parse_args()
    print("| source | frames | times | PSNR | in parts | size | in parts | CPU | in parts |\n" + "|---" * 9 + "|")
    for name, case in CASES.items():
        if any(each.lower() in name.lower() for each in arguments.only):
            row = compare(case, arguments)
            print(f"| {name} {row}", flush=True)


if __name__ == "__main__":
    main()
