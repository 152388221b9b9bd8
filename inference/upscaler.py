"""Upscaler: images -> larger images, in batches of tiles that may belong to several images.

The one inference core. It decides device, precision, tile and batch; it knows nothing of files, videos or hosts, and
asks its host only for `progress` and `cancelled`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from spandrel import ImageModelDescriptor, ModelTiling
from torch import Tensor

from . import memory
from . import precision as precisions
from .accelerator import cuda
from .accelerator.torch_compile import CHOICES
from .accelerator.transfers import Copies
from .allocator import keep_freed_memory
from .engine import Engine
from .errors import Cancelled, OutOfMemoryError, UpscaleError
from .overlap import needed_overlap
from .stream import Stream
from .tiling import Geometry, TilePlan, plan_tiles, smallest_tile

log = logging.getLogger(__name__)

SEAMLESS = ("none", "x", "y", "both")
STEPS = 64
"""Of progress, for a whole image larger than a tile; a tile is one."""


@dataclass
class Stats:
    """What an Upscaler has done so far, in tiles."""

    tiles_computed: int = 0
    tiles_reused: int = 0


class Upscaler:
    """A model ready to upscale images of any size.

    Args:
        model: an image model as `load_model` or spandrel gives it. In fp32 it is moved to the device; in half
            precision a copy is made and it is left alone.
        device: "auto" (CUDA, else Apple's MPS, else CPU), or any name that torch knows.
        precision: "fp32", "fp16", "bf16", or "auto": the fastest that agrees with fp32 to 65 dB on a small image,
            measured on this model. Layers that would break in half precision stay in fp32 in any case.
        tile: "auto", "whole" (or None), or the longest side of a tile in input pixels. Networks of ours compute whole
            images in strips: nothing twice, no seams, and channel attention sees the image instead of a tile.
            "auto" does so where the memory that this takes is there, else it takes the largest sensible tiles; "whole"
            does it until memory runs out. Less than three overlaps is taken as three: below, nearly all work would be
            context.
        overlap: context in input pixels at each inner side of a tile; "auto" is the family's measured value, and of an
            unknown architecture measured on this very model (see overlap.py).
        batch: tiles that go through the network at once; "auto" from the memory.
        seamless: "x", "y" or "both" sides of the image continue at the opposite side (textures, panoramas).
        self_ensemble: average over the eight flips and turns: eight times the work for about 0.1 dB.
        compile: whether batches of tiles go through torch.compile. "off": never. "on": always, on a CPU too, for the
            first four shapes; a compiler takes from half a minute to many. "auto": on CUDA, VapSR and HiT-SR, once
            tiles of one shape have been computed for a minute or are known to take that long; and on CUDA, of any
            network of ours, batches of a shape that comes often are recorded as graphs. Where a compiler or a graph
            fails, one warning says so, and the network runs as it is. "off" until somebody has seen graphs on a GPU.
        progress: called with the tiles done and the tiles known so far, after every batch.
        cancelled: asked before every batch; when it returns True, `Cancelled` is raised. What it raises goes through.

    Attributes:
        scale, input_channels, output_channels: of the model.
        seamless: as given.
        device, dtype: where and in which precision the network computes.
        stats: tiles computed and reused so far.

    Raises:
        ValueError: an argument outside of what is listed here.
        UpscaleError: the device cannot be had.
    """

    def __init__(
        self,
        model: ImageModelDescriptor,
        *,
        device: str | torch.device = "auto",
        precision: str = "auto",
        tile: int | str | None = "auto",
        overlap: int | str = "auto",
        batch: int | str = "auto",
        seamless: str = "none",
        self_ensemble: bool = False,
        compile: str = "off",
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        _check_choice("seamless", seamless, SEAMLESS)
        _check_choice("compile", compile, CHOICES)
        _check_size("tile", tile, 1, also=("auto", "whole", None))
        _check_size("overlap", overlap, 0, also=("auto",))
        _check_size("batch", batch, 1, also=("auto",))
        self.scale, self.input_channels = model.scale, model.input_channels
        self.output_channels = model.output_channels
        self.device = choose_device(device)
        self.stats = Stats()
        self.progress, self.cancelled = progress, cancelled
        self._original = model
        self._whole_only = model.tiling == ModelTiling.INTERNAL
        self._geometry = _with_overlap(memory.geometry(model), overlap)
        self._overlap_known = overlap != "auto" or precisions.is_ours(model.model)
        self.seamless = seamless
        self._seamless_x, self._seamless_y = seamless in ("x", "both"), seamless in ("y", "both")
        if self.device.type == "cpu":
            keep_freed_memory()
        self.dtype = self._resolve_precision(precision)
        if self.dtype == torch.float32:
            network = model.to(self.device)
        else:
            network = precisions.cast(model, self.dtype, self.device)
        self._engine = Engine(model, network, self.device, self.dtype, self_ensemble=self_ensemble, compile=compile)
        self._copies: Copies | None = cuda.Copies(self.device) if self.device.type == "cuda" else None
        self._whole = "auto" if tile == "auto" else "never" if isinstance(tile, int) else "always"
        self._tile = tile if isinstance(tile, int) else memory.auto_tile(model, self.device, self.dtype)
        self._rows: int | None = None  # of a strip, where memory has run out
        self._batch = batch
        self._auto_batch: tuple[tuple[int, int], int] | None = None  # of the last tile: one shape, one size

    def __call__(self, images: Tensor) -> Tensor:
        """Upscale a batch of equally large images.

        Args:
            images: (N, C, H, W) float in [0, 1], C as the model's input.
        Returns:
            (N, C', sH, sW) float32 in [0, 1] on the CPU, with C' and s of the model.
        Raises:
            UpscaleError: wrong channels or shape, or not enough memory for the smallest tile.
            Cancelled: `cancelled` said so.
        """
        if images.dim() != 4:
            raise UpscaleError(f"a batch of images has the shape (N, C, H, W), not {tuple(images.shape)}")
        n, _, height, width = images.shape
        if n == 1:  # a large image is not copied once more
            [only] = self.stream(images)
            return only[None].contiguous()
        with torch.inference_mode(False):
            result = torch.empty(n, self.output_channels, height * self.scale, width * self.scale)
        for upscaled, place in zip(self.stream(images), result, strict=True):
            place.copy_(upscaled)
        return result

    def stream(
        self, images: Iterable[Tensor], *, keep_on_device: bool = False, reuse_static: bool = False
    ) -> Iterator[Tensor]:
        """Upscale images one after the other, with tiles of several in one batch.

        Args:
            images: (C, H, W) float in [0, 1] each, on any device, of any sizes. Asked for as late as possible: no
                further ahead than one batch of tiles, and on CUDA one image, while the last result is on its way.
            keep_on_device: leave the results on `device` instead of the CPU.
            reuse_static: a tile whose input equals the same tile of the previous image to the bit is not computed
                again; its result is the previous one's. Keeps the outputs of one image.
        Yields:
            (C', sH, sW) float32 in [0, 1], in order, one for each image.
        Raises:
            As `__call__`.
        """
        return Stream(self, keep_on_device=keep_on_device, reuse_static=reuse_static).run(images)

    def plan(self, height: int, width: int, *, reuse_static: bool = False) -> TilePlan:
        """The tiles in which an image of this size is computed (without what `seamless` adds); a whole one is one.

        reuse_static: as in `stream`. Then "auto" means tiles, since of a whole image nothing can be reused.
        """
        whole = self._whole == "always" or self._whole_only
        if self._whole == "auto" and self._engine.in_strips and not reuse_static:
            whole = memory.fits(self._whole_bytes(height, width), self.device)
        if not whole and max(height, width) > self._tile:
            self._measure_overlap()
        return plan_tiles(height, width, None if whole else self._tile, self._geometry)

    def steps(self, height: int, width: int) -> int:
        """How much an image of this size counts in `progress`."""
        return self._steps(self.plan(height, width))

    @property
    def overlap(self) -> int:
        """Context at each inner side of a tile, in input pixels."""
        self._measure_overlap()
        return self._geometry.overlap

    # --- below: for Stream ---

    def _whole_bytes(self, height: int, width: int) -> int:
        """What a whole image is planned to take in strips, and 0 where there are none."""
        if not self._engine.in_strips:
            return 0
        model, where = self._original.model, (self.device, self.dtype)
        return memory.whole_bytes(model, height, width, *where, memory.fitting_rows(model, height, width, *where))

    def _measure_overlap(self) -> None:
        """Of an unknown architecture, once tiles are needed: most images are no larger than one."""
        if not self._overlap_known:
            self._overlap_known = True
            needed = needed_overlap(self._original)
            multiple = self._geometry.multiple
            self._geometry = _with_overlap(self._geometry, -(-needed // multiple) * multiple)

    def _resolve_precision(self, name: str) -> torch.dtype:
        _check_choice("precision", name, ("auto", *precisions.PRECISIONS))
        if name == "auto":
            return precisions.choose(self._original, self.device)
        return precisions.PRECISIONS[name]

    def _margins(self) -> tuple[int, int]:
        """How far the image is continued at each side where it is seamless: the overlap, in whole windows."""
        if not (self._seamless_x or self._seamless_y):
            return 0, 0
        self._measure_overlap()
        grid = self._geometry.grid
        margin = -(-max(self._geometry.overlap, 1) // grid) * grid
        return margin * self._seamless_y, margin * self._seamless_x

    def _steps(self, plan: TilePlan) -> int:
        """STEPS for an image that is computed whole although a tile would be smaller, else its tiles."""
        return STEPS if len(plan) == 1 and self._engine.in_strips and max(plan.tile) > self._tile else len(plan)

    def _batch_size(self, plan: TilePlan) -> int:
        if isinstance(self._batch, int):
            return self._batch
        if self._steps(plan) > len(plan):
            return 1
        if self._auto_batch is None or self._auto_batch[0] != plan.tile:
            self._auto_batch = plan.tile, memory.auto_batch(self._original, self.device, self.dtype, plan.tile)
        return self._auto_batch[1]

    def _shrink(self, batch: int, plan: TilePlan, error: BaseException) -> None:
        """After an out-of-memory error: halve the batch, the strips of a whole image, or the tile.

        Raises when nothing is left to halve.
        """
        self._engine.passes.drop()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        tile = plan.tile
        if batch > 1:
            self._batch = batch // 2
            log.warning("Out of memory with %d tiles at once; going on with %d.", batch, self._batch)
            return
        if len(plan) == 1 and self._engine.in_strips:
            rows = min(self._rows or memory.fitting_rows(self._original.model, *tile, self.device, self.dtype), tile[0])
            if rows > memory.LEAST_ROWS:
                self._rows = max(rows // 2, memory.LEAST_ROWS)
                log.warning("Out of memory with strips of %d rows; going on with %d.", rows, self._rows)
                return
        side, least = max(tile), smallest_tile(self._geometry)
        if side <= least or self._whole_only:
            raise OutOfMemoryError(
                f"there is not enough memory on {self.device} for a tile of {tile[1]}x{tile[0]} pixels; close other "
                "programs, use another device, or choose a smaller model"
            ) from error
        self._tile = max(min(side // 2, self._tile), least)
        self._batch, self._rows, self._whole = 1, None, "never"
        log.warning("Out of memory with a tile of %d pixels; going on with %d.", side, self._tile)

    def _check_cancelled(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("the upscaling was cancelled")


# --- arguments ---------------------------------------------------------------------------------------------------


def choose_device(name: str | torch.device) -> torch.device:
    """The device of that name, "auto" for the fastest there is. Raises UpscaleError where it cannot be had."""
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
        reason = str(error).partition("\n")[0]
        raise UpscaleError(f"the device {str(name)!r} cannot be used ({reason})") from error
    return device


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}, not {value!r}")


def _check_size(name: str, value: object, least: int, also: tuple[object, ...]) -> None:
    if value in also and not isinstance(value, bool):
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        others = " or ".join(str(v) for v in also)
        raise ValueError(f"{name} is {others} or a whole number of at least {least}, not {value!r}")


def _with_overlap(geometry: Geometry, overlap: int | str) -> Geometry:
    return geometry if isinstance(overlap, str) else Geometry(geometry.grid, geometry.multiple, overlap)
