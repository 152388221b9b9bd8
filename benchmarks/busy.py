"""Measure a network beside programs that keep cores busy, with threads that give way and without.

    python -m supertile.benchmarks.busy --model VapSR_X4.pth [--size 160x90] [--rounds 3] [--others 0 1 2 4]
                                        [--same-session]

Both ways run in alternating rounds, each in a process of its own, beside processes that count in a loop, each in a
session of its own, as programs started from different terminals are, or all in that of the network. Times are medians
and the longest, in seconds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from multiprocessing.connection import Connection

SECONDS = 3.0


def measure(
    pipe: Connection, model: str, size: tuple[int, int], others: list[int], same_session: bool, gives_way: bool
) -> None:
    """Send a list of times for each number of other programs."""
    import torch

    from ..inference import Upscaler
    from ..inference.cores import CORES

    if not gives_way:
        CORES.look = lambda most: None  # type: ignore[method-assign]
    upscaler = Upscaler(model, device="cpu", precision="fp32")
    image = torch.rand(1, 3, size[1], size[0])
    for _ in range(3):
        upscaler(image)
    for number in others:
        busy = [counting(same_session) for _ in range(number)]
        time.sleep(0.5)
        times: list[float] = []
        while sum(times) < SECONDS or len(times) < 5:
            start = time.perf_counter()
            upscaler(image)
            times.append(time.perf_counter() - start)
        for process in busy:
            process.kill()
            process.wait()
        pipe.send(times)


def counting(same_session: bool) -> subprocess.Popen[bytes]:
    """Start a program that counts in a loop, in this session or in one of its own."""
    return subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=not same_session)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--size", default="160x90")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--others", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--same-session", action="store_true")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    context = multiprocessing.get_context("spawn")
    times: dict[tuple[bool, int], list[float]] = {}
    for _ in range(arguments.rounds):
        for gives_way in (False, True):
            here, there = context.Pipe()
            setup = there, arguments.model, (width, height), arguments.others, arguments.same_session, gives_way
            process = context.Process(target=measure, args=setup)
            process.start()
            there.close()
            for number in arguments.others:
                times.setdefault((gives_way, number), []).extend(here.recv())
            process.join()
    print(f"{os.cpu_count()} cores")
    print(
        "| other programs | threads spin | longest | threads give way | longest | spin / give way |\n"
        + "|---" * 6
        + "|"
    )
    for number in arguments.others:
        spin, way = times[False, number], times[True, number]
        middle = statistics.median(spin), statistics.median(way)
        cells = f"{middle[0]:.3f} | {max(spin):.2f} | {middle[1]:.3f} | {max(way):.2f} | {middle[0] / middle[1]:.2f}"
        print(f"| {number} | {cells} |")


if __name__ == "__main__":
    main()
