"""Time our networks against what a user could run instead, interleaved in one run.

    python -m supertile.benchmarks.speed [--hat CHECKOUT] [--vapsr CHECKOUT] [--hitsr CHECKOUT] [--json FILE]

Every contender lives in a process of its own, so that nobody profits or suffers from another's memory allocator or
caches, and they take turns: round by round, one forward pass each. What counts is the ratio of medians; times on a
shared machine are noisy. Weights are random (the same for all contenders of a case), the results are compared first.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

HAT_S = {"embed_dim": 144, "compress_dim": 6, "squeeze_dim": 6, "mlp_dim": 288, "oca_mlp_dim": 288}
HAT_L = {"depths": (6,) * 12, "num_heads": (6,) * 12}


@dataclass(frozen=True)
class Case:
    """A network and the size of its input; `config` for our class, `official` for the authors'."""

    family: str
    name: str
    height: int
    width: int
    config: dict[str, Any]
    official: dict[str, Any]


def hat_case(name: str, side: int, config: dict[str, Any]) -> Case:
    small = name == "HAT-S"
    layers = len(config.get("depths", (6,) * 6))
    official = {
        "img_size": 64, "embed_dim": 144 if small else 180, "depths": (6,) * layers, "num_heads": (6,) * layers,
        "window_size": 16, "compress_ratio": 24 if small else 3, "squeeze_factor": 24 if small else 30,
        "conv_scale": 0.01, "overlap_ratio": 0.5, "mlp_ratio": 2, "upscale": 4, "img_range": 1.0,
        "upsampler": "pixelshuffle", "resi_connection": "1conv",
    }  # fmt: skip
    return Case("HAT", f"{name} x4", side, side, config, official)


CASES = [
    hat_case("HAT-S", 64, HAT_S),
    hat_case("HAT-S", 128, HAT_S),
    hat_case("HAT-L", 64, HAT_L),
    Case("VapSR", "VapSR x4", 180, 320, {}, {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 48, "num_block": 21}),
    *(
        Case("HiT-SR", f"HiT-{variant} x4", side, side, {"variant": variant}, {"upscale": 4})
        for variant in ("SRF", "SIR", "SNG")
        for side in (64, 192)
    ),
]


# --- contenders: each is built in its own process --------------------------------------------------------------------


def build_ours(case: Case, checkouts: dict[str, Path], precision: str) -> Callable[[Tensor], Tensor]:
    """Our network as the Upscaler runs it, without tiles."""
    from ..inference import Upscaler
    from ..weights.architectures import FAMILIES, build_descriptor
    from ..weights.shapes import Hints

    family = next(f for f in FAMILIES if case.family == f.NAME)
    state = random_state(case, checkouts)
    upscaler = Upscaler(build_descriptor(family, state, Hints()), device="cpu", precision=precision, tile=None)
    return upscaler._compute


def build_spandrel(case: Case, checkouts: dict[str, Path]) -> Callable[[Tensor], Tensor]:
    return _loaded(spandrel_hat(case), random_state(case, checkouts))


def build_official(case: Case, checkouts: dict[str, Path]) -> Callable[[Tensor], Tensor]:
    return _loaded(official_network(case, checkouts), random_state(case, checkouts))


def _loaded(network: nn.Module, state: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    missing = network.load_state_dict(state, strict=False).missing_keys
    assert all("relative_position_index" in name for name in missing), missing
    return network.eval()


def official_network(case: Case, checkouts: dict[str, Path]) -> nn.Module:
    from . import peers

    if case.family == "HAT":
        return peers.official_hat(checkouts["HAT"])(**case.official)
    if case.family == "VapSR":
        return peers.official_vapsr(checkouts["VapSR"])(**case.official)
    return peers.official_hitsr(checkouts["HiT-SR"], case.config["variant"])(**case.official)


def spandrel_hat(case: Case) -> nn.Module:
    from spandrel.architectures.HAT.__arch.HAT import HAT

    return HAT(**case.official)


def random_state(case: Case, checkouts: dict[str, Path]) -> dict[str, Tensor]:
    """Weights by the initialisation of our class, the same in every process."""
    from ..arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig

    torch.manual_seed(0)
    if case.family == "HAT":
        return HAT(HATConfig(**case.config)).state_dict()
    if case.family == "VapSR":
        return VapSR(VapSRConfig(**case.config)).state_dict()
    return HiTSR(HiTSRConfig(**case.config)).state_dict()


def contenders(case: Case, checkouts: dict[str, Path]) -> dict[str, tuple[Any, ...]]:
    """Name -> builder and its further arguments; "ours" first, peers after."""
    found: dict[str, tuple[Any, ...]] = {"ours": (build_ours, "fp32"), "ours bf16": (build_ours, "bf16")}
    if case.family == "HAT":
        found["spandrel"] = (build_spandrel,)
    if case.family in checkouts:
        found["official"] = (build_official,)
    return found


# --- one case --------------------------------------------------------------------------------------------------------


def serve(pipe: Connection, case: Case, checkouts: dict[str, Path], threads: int, build: Any, *more: Any) -> None:
    """In the contender's process: build, then time one forward pass for every message."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    image = torch.rand(1, 3, case.height, case.width, generator=torch.Generator().manual_seed(1))
    network = build(case, checkouts, *more)
    pipe.send(network(image).double().mean().item())  # also warms up
    sample = network(image)[0, :, :64, :64].numpy()
    pipe.send(sample)
    while pipe.recv():
        network(image)  # while the others had their turn, the system may have taken memory or caches away
        start = time.perf_counter()
        network(image)
        pipe.send(time.perf_counter() - start)


def run_case(case: Case, checkouts: dict[str, Path], rounds: int, threads: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    pipes, processes, samples = {}, [], {}
    for name, (build, *more) in contenders(case, checkouts).items():
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, case, checkouts, threads, build, *more), daemon=True)
        process.start()
        pipes[name] = here
        processes.append(process)
        here.recv()  # one after the other: building and warming up disturb nobody
        samples[name] = torch.from_numpy(here.recv())
    times: dict[str, list[float]] = {name: [] for name in pipes}
    for _ in range(rounds):
        for name, pipe in pipes.items():
            pipe.send(True)
            times[name].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    for process in processes:
        process.join()
    ours = samples["ours"]
    return {
        "case": case.name,
        "size": f"{case.width}x{case.height}",
        "median": {name: statistics.median(t) for name, t in times.items()},
        "spread": {name: max(t) / min(t) for name, t in times.items()},
        "difference": {name: (sample - ours).abs().max().item() for name, sample in samples.items()},
    }


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| network | input | contender | median | spread | ours is faster | difference from ours |",
        "|" + "---|" * 7,
    ]
    for result in results:
        for name, median in result["median"].items():
            ratio = median / result["median"]["ours"]
            lines.append(
                f"| {result['case']} | {result['size']} | {name} | {median * 1000:.0f} ms | "
                f"{result['spread'][name]:.2f} | {ratio:.2f}x | {result['difference'][name]:.1e} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("hat", "vapsr", "hitsr"):
        parser.add_argument(f"--{name}", type=Path, metavar="CHECKOUT", help="the authors' repository")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    paths = {"HAT": arguments.hat, "VapSR": arguments.vapsr, "HiT-SR": arguments.hitsr}
    checkouts = {name: path for name, path in paths.items() if path is not None}
    results = [
        run_case(case, checkouts, arguments.rounds, arguments.threads) for case in CASES if arguments.only in case.name
    ]
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {arguments.threads} threads\n")
    print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
