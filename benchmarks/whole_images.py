"""Measure whole images in strips: peak memory against the plan; work and time against one pass and against tiles.

    python -m supertile.benchmarks.whole_images memory [HAT-L 1920x1080 ...]
    python -m supertile.benchmarks.whole_images work [HAT 256x256 ...]

memory: for each image, in its own process, the resident memory beyond model and result, and the planned memory.
`--depth` and `--groups` leave out blocks: memory does not depend on their number, time does.
work: FLOPs counted by PyTorch, and time in alternating rounds, of strips, of one strip as high as the image, of our
tiles, and of tiles of 512 with an overlap of 32, as in ComfyUI. The weights are random.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from ..arch.network import Network
from ..arch.strips import StripPlan, between_steps
from ..inference import memory, precision
from ..inference.tiling import Geometry, plan_tiles
from .cases import HAT_L, HAT_S

NETWORKS: dict[str, Any] = {
    "HAT-S": lambda depth: HAT(HATConfig(**HAT_S, depths=(depth,) * 6)),
    "HAT": lambda depth: HAT(HATConfig(depths=(depth,) * 6)),
    "HAT-L": lambda depth: HAT(HATConfig(**{**HAT_L, "depths": (depth,) * 12})),
    "VapSR": lambda depth: VapSR(VapSRConfig()),
    "HiT-SRF": lambda depth: HiTSR(HiTSRConfig(variant="SRF")),
    "HiT-SIR": lambda depth: HiTSR(HiTSRConfig(variant="SIR")),
    "HiT-SNG": lambda depth: HiTSR(HiTSRConfig(variant="SNG")),
}  # fmt: skip
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quantity", choices=("memory", "work"))
    parser.add_argument("cases", nargs="+", metavar="NETWORK WxH")
    parser.add_argument("--precision", choices=tuple(precision.PRECISIONS), default="fp32")
    parser.add_argument("--depth", type=int, default=6, help="blocks in each group of HAT")
    parser.add_argument("--groups", type=int, help="number of groups of HAT")
    parser.add_argument("--rows", type=int, nargs="+", help="height of a strip; several compare them")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    names, sizes = arguments.cases[::2], arguments.cases[1::2]
    for name, size in zip(names, sizes, strict=True):
        width, height = map(int, size.split("x"))
        if arguments.quantity == "memory":
            print(measured_memory(name, width, height, arguments), flush=True)
        else:
            for line in measured_work(name, width, height, arguments):
                print(line, flush=True)


def build(name: str, arguments: argparse.Namespace) -> Any:
    """Return a stand-in for a model descriptor, with the attributes that planning and casting read."""
    torch.manual_seed(0)
    network = NETWORKS[name](arguments.depth)
    if arguments.groups and isinstance(network, HAT):
        network.layers = network.layers[: arguments.groups]
    network.eval().requires_grad_(False)
    model = SimpleNamespace(model=network, scale=network.config.scale, architecture=None)
    return precision.cast(model, precision.PRECISIONS[arguments.precision], CPU)


# --- memory ----------------------------------------------------------------------------------------------------------


def measured_memory(name: str, width: int, height: int, arguments: argparse.Namespace) -> str:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=peak, args=(theirs, name, width, height, arguments))
    process.start()
    theirs.close()
    try:
        grown, planned, seconds = ours.recv()
    except EOFError:
        return f"{name} {width}x{height}: ended without a result"
    finally:
        process.join()
    return (
        f"{name} {width}x{height} {arguments.precision}: {grown / 2**20:,.0f} MiB resident beyond model and result, "
        f"{planned / 2**20:,.0f} MiB planned, {seconds:.0f} s"
    )


def peak(pipe: Connection, name: str, width: int, height: int, arguments: argparse.Namespace) -> None:
    from ..inference.allocator import keep_freed_memory, within

    keep_freed_memory()
    model = build(name, arguments)
    scale = model.scale
    with torch.inference_mode():
        model.model(torch.rand(1, 3, 64, 64))
        result = torch.zeros(1, 3, height * scale, width * scale)
        image = torch.rand(1, 3, height, width)
        rows = arguments.rows[0] if arguments.rows else memory.strip_rows(model.model, width, CPU)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start, at = time.perf_counter(), 0
        planned = memory.whole_bytes(model.model, height, width, CPU, precision.PRECISIONS[arguments.precision], rows)
        check = within(planned)
        with between_steps(check):
            for strip in model.model.strips(image, StripPlan(rows)):
                result[:, :, at : at + strip.shape[1]] = strip.permute(0, 3, 1, 2)
                at += strip.shape[1]
                del strip
        seconds = time.perf_counter() - start
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    pipe.send((grown * 1024, planned, seconds))


# --- work ------------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def measured_work(name: str, width: int, height: int, arguments: argparse.Namespace) -> list[str]:
    from ..inference.allocator import keep_freed_memory

    keep_freed_memory()
    model = build(name, arguments)
    network: Network = model.model
    image = torch.rand(1, 3, height, width)
    rows = arguments.rows or [memory.strip_rows(model.model, width, CPU)]
    methods: dict[str, Any] = {"at once": lambda: network(image)}
    for each in rows:
        plan = StripPlan(each)
        methods[f"strips of {each}"] = lambda plan=plan: [strip.sum() for strip in network.strips(image, plan)]
    tile = memory.auto_tile(model, CPU, torch.float32)
    methods[f"tiles of {tile}"] = lambda: in_tiles(network, image, tile, memory.geometry(model))
    methods["tiles of 512, overlap 32"] = lambda: in_tiles(network, image, 512, Geometry(1, 1, 16))
    flops = {}
    for label, method in methods.items():
        with FlopCounterMode(display=False) as counter:
            method()
        flops[label] = counter.get_total_flops()
    times: dict[str, list[float]] = {label: [] for label in methods}
    for _ in range(arguments.rounds):
        for label, method in methods.items():
            start = time.perf_counter()
            method()
            times[label].append(time.perf_counter() - start)
    once, base = statistics.median(times["at once"]), flops["at once"]
    return [
        f"{name} {width}x{height} {label}: {flops[label] / base:.3f} of the work, "
        f"{statistics.median(times[label]) / once:.2f} of the time ({statistics.median(times[label]):.2f} s)"
        for label in methods
    ]


def in_tiles(network: Network, image: torch.Tensor, tile: int, geometry: Geometry) -> None:
    plan = plan_tiles(image.shape[2], image.shape[3], tile, geometry)
    for at in plan:
        network(plan.cut(image, *at).contiguous())


if __name__ == "__main__":
    main()
