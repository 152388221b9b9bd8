"""The contenders of a case, and how each of them computes images. Each is built in its own process.

Images start and end on the device for every contender, so that an accelerator's copies are not measured. With `to_cpu`
results are copied to the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..inference import Upscaler
from ..inference.precision import PRECISIONS, candidates, may_take_bf16
from ..inference.upscaler import choose_device
from ..weights.loader import load_model
from . import comfyui_tiling, networks, peers, runtimes
from .cases import BUNDLED_X2, Case, Network, Workload

OURS = "ours"
PEAK = "convolution"


@dataclass(frozen=True)
class Setup:
    """Settings that all contenders share.

    Attributes:
        device: as torch names it.
        threads: of the CPU.
        checkouts: family -> checkout of the authors' repository.
        graphs: folder of the graphs that other runtimes read.
    """

    device: str = "cpu"
    threads: int = 1
    checkouts: dict[str, Path] = field(default_factory=dict)
    graphs: Path | None = None

    @property
    def device_type(self) -> str:
        return torch.device(self.device).type


def setup_of(device: str, threads: int | None, checkouts: Mapping[str, Path | None]) -> Setup:
    """Check the settings of a benchmark.

    Args:
        device: as for Upscaler.
        threads: of the CPU; None leaves the choice to PyTorch.
        checkouts: family -> checkout of the authors' repository, or None.

    Raises:
        CheckoutError: a path is not a checkout of that repository.
        UpscaleError: the device is not available.
    """
    given = {family: path for family, path in checkouts.items() if path is not None}
    for family, path in given.items():
        peers.source(family, path)
    return Setup(str(choose_device(device)), threads or torch.get_num_threads(), given)


@dataclass(frozen=True)
class Contender:
    """An implementation with its settings.

    backend: ours, eager, spandrel, comfyui, official, openvino or onnxruntime; or convolution, which measures the peak
        of the machine.
    channels_last: of spandrel and official, whether images and weights lie in memory with the channels last.
    """

    name: str
    backend: str
    precision: str = "fp32"
    tile: int | str = "auto"
    batch: int | str = "auto"
    to_cpu: bool = False
    compile: str = "off"
    channels_last: bool = False

    @property
    def reads_graph(self) -> bool:
        """True if it computes an exported graph, which has to be there before it is built."""
        return self.backend in runtimes.PACKAGES


@dataclass
class Runner:
    """A contender that has been built.

    Attributes:
        run: (N, C, H, W) on the device -> the first result, (C', sH, sW); all results are computed.
        tiles: (height, width) of an image -> (height, width) of each of its tiles.
        flops: of one run, for the convolution; None for networks.
    """

    run: Callable[[Tensor], Tensor]
    tiles: Callable[[int, int], list[tuple[int, int]]] = lambda height, width: [(height, width)]
    flops: float | None = None


# --- which contenders --------------------------------------------------------------------------------------------


def halves(network: Network, device: torch.device) -> list[str]:
    """Return the half precisions that are faster than fp32 on this machine. They are the same for all our families."""
    probe = load_model(str(BUNDLED_X2.file)) if network.family in networks.CONFIGS else networks.ours(network)
    names = {dtype: name for name, dtype in PRECISIONS.items()}
    if device.type == "cpu" and may_take_bf16(probe):
        return ["bf16"]
    return [names[dtype] for dtype in candidates(probe, device)]


def contenders_of(case: Case, setup: Setup) -> list[Contender]:
    """Return the contenders of a case. The first is the reference; convolutions, for the machine's peaks, come last."""
    half = halves(case.network, torch.device(setup.device))
    contenders = {"peers": _peers, "tiles": _tiles, "batches": _batches, "growth": _growth}[case.question](
        case, setup, half
    )
    precisions = dict.fromkeys(contender.precision for contender in contenders if contender.precision != "auto")
    return contenders + [Contender(f"3x3 convolution, {name}", PEAK, name) for name in precisions]


def _peers(case: Case, setup: Setup, half: list[str]) -> list[Contender]:
    ours = [Contender(OURS, OURS), *(Contender(f"{OURS}, {name}", OURS, name) for name in half)]
    if setup.device_type == "cpu":
        ours.append(Contender(f"{OURS}, auto for 8 bits", OURS, "auto"))
    family = case.network.family
    if family not in networks.CONFIGS:
        comfyui = Contender("ComfyUI's tiles, spandrel's network", "comfyui")
        return [*ours, Contender("spandrel", "spandrel"), *_on_a_cpu(case.network, setup), comfyui]
    others = [Contender(f"{OURS}, plain eager", "eager")]
    if setup.device_type == "cuda" and family != "HAT":  # compiling HAT takes many minutes
        others += [Contender(f"{OURS}, {name}, compiled", OURS, name, compile="on") for name in ("fp32", *half[:1])]
    if family == "HAT":
        # Not in half precision on a CPU: there, every program that uses spandrel computes in fp32.
        on_gpu = half if setup.device_type != "cpu" else []
        others += [Contender("spandrel", "spandrel"), *(Contender(f"spandrel, {n}", "spandrel", n) for n in on_gpu)]
    whose = "spandrel's" if family == "HAT" else "our"
    others.append(Contender(f"ComfyUI's tiles, {whose} network", "comfyui"))
    if family in setup.checkouts:
        others.append(Contender("official", "official"))
    return ours + others + _on_a_cpu(case.network, setup)


def _on_a_cpu(network: Network, setup: Setup) -> list[Contender]:
    """Return what else can be done on a CPU with an implementation of others: layout, bf16, other runtimes."""
    theirs = theirs_of(network, setup)
    if setup.device_type != "cpu" or theirs is None:
        return []
    precisions = ["fp32", *halves(BUNDLED_X2, torch.device("cpu"))]
    last = [
        Contender(f"{theirs}{'' if name == 'fp32' else f', {name}'}, channels last", theirs, name, channels_last=True)
        for name in precisions
    ]
    if runtimes.installed("openvino"):
        last += [Contender(f"OpenVINO{'' if name == 'fp32' else f', {name}'}", "openvino", name) for name in precisions]
    if runtimes.installed("onnxruntime"):
        last.append(Contender("ONNX Runtime", "onnxruntime"))
    return last


def theirs_of(network: Network, setup: Setup) -> str | None:
    """Return whose implementation others run, "official" or "spandrel"; None if there is neither."""
    if network.family in setup.checkouts:
        return "official"
    return "spandrel" if network.family not in networks.CONFIGS or network.family == "HAT" else None


def export(case: Case, workload: Workload, setup: Setup) -> str:
    """Export the graph that other runtimes read; return why that failed, "" if it did not."""
    assert setup.graphs is not None
    shape = workload.images, case.network.channels, workload.height, workload.width
    return runtimes.export(_theirs, (theirs_of(case.network, setup), case.network, setup), shape, setup.graphs)


def _theirs(whose: str, network: Network, setup: Setup) -> nn.Module:
    """Return an implementation of others in fp32 on the CPU."""
    if whose == "official":
        return networks.officials(network, setup.checkouts[network.family])
    return networks.spandrels(network).model


def _tiles(case: Case, setup: Setup, half: list[str]) -> list[Contender]:
    largest = min(case.workloads[-1].width, case.workloads[-1].height)
    sides = [side for side in (128, 256, 512, 1024) if largest / 4 <= side < largest]
    ours = [Contender(OURS, OURS), Contender(f"{OURS}, whole", OURS, tile="whole")]
    ours += [Contender(f"{OURS}, tile {side}", OURS, tile=side) for side in sides]
    return [*ours, Contender("ComfyUI's tiles", "comfyui")]


def _batches(case: Case, setup: Setup, half: list[str]) -> list[Contender]:
    sizes = [size for size in (1, 2, 4, 8, 16, 32) if size <= case.workloads[-1].images]
    precisions = [("fp32", ""), *((name, f", {name}") for name in half[:1])]
    return [Contender(OURS, OURS)] + [
        Contender(f"{OURS}, batch {size}{suffix}", OURS, name, tile="whole", batch=size)
        for name, suffix in precisions
        for size in sizes
    ]


def _growth(case: Case, setup: Setup, half: list[str]) -> list[Contender]:
    tile = Contender(f"{OURS}, tile 512", OURS, tile=512, to_cpu=True)
    return [Contender(OURS, OURS, to_cpu=True), *([tile] if case.workloads[-1].images == 1 else [])]


# --- how they compute --------------------------------------------------------------------------------------------


def build(contender: Contender, network: Network, setup: Setup) -> Runner:
    """Build a contender, in its own process. Raises whatever its code raises."""
    return _BUILDERS[contender.backend](contender, network, setup)


def _ours(contender: Contender, network: Network, setup: Setup) -> Runner:
    upscaler = Upscaler(
        networks.ours(network), device=setup.device, precision=contender.precision, tile=contender.tile,
        batch=contender.batch, compile=contender.compile,
        edges="network",
    )  # fmt: skip
    if contender.precision == "auto":
        upscaler = upscaler.for_depth(8)

    def run(images: Tensor) -> Tensor:
        first: Tensor | None = None
        for result in upscaler.stream(images, keep_on_device=not contender.to_cpu):
            first = result if first is None else first
            del result
        assert first is not None
        return first

    def tiles(height: int, width: int) -> list[tuple[int, int]]:
        plan = upscaler.plan(height, width)
        return [plan.tile] * len(plan)

    return Runner(run, tiles)


def _eager(contender: Contender, network: Network, setup: Setup) -> Runner:
    model = networks.plain(network).to(setup.device)
    return Runner(lambda images: model(images)[0])


def _spandrel(contender: Contender, network: Network, setup: Setup) -> Runner:
    dtype = PRECISIONS[contender.precision]
    model = networks.spandrels(network).to(torch.device(setup.device), dtype)
    model.model.to(memory_format=_memory_format(contender))
    return Runner(lambda images: model(_laid_out(images, contender, dtype)).float()[0])


def _official(contender: Contender, network: Network, setup: Setup) -> Runner:
    dtype = PRECISIONS[contender.precision]
    model = networks.officials(network, setup.checkouts[network.family])
    model.to(torch.device(setup.device), dtype).to(memory_format=_memory_format(contender))
    return Runner(lambda images: model(_laid_out(images, contender, dtype)).float()[0])


def _laid_out(images: Tensor, contender: Contender, dtype: torch.dtype) -> Tensor:
    return images.to(dtype).contiguous(memory_format=_memory_format(contender))


def _memory_format(contender: Contender) -> torch.memory_format:
    return torch.channels_last if contender.channels_last else torch.contiguous_format


def _openvino(contender: Contender, network: Network, setup: Setup) -> Runner:
    assert setup.graphs is not None
    model = runtimes.OpenVINO(setup.graphs, setup.threads, contender.precision)
    return Runner(lambda images: model(images)[0])


def _onnxruntime(contender: Contender, network: Network, setup: Setup) -> Runner:
    assert setup.graphs is not None
    model = runtimes.OnnxRuntime(setup.graphs, setup.threads)
    return Runner(lambda images: model(images)[0])


def _comfyui(contender: Contender, network: Network, setup: Setup) -> Runner:
    model = networks.as_comfyui_opens_it(network).to(torch.device(setup.device))

    def run(images: Tensor) -> Tensor:
        results = [comfyui_tiling.upscale(image[None], model, model.scale) for image in images]
        return results[0][0]

    return Runner(run, comfyui_tiling.tiles)


def _convolution(contender: Contender, network: Network, setup: Setup) -> Runner:
    """Build the fastest 3x3 convolution of 64 to 256 channels, channels last: the machine's peak for a dtype."""
    device, dtype = torch.device(setup.device), PRECISIONS[contender.precision]
    count, height, width = (1, 128, 128) if device.type == "cpu" else (8, 512, 512)
    best: tuple[float, Runner] | None = None
    for channels in (64, 128, 256):
        x, weight = (
            torch.randn(*shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
            for shape in ((count, channels, height, width), (channels, channels, 3, 3))
        )
        flops = 2.0 * 9 * channels**2 * count * height * width
        runner = Runner(lambda _, x=x, weight=weight: F.conv2d(x, weight, padding=1)[0, :3], flops=flops)  # type: ignore[misc]
        rate = flops / min(seconds(runner, x, device)[0] for _ in range(3))
        if best is None or rate > best[0]:
            best = rate, runner
    assert best is not None
    return best[1]


_BUILDERS = {
    "ours": _ours,
    "eager": _eager,
    "spandrel": _spandrel,
    "official": _official,
    "comfyui": _comfyui,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    PEAK: _convolution,
}


def seconds(runner: Runner, images: Tensor, device: torch.device) -> tuple[float, Tensor]:
    """Return the time of one pass, from idle device to idle device, and its first result."""
    synchronize(device)
    start = time.perf_counter()
    result = runner.run(images)
    synchronize(device)
    return time.perf_counter() - start, result


def synchronize(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
