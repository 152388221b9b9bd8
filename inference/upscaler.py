"""Upscaler: pictures -> larger pictures, in batches of tiles that may belong to several pictures.

The one inference core. It decides device, precision, tile and batch; it knows nothing of files, videos or hosts, and
asks its host only for `progress` and `cancelled`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from spandrel import ImageModelDescriptor, ModelTiling
from torch import Tensor

from ..arch.layers import reflected_index
from ..arch.strips import Job, Network, attended
from . import context, memory
from . import precision as precisions
from .allocator import keep_freed_memory, within
from .errors import Cancelled, OutOfMemoryError, UpscaleError, is_out_of_memory
from .tiling import Geometry, TilePlan, plan_tiles, smallest_tile
from .turns import TURNS

log = logging.getLogger(__name__)

SEAMLESS = ("none", "x", "y", "both")
STEPS = 64
"""Of progress, for a whole picture larger than a tile; a tile is one."""


@dataclass
class Stats:
    """What an Upscaler has done so far, in tiles."""

    tiles_computed: int = 0
    tiles_reused: int = 0


@dataclass(eq=False)
class _Picture:
    """A picture under way: `source` (C, H, W) on the device, `padded` for the tiles, `result` as it fills.

    Its tiles join in the order of the plan, so that sums round alike whether or not some were known beforehand:
    `turns` are those that have not joined, `early` the outputs that wait for their turn. `steps`: see `Upscaler.steps`.
    """

    source: Tensor
    padded: Tensor
    plan: TilePlan
    result: Tensor
    steps: int
    missing: int
    turns: deque[tuple[int, int]]
    early: dict[tuple[int, int], Tensor] = field(default_factory=dict)


@dataclass(eq=False)
class _Tile:
    """One tile's work; `known` where its result is kept for the next picture."""

    picture: _Picture
    at: tuple[int, int]
    input: Tensor
    known: _Known | None = None


@dataclass(eq=False)
class _Known:
    """What a tile of the previous picture was given and, once computed, gave; and those that wait for it.

    In memory of their own: a view would keep a whole picture or batch alive until the last of its tiles changes.
    """

    input: Tensor
    output: Tensor | None = None
    followers: list[_Tile] = field(default_factory=list)


class Upscaler:
    """A model ready to upscale pictures of any size.

    Args:
        model: an image model as `load_model` or spandrel gives it. In fp32 it is moved to the device; in half
            precision a copy is made and it is left alone.
        device: "auto" (CUDA, else Apple's MPS, else CPU), or any name that torch knows.
        precision: "fp32", "fp16", "bf16", or "auto": the fastest that agrees with fp32 to 65 dB on a small picture,
            measured on this model. Layers that would break in half precision stay in fp32 in any case.
        tile: "auto", "whole" (or None), or the longest side of a tile in input pixels. Networks of ours compute whole
            pictures in strips: nothing twice, no seams, and channel attention sees the picture instead of a tile.
            "auto" does so where the memory that this takes is there, else it takes the largest sensible tiles; "whole"
            does it until memory runs out. Less than three overlaps is taken as three: below, nearly all work would be
            context.
        overlap: context in input pixels at each inner side of a tile; "auto" is the family's measured value, and of an
            unknown architecture measured on this very model (see context.py).
        batch: tiles that go through the network at once; "auto" from the memory.
        seamless: "x", "y" or "both" sides of the picture continue at the opposite side (textures, panoramas).
        self_ensemble: average over the eight flips and turns: eight times the work for about 0.1 dB.
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
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        _check_choice("seamless", seamless, SEAMLESS)
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
        self._self_ensemble = self_ensemble
        self._done = self._known = 0
        if self.device.type == "cpu":
            keep_freed_memory()
        self.dtype = self._resolve_precision(precision)
        if self.dtype == torch.float32:
            self._network = model.to(self.device)
        else:
            self._network = precisions.cast(model, self.dtype, self.device)
        self._exact: ImageModelDescriptor | None = None
        self._in_strips = precisions.is_ours(model.model)
        self._whole = "auto" if tile == "auto" else "never" if isinstance(tile, int) else "always"
        self._tile = tile if isinstance(tile, int) else memory.auto_tile(model, self.device, self.dtype)
        self._rows: int | None = None  # of a strip, where memory has run out
        self._batch = batch

    def __call__(self, images: Tensor) -> Tensor:
        """Upscale a batch of equally large pictures.

        Args:
            images: (N, C, H, W) float in [0, 1], C as the model's input.
        Returns:
            (N, C', sH, sW) float32 in [0, 1] on the CPU, with C' and s of the model.
        Raises:
            UpscaleError: wrong channels or shape, or not enough memory for the smallest tile.
            Cancelled: `cancelled` said so.
        """
        if images.dim() != 4:
            raise UpscaleError(f"a batch of pictures has the shape (N, C, H, W), not {tuple(images.shape)}")
        n, _, height, width = images.shape
        with torch.inference_mode(False):
            result = torch.empty(n, self.output_channels, height * self.scale, width * self.scale)
        for upscaled, place in zip(self.stream(images), result, strict=True):
            place.copy_(upscaled)
        return result

    def stream(
        self, images: Iterable[Tensor], *, keep_on_device: bool = False, reuse_static: bool = False
    ) -> Iterator[Tensor]:
        """Upscale pictures one after the other, with tiles of several in one batch.

        Args:
            images: (C, H, W) float in [0, 1] each, on any device, of any sizes. Asked for as late as possible: no
                further ahead than one batch of tiles.
            keep_on_device: leave the results on `device` instead of the CPU.
            reuse_static: a tile whose input equals the same tile of the previous picture to the bit is not computed
                again; its result is the previous one's. Keeps the outputs of one picture.
        Yields:
            (C', sH, sW) float32 in [0, 1], in order, one for each picture.
        Raises:
            As `__call__`.
        """
        return _Stream(self, keep_on_device, reuse_static).run(images)

    def plan(self, height: int, width: int, *, reuse_static: bool = False) -> TilePlan:
        """The tiles in which a picture of this size is computed (without what `seamless` adds); a whole one is one.

        reuse_static: as in `stream`. Then "auto" means tiles, since of a whole picture nothing can be reused.
        """
        whole = self._whole == "always" or self._whole_only
        if self._whole == "auto" and self._in_strips and not reuse_static:
            needed = memory.whole_bytes(self._original.model, height, width, self.device, self.dtype)
            needed = int(needed * memory.holes(self.device))
            whole = needed <= 0.8 * memory.free_bytes(self.device)
        if not whole and max(height, width) > self._tile:
            self._measure_overlap()
        return plan_tiles(height, width, None if whole else self._tile, self._geometry)

    def steps(self, height: int, width: int) -> int:
        """How much a picture of this size counts in `progress`."""
        return self._steps(self.plan(height, width))

    @property
    def overlap(self) -> int:
        """Context at each inner side of a tile, in input pixels."""
        self._measure_overlap()
        return self._geometry.overlap

    # --- below: for _Stream ---

    def _measure_overlap(self) -> None:
        """Of an unknown architecture, once tiles are needed: most pictures are no larger than one."""
        if not self._overlap_known:
            self._overlap_known = True
            needed = context.needed_overlap(self._original)
            multiple = self._geometry.multiple
            self._geometry = _with_overlap(self._geometry, -(-needed // multiple) * multiple)

    def _resolve_precision(self, name: str) -> torch.dtype:
        _check_choice("precision", name, ("auto", *precisions.PRECISIONS))
        if name == "auto":
            return precisions.choose(self._original, self.device)
        return precisions.PRECISIONS[name]

    def _open(self, image: Tensor, result_device: torch.device, reuse_static: bool) -> _Picture:
        """Check a picture and bring it to the device."""
        if image.dim() != 3 or image.shape[0] != self.input_channels or min(image.shape) < 1:
            raise UpscaleError(
                f"this model takes pictures of the shape ({self.input_channels}, H, W), not {tuple(image.shape)}"
            )
        if not image.is_floating_point():
            raise UpscaleError(f"pictures are floating point numbers in [0, 1], not {image.dtype}")
        # A copy, because the caller may fill the same memory with the next picture while tiles of this one wait; and
        # from an accelerator to the CPU not an asynchronous one, which would be read before it has arrived.
        source = image.to(self.device, torch.float32, non_blocking=self.device.type != "cpu", copy=True)
        margin_y, margin_x = self._margins()
        if margin_y:
            source = source.index_select(1, _wrapped_index(source.shape[1], margin_y, self.device))
        if margin_x:
            source = source.index_select(2, _wrapped_index(source.shape[2], margin_x, self.device))
        return self._lay_out(source, result_device, reuse_static)

    def _lay_out(self, source: Tensor, result_device: torch.device, reuse_static: bool) -> _Picture:
        plan = self.plan(source.shape[1], source.shape[2], reuse_static=reuse_static)
        padded = source
        if plan.padded != tuple(source.shape[1:]):
            rows, columns = (
                reflected_index(size, to, self.device) for size, to in zip(source.shape[1:], plan.padded, strict=True)
            )
            padded = source.index_select(1, rows).index_select(2, columns)
        with torch.inference_mode(False):  # a result is the user's: an ordinary tensor, to be changed in place
            result = torch.zeros(
                self.output_channels, source.shape[1] * self.scale, source.shape[2] * self.scale, device=result_device
            )
        return _Picture(source, padded, plan, result, self._steps(plan), len(plan), deque(plan))

    def _close(self, picture: _Picture) -> Tensor:
        """The finished picture, without what `seamless` added around it."""
        margin_y, margin_x = (margin * self.scale for margin in self._margins())
        result = picture.result.clamp_(0, 1)
        height, width = result.shape[1:]
        return result[:, margin_y : height - margin_y, margin_x : width - margin_x]

    def _margins(self) -> tuple[int, int]:
        """How far the picture is continued at each side where it is seamless: the overlap, in whole windows."""
        if not (self._seamless_x or self._seamless_y):
            return 0, 0
        self._measure_overlap()
        grid = self._geometry.grid
        margin = -(-max(self._geometry.overlap, 1) // grid) * grid
        return margin * self._seamless_y, margin * self._seamless_x

    def _steps(self, plan: TilePlan) -> int:
        """STEPS for a picture that is computed whole although a tile would be smaller, else its tiles."""
        return STEPS if len(plan) == 1 and self._in_strips and max(plan.tile) > self._tile else len(plan)

    def _batch_size(self, plan: TilePlan) -> int:
        if isinstance(self._batch, int):
            return self._batch
        if self._steps(plan) > len(plan):
            return 1
        return memory.auto_batch(self._original, self.device, self.dtype, plan.tile)

    def _compute(self, batch: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', sh, sw) fp32; in fp32 where half precision gave something that is no number."""
        output = self._run(self._network, batch)
        if self.dtype == torch.float32 or torch.isfinite(output).all():
            return output
        return self._run(self._exact_network(), batch)

    def _exact_network(self) -> ImageModelDescriptor:
        if self._exact is None:
            name = str(self.dtype).removeprefix("torch.")
            log.warning("The model's output in %s is not finite; such batches are computed in fp32.", name)
            self._exact = precisions.cast(self._original, torch.float32, self.device)
        return self._exact

    def _run(self, network: ImageModelDescriptor, batch: Tensor) -> Tensor:
        if not self._self_ensemble:
            return precisions.run(network, batch)
        total: Tensor | None = None
        for turn in TURNS:
            output = turn.back(precisions.run(network, turn.of(batch)))
            total = output.clone() if total is None else total.add_(output)
        assert total is not None
        return total.div_(len(TURNS))

    def _compute_whole(self, batch: Tensor, results: list[Tensor], report: Callable[[float], None]) -> None:
        """The same for whole pictures, into `results` (C', sh, sw) on any device, a few rows at a time.

        report: called with the share of the work that is done.
        """
        if not self._fill(self._network, batch, results, report):
            self._fill(self._exact_network(), batch, results, report)

    def _fill(
        self, network: ImageModelDescriptor, batch: Tensor, results: list[Tensor], report: Callable[[float], None]
    ) -> bool:
        """Whether all of it is finite, which is known to be so in fp32."""
        model = network.model
        assert isinstance(model, Network)
        turns = TURNS if self._self_ensemble else TURNS[:1]
        work = sum(model.work(turn.of(batch).shape[2]) for turn in turns)
        done = 0

        def tick(rows: int) -> None:
            nonlocal done
            self._check_cancelled()
            report(done / work)
            done += rows

        half = self.dtype != torch.float32 and network is self._network
        for turn in turns:
            picture = turn.of(batch)
            rows = self._rows or memory.strip_rows(self._original.model, picture.shape[3], self.device)
            at, height = 0, picture.shape[2] * self.scale
            for part in self._attended(model, picture, Job(rows, tick)):
                if half and not torch.isfinite(part).all():
                    return False
                piece, place = turn.back(part.permute(0, 3, 1, 2)), turn.place(at, part.shape[1], height)
                for result, of_it in zip(results, piece, strict=True):
                    if turn is turns[0]:
                        result[place].copy_(of_it)
                    else:
                        result[place].add_(of_it.to(result.device))
                at += part.shape[1]
                del part, piece, of_it
        if len(turns) > 1:
            for result in results:
                result.div_(len(turns))
        return True

    def _attended(self, model: Network, picture: Tensor, job: Job) -> Iterator[Tensor]:
        """The strips of a picture; on a CPU in about as much memory as they are planned to take."""
        height, width = picture.shape[2:]
        planned = memory.whole_bytes(model, height, width, self.device, self.dtype, job.rows) * len(picture)
        if self.device.type != "cpu" or planned < memory.SMALL:  # too little for holes to matter
            yield from model.strips(picture, job)
            return
        check = within(int(planned * memory.KEPT))
        strips = iter(model.strips(picture, job))
        while True:
            with attended(check):
                part = next(strips, None)
            if part is None:
                return
            yield part
            del part

    def _shrink(self, batch: int, plan: TilePlan, error: BaseException) -> None:
        """After an out-of-memory error: halve the batch, the strips of a whole picture, or the tile.

        Raises when nothing is left to halve.
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        tile = plan.tile
        if batch > 1:
            self._batch = batch // 2
            log.warning("Out of memory with %d tiles at once; going on with %d.", batch, self._batch)
            return
        if len(plan) == 1 and self._in_strips:
            rows = min(self._rows or memory.strip_rows(self._original.model, tile[1], self.device), tile[0])
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

    def _report(self, under_way: int = 0) -> None:
        """under_way: steps of a picture that is not done; where memory runs out they are done again."""
        if self.progress is not None:
            self.progress(self._done + under_way, self._known)


class _Stream:
    """One run of `Upscaler.stream`: pictures under way in order, and their tiles that are still to be computed."""

    def __init__(self, upscaler: Upscaler, keep_on_device: bool, reuse_static: bool) -> None:
        self.upscaler = upscaler
        self.result_device = upscaler.device if keep_on_device else torch.device("cpu")
        self.reuse_static = reuse_static
        self.pictures: deque[_Picture] = deque()
        self.waiting: deque[_Tile] = deque()  # all of one shape
        self.previous: dict[tuple[int, int], _Known] = {}
        self.previous_plan: TilePlan | None = None
        upscaler._done = upscaler._known = 0

    def run(self, images: Iterable[Tensor]) -> Iterator[Tensor]:
        for image in images:
            with torch.inference_mode():
                picture = self.upscaler._open(image, self.result_device, self.reuse_static)
                if self.waiting and self.waiting[0].picture.plan.tile != picture.plan.tile:
                    tile = self.upscaler._tile
                    while self.waiting:
                        self._compute_batch()
                    if self.upscaler._tile != tile:  # memory ran out
                        picture = self.upscaler._lay_out(picture.source, self.result_device, self.reuse_static)
                self.pictures.append(picture)
                self._add_tiles(picture)
                while self.waiting and len(self.waiting) >= self._batch_size():
                    self._compute_batch()
            yield from self._finished()
        with torch.inference_mode():
            while self.waiting:
                self._compute_batch()
        yield from self._finished()

    def _batch_size(self) -> int:
        return self.upscaler._batch_size(self.waiting[0].picture.plan)

    def _finished(self) -> Iterator[Tensor]:
        while self.pictures and self.pictures[0].missing == 0:
            yield self.upscaler._close(self.pictures.popleft())

    def _add_tiles(self, picture: _Picture) -> None:
        if picture.plan != self.previous_plan:
            self.previous, self.previous_plan = {}, picture.plan
        self.upscaler._known += picture.steps
        for at in picture.plan:
            tile = _Tile(picture, at, picture.plan.cut(picture.padded, *at))
            if self.reuse_static:
                before = self.previous.get(at)
                if before is not None and torch.equal(before.input, tile.input):
                    self.upscaler.stats.tiles_reused += 1
                    if before.output is None:
                        before.followers.append(tile)
                    else:
                        self._deliver(tile, before.output)
                    continue
                tile.known = self.previous[at] = _Known(tile.input.clone())
            self.waiting.append(tile)

    def _compute_batch(self) -> None:
        upscaler = self.upscaler
        upscaler._check_cancelled()
        size = min(self._batch_size(), len(self.waiting))
        tiles = [self.waiting[i] for i in range(size)]
        plan = tiles[0].picture.plan
        whole = len(plan) == 1 and upscaler._in_strips
        try:
            batch = tiles[0].input[None] if size == 1 else torch.stack([tile.input for tile in tiles])
            if whole:
                steps = tiles[0].picture.steps  # alone in its batch, if more than one
                results = [tile.picture.result for tile in tiles]
                under_way = (lambda share: upscaler._report(int(share * steps))) if steps > 1 else (lambda share: None)
                upscaler._compute_whole(batch, results, under_way)
            else:
                outputs = upscaler._compute(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            before = upscaler._tile, upscaler._whole
            upscaler._shrink(size, plan, error)
            if (upscaler._tile, upscaler._whole) != before:
                self._start_again()
            return
        for index, tile in enumerate(tiles):
            self.waiting.popleft()
            upscaler.stats.tiles_computed += 1
            output = tile.picture.result if whole else outputs[index]
            self._deliver(tile, output)
            if tile.known is not None:
                tile.known.output = output.clone()
                for follower in tile.known.followers:
                    self._deliver(follower, tile.known.output)
                tile.known.followers.clear()
        upscaler._report()

    def _deliver(self, tile: _Tile, output: Tensor) -> None:
        picture = tile.picture
        if output is picture.result:
            picture.turns.clear()
        else:
            picture.early[tile.at] = output
        while picture.turns and picture.turns[0] in picture.early:
            at = picture.turns.popleft()
            picture.plan.join(picture.result, picture.early.pop(at), *at, self.upscaler.scale)
        picture.missing -= 1
        self.upscaler._done += picture.steps // len(picture.plan)

    def _start_again(self) -> None:
        """Lay out every picture that is not finished anew, with the smaller tile."""
        self.waiting.clear()
        self.previous, self.previous_plan = {}, None
        for i, picture in enumerate(self.pictures):
            if picture.missing:
                self.upscaler._known -= picture.steps
                self.upscaler._done -= len(picture.plan) - picture.missing
                self.pictures[i] = self.upscaler._lay_out(picture.source, self.result_device, self.reuse_static)
                self._add_tiles(self.pictures[i])


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


def _wrapped_index(size: int, margin: int, device: torch.device) -> Tensor:
    return torch.arange(-margin, size + margin, device=device) % size
