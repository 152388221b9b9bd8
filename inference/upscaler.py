"""Upscale images, in batches of tiles that may belong to several images.

`Upscaler` checks arguments and chooses device and precision; its stage computes (stage.py): planner.py decides tiles
and strips, engine.py runs a network, stream.py joins both. Nothing here knows of files, videos or hosts. The class that
the package exports is its subclass in images/upscaler.py, which takes PIL images and arrays as well.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..weights.combined import AverageNetwork, ChainNetwork, parts_of
from ..weights.loader import load_model
from . import precision as precisions
from .accelerator.torch_compile import CHOICES
from .allocator import keep_freed_memory
from .combined_stages import AverageStage, ChainStage
from .edges import EDGES
from .eight_bits import bf16_agreement
from .errors import UpscaleError
from .finish import Finish
from .host import Host
from .network_stage import NetworkStage
from .stage import Stage
from .stream import Stats
from .tiling import TilePlan

SEAMLESS = ("none", "x", "y", "both")

BF16_FOR_8_BITS = "fp32/bf16"
"""fp32, and bf16 for results that are stored with 8 bits, as a precision."""


class Upscaler:
    """A model ready to upscale images of any size.

    One that was made from a name or a path can be pickled: only name, path and arguments travel, and the receiver loads
    the model again.

    Args:
        model: name of a bundled network, path of a checkpoint, or an image model as `load_model`, `chain_models`,
            `blend_models` or spandrel returns it. In fp32 it is moved to the device; in half precision a copy is made
            and the model is left alone. Models that are combined compute in one precision.
        device: "auto" (CUDA, else Apple's MPS, else the CPU), or any name that torch knows.
        precision: "fp32", "fp16", "bf16", or "auto": the fastest that agrees with fp32 to 65 dB on a small image,
            measured on this model; for results of 8 bits see `for_depth`. Layers that would overflow in half precision
            stay in fp32 in any case. A network of spandrel that does not compute in the precision given computes in
            fp32, after a warning. "fp32/bf16" is what "auto" may have chosen: the second for results of 8 bits.
        tile: "auto", "whole" (or None), or the longest side of a tile in input pixels. HAT, VapSR and HiT-SR compute
            whole images in strips: nothing twice, no seams, and channel attention sees the image instead of a tile.
            "auto" does so if there is enough memory, else it takes the largest sensible tiles; "whole" does so until
            memory runs out. Less than three overlaps is raised to three: below, nearly all work would be halo.
        overlap: halo in input pixels at each inner side of a tile; "auto" is the value measured for the family, or, if
            the architecture is unknown, on this very model (see overlap.py).
        batch: tiles that go through the network at once; "auto" chooses by the memory.
        seamless: "x", "y" or "both" sides of the image continue at the opposite side (textures, panoramas); "none".
        self_ensemble: average over the eight flips and quarter turns: eight times the work for about 0.1 dB.
        compile: whether batches of tiles go through torch.compile. "off": never. "on": always, on a CPU too, for the
            first four shapes; compiling takes from half a minute to many minutes. "auto": on CUDA, VapSR and HiT-SR,
            once tiles of one shape have been computed for a minute or are known to take that long; and on CUDA, HAT
            too, batches of a frequent shape are recorded as CUDA graphs. If the compiler or a graph fails, the network
            runs without it after one warning. The default is "off" because graphs have not run on a GPU yet.
        edges: "extend" continues an image by a few pixels, cut off afterwards, where the network gains by it (the
            bundled ones, which pad with zeros). "network" leaves the outermost pixels as the network computes them.
        threads: on a CPU, as many compute. None: as many as PyTorch has, and on Linux fewer while other programs are
            busy (see cores.py), unless OMP_NUM_THREADS is set.
        strength: 1 for the network's result, 0 for the source resampled (bicubic, antialiased), a mixture in between.
        keep_colors: correct the result so that reducing it (bicubic) to the size of the source returns the source,
            within half a code of 8 bits: colors that a network would shift, or that would flicker in a video, stay.
            What a network removes from a source (noise, blocks) comes back. See `finish.keep_colors`.

    Attributes:
        scale, input_channels, output_channels: those of the model.
        seamless: as given.
        finish: strength and keep_colors.
        device, dtype: where and in which precision the network computes.
        stats: the tiles computed and reused so far.

    Raises:
        ValueError: an argument outside of what is listed here.
        CheckpointError: the file cannot be loaded, as `load_model` says it.
        UpscaleError: the device cannot be used.
    """

    def __init__(
        self,
        model: ImageModelDescriptor | str | Path,
        *,
        device: str | torch.device = "auto",
        precision: str = "auto",
        tile: int | str | None = "auto",
        overlap: int | str = "auto",
        batch: int | str = "auto",
        seamless: str = "none",
        self_ensemble: bool = False,
        compile: str = "off",
        edges: str = "extend",
        threads: int | None = None,
        strength: float = 1.0,
        keep_colors: bool = False,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name not in ("self", "model")}  # for pickle
        _check_choice("seamless", seamless, SEAMLESS)
        _check_choice("compile", compile, CHOICES)
        _check_choice("edges", edges, EDGES)
        if precision != BF16_FOR_8_BITS:
            _check_choice("precision", precision, ("auto", *precisions.PRECISIONS))
        _check_size("tile", tile, 1, also=("auto", "whole", None))
        _check_size("overlap", overlap, 0, also=("auto",))
        _check_size("batch", batch, 1, also=("auto",))
        _check_size("threads", threads, 1, also=(None,))
        if not 0 <= strength <= 1:
            raise ValueError(f"strength is a number from 0 to 1, not {strength!r}")
        self._source: str | None = None
        if isinstance(model, (str, Path)):
            # Another process may have another working directory.
            self._source = os.path.abspath(model) if os.path.isfile(model) else str(model)
            model = load_model(model)
        self.scale, self.input_channels = model.scale, model.input_channels
        self.output_channels = model.output_channels
        self.seamless = seamless
        self.device = choose_device(device)
        self.stats = Stats()
        if self.device.type == "cpu":
            keep_freed_memory()
        if keep_colors and self.scale == 1:
            raise UpscaleError(
                "keeping the colors needs a model that enlarges: one of scale 1 would return the source; leave it out"
            )
        self.finish = Finish(strength, keep_colors)
        device_, stats = self.device, self.stats

        def stage_in(choose: Callable[[ImageModelDescriptor], torch.dtype]) -> Stage:
            return _stage_of(
                model,
                lambda part: NetworkStage(
                    part,
                    device_,
                    choose(part),
                    stats,
                    tile=tile,
                    overlap=overlap,
                    batch=batch,
                    seamless=seamless,
                    self_ensemble=self_ensemble,
                    compile=compile,
                    edges=edges,
                    threads=threads,
                ),
            )

        if precision == BF16_FOR_8_BITS:
            self._stage = stage_in(lambda _: torch.float32)
        elif precision == "auto":
            common = self._common_dtype(model)
            self._stage = stage_in(lambda _: common)
        else:
            dtype = precisions.PRECISIONS[precision]
            self._stage = stage_in(lambda part: precisions.usable(part, dtype, device_))
        self.dtype = self._stage.dtype
        self._is_open = precision == "auto" and self.dtype == torch.float32  # for results of 8 bits
        self._deciding = threading.Lock()
        self._for_8_bits: Upscaler | None = None
        self._agreement: float | None = None
        self._parts, self._stage_in = tuple(parts_of(model)), stage_in
        self._arguments = arguments
        self._settings = {
            "tile": str(tile),
            "overlap": str(overlap),
            "seamless": seamless,
            "self-ensemble": str(self_ensemble),
            "edges": edges,
        } | self.finish.settings()
        if precision == BF16_FOR_8_BITS:
            self._use_bf16_for_8_bits()

    def for_depth(self, bits: int) -> Upscaler:
        """Return the upscaler for results that are stored with so many bits: this one, or one that is faster.

        With `precision="auto"`, a network of spandrel on a CPU that multiplies bf16 computes results of up to 8 bits in
        bf16 if on a difficult image 99.5 % of the samples then stay within one code of those in fp32, none differs by
        more than three, and it is clearly faster. That is measured for these weights, once on each machine.

        Both share `stats`.
        """
        if bits > 8:
            return self
        self._decide()
        return self._for_8_bits or self

    @property
    def precision(self) -> str:
        """The precision, as the argument takes it; what "auto" leaves open is measured for it."""
        self._decide()
        if self._for_8_bits is not None:
            return BF16_FOR_8_BITS
        return next(name for name, dtype in precisions.PRECISIONS.items() if dtype == self.dtype)

    @property
    def agreement(self) -> float | None:
        """dB to which results of 8 bits agree with fp32, once "auto" has chosen bf16 for them; else None."""
        return self._agreement

    def _decide(self) -> None:
        with self._deciding:
            if not self._is_open:
                return
            agreements = [bf16_agreement(part, self.device) for part in self._parts]
            exact_enough = [agreement for agreement in agreements if agreement is not None]
            if len(exact_enough) == len(agreements):
                self._agreement = min(exact_enough)
                self._use_bf16_for_8_bits()
            self._is_open = False

    def _use_bf16_for_8_bits(self) -> None:
        faster = object.__new__(type(self))
        faster.__dict__.update(self.__dict__)
        faster._stage = self._stage_in(lambda _: torch.bfloat16)
        faster.dtype, faster._is_open = faster._stage.dtype, False
        faster._arguments = self._arguments | {"precision": "bf16"}
        self._for_8_bits = faster

    def _common_dtype(self, model: ImageModelDescriptor) -> torch.dtype:
        """Return the fastest precision that is exact enough for all networks of a model."""
        dtypes = {precisions.choose(part, self.device) for part in parts_of(model)}
        return dtypes.pop() if len(dtypes) == 1 else torch.float32

    def __call__(
        self,
        images: Tensor,
        *,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Tensor:
        """Upscale a batch of equally large images.

        Args:
            images: (N, C, H, W) float in [0, 1] with the model's number of channels.
            progress: called with the tiles done and the tiles known so far, after every batch.
            cancelled: called before every batch; if it returns True, `Cancelled` is raised. Exceptions that either
                function raises propagate.

        Returns:
            (N, C', sH, sW) float32 in [0, 1] on the CPU, with C' and s of the model.

        Raises:
            UpscaleError: wrong channels or shape.
            OutOfMemoryError: not enough memory for the smallest tile.
            Cancelled: `cancelled` returned True.
        """
        return self._batch(images, self.stream(images, progress=progress, cancelled=cancelled))

    def network(
        self,
        images: Tensor,
        *,
        again: bool = False,
        mask: Tensor | None = None,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Tensor:
        """Return what the model alone makes of a batch, without strength and keep_colors.

        Args:
            images, progress, cancelled: as in `__call__`.
            again: True if these are results of the model, to be enlarged further. Networks of scale 1 in a chain are
                then left out: they run once.
            mask: (H, W) bool: where results are needed. Tiles without any of it are not computed; they are zero.

        Returns, Raises: as `__call__`.
        """
        stage = self._stage.again if again else self._stage
        results = stage.stream(images, Host(progress, cancelled), keep_on_device=False, reuse_static=False, mask=mask)
        return self._batch(images, results)

    def _batch(self, images: Tensor, results: Iterator[Tensor]) -> Tensor:
        if images.dim() != 4:
            raise UpscaleError(f"a batch of images has the shape (N, C, H, W), not {tuple(images.shape)}")
        n, _, height, width = images.shape
        if n == 1:  # spares a copy of a large image
            [only] = results
            return only[None].contiguous()
        with torch.inference_mode(False):
            batch = torch.empty(n, self.output_channels, height * self.scale, width * self.scale)
        for result, place in zip(results, batch, strict=True):
            place.copy_(result)
        return batch

    def stream(
        self,
        images: Iterable[Tensor],
        *,
        keep_on_device: bool = False,
        reuse_static: bool = False,
        finish: bool = True,
        again: bool = False,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[Tensor]:
        """Upscale images one after the other, with tiles of several images in one batch.

        Args:
            images: (C, H, W) float in [0, 1] each, on any device, of any sizes. Read as late as possible: at most one
                batch of tiles ahead, and on CUDA one more image while the last result is copied to the CPU.
            keep_on_device: leave the results on `device` instead of the CPU.
            reuse_static: do not compute a tile again whose input equals the same tile of the previous image to the
                bit, but reuse its result. Keeps the inputs and outputs of one image in memory.
            finish: False for what the model alone returns, without strength and keep_colors.
            again: as in `network`.
            progress, cancelled: as in `__call__`.

        Yields:
            (C', sH, sW) float32 in [0, 1], one for each image, in order.

        Raises:
            UpscaleError, OutOfMemoryError, Cancelled: as `__call__`.
        """
        stage, host = self._stage.again if again else self._stage, Host(progress, cancelled)
        if not (finish and self.finish.active):
            return stage.stream(images, host, keep_on_device=keep_on_device, reuse_static=reuse_static)
        sources: deque[Tensor] = deque()

        def kept() -> Iterator[Tensor]:
            for image in images:
                sources.append(image.clone())  # the caller may fill the same memory with the next
                yield image

        results = stage.stream(kept(), host, keep_on_device=keep_on_device, reuse_static=reuse_static)
        return (self.finish(each, sources.popleft().to(each.device), seamless=self.seamless) for each in results)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._source is None:
            raise TypeError(
                "this Upscaler cannot be pickled, because its model was given as an object; make it from a name or a "
                'path, as in Upscaler("supertile-4x"), so that other processes can load the model themselves'
            )
        return partial(type(self), self._source, **(self._arguments | {"precision": self.precision})), ()

    def identity(self) -> dict[str, str]:
        """Return what decides the results: a hash of the weights as "model", and the settings by name.

        Device, batch and `compile` are not among them: they change results by rounding only.
        """
        return {"model": self._stage.identity(), "precision": self.precision, **self._settings}

    def plan(self, height: int, width: int, *, reuse_static: bool = False) -> TilePlan:
        """Return the tiles in which an image is computed, without the margins that `seamless` and `edges` add.

        Args:
            height, width: of the image in pixels.
            reuse_static: as in `stream`. With it, "auto" means tiles: nothing of a whole image can be reused.

        Returns:
            The plan. An image that is computed whole is one tile; `strip_rows` is then the height of its strips. Of a
            chain, that of the first network.
        """
        return self._stage.plan(height, width, reuse_static=reuse_static)

    def steps(self, height: int, width: int) -> int:
        """Return how many steps an image of this size counts in `progress`."""
        return self._stage.steps(height, width)

    @property
    def overlap(self) -> int:
        """The halo at each inner side of a tile, in input pixels; of a chain, what all its networks need together."""
        return self._stage.overlap

    @property
    def grid(self) -> int:
        """Origins of tiles are multiples of it, in input pixels, so that a network's windows are those of the image."""
        return self._stage.grid


def _stage_of(model: ImageModelDescriptor, of_network: Callable[[ImageModelDescriptor], Stage]) -> Stage:
    """Return the stage of a model, which may combine several networks. Keeps no reference to it, unlike a closure."""
    network = model.model
    if isinstance(network, ChainNetwork):
        return ChainStage([_stage_of(part, of_network) for part in network.parts()])
    if isinstance(network, AverageNetwork):
        first, second = (_stage_of(part, of_network) for part in network.parts())
        return AverageStage(first, second, network.weight)
    return of_network(model)


# --- arguments ---------------------------------------------------------------------------------------------------


def choose_device(name: str | torch.device) -> torch.device:
    """Return the device of that name.

    Args:
        name: any name that torch knows, or "auto" for the fastest there is: CUDA, else Apple's MPS, else the CPU.

    Raises:
        UpscaleError: the device cannot be used.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        mps = getattr(torch.backends, "mps", None)
        return torch.device("mps" if mps is not None and mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type != "cpu":
            torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = _device_problem(str(name)) or str(error).partition("\n")[0]
        raise UpscaleError(f"the device {str(name)!r} cannot be used ({reason})") from error
    return device


def _device_problem(name: str) -> str | None:
    """Return why a device cannot be used, where torch's own words explain little."""
    kind = name.partition(":")[0]
    if kind == "mps":
        return "it needs a Mac with Apple silicon and PyTorch for macOS; take auto or cpu"
    if kind == "cuda" and not torch.backends.cuda.is_built():
        return "this PyTorch was installed without CUDA; take auto or cpu, or install PyTorch for CUDA"
    if kind == "cuda" and not torch.cuda.is_available():
        return "no NVIDIA GPU with a working driver was found; take auto or cpu"
    if name.lower() in ("gpu", "nvidia"):
        return "PyTorch calls it cuda"
    return None


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}, not {value!r}")


def _check_size(name: str, value: object, minimum: int, also: tuple[object, ...]) -> None:
    if value in also and not isinstance(value, bool):
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        others = " or ".join(str(v) for v in also)
        raise ValueError(f"{name} is {others} or a whole number of at least {minimum}, not {value!r}")
