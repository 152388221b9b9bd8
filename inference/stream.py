"""One stream of images through the engine: images in, batches of tiles across them, results out in order.

On a CPU an image is yielded when its last tile has joined. An asynchronous device (CUDA) is never waited for before an
image is done: its tiles join there, a flag there says whether half precision has overflowed, and both are copied to the
host while the next image is computed. So there, one more image is requested before a result is yielded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..arch.layers import reflected_index
from . import memory
from . import precision as precisions
from .accelerator.transfers import Copies, Downloads, Uploads
from .engine import Engine
from .errors import UpscaleError, is_out_of_memory
from .host import Host
from .pending_image import PendingImage
from .planner import Planner
from .results import Results
from .static_tiles import Remembered, StaticTiles
from .tiling import TilePlan


@dataclass
class Stats:
    """The tiles that an Upscaler has computed so far, and those it has reused instead."""

    tiles_computed: int = 0
    tiles_reused: int = 0


@dataclass(eq=False)
class _Tile:
    """A tile to be computed: where it lies in its image's plan, and the entry that remembers it if there is one."""

    image: PendingImage
    at: tuple[int, int]
    input: Tensor
    remembered: Remembered[_Tile] | None = None


class Stream:
    """Computes images one after the other.

    Args:
        planner: decides tiles, batches and strips, and makes them smaller when memory runs out.
        engine: the model.
        host: the caller, for progress and cancelling.
        copies: copies beside the computing on an asynchronous device; None elsewhere.
        stats: counts the tiles.
        keep_on_device, reuse_static: as `Upscaler.stream` takes them.
        fp32: compute in fp32 whatever the engine's precision.
        check_finite: False for images that are not finite themselves.
        mask: (H, W) bool, of all images: where results are needed. Tiles without any of it are left out and stay zero;
            images of which every tile is needed are computed as without a mask.
    """

    def __init__(
        self,
        planner: Planner,
        engine: Engine,
        host: Host,
        copies: Copies | None,
        stats: Stats,
        *,
        keep_on_device: bool,
        reuse_static: bool,
        fp32: bool = False,
        check_finite: bool = True,
        mask: Tensor | None = None,
    ) -> None:
        self._planner, self._engine, self._host, self._copies, self._stats = planner, engine, host, copies, stats
        self._keep_on_device, self._reuse_static, self._fp32 = keep_on_device, reuse_static, fp32
        self._asynchronous = copies is not None
        self._uploads = None if copies is None else Uploads(copies)
        self._downloads = None if copies is None else Downloads(copies)
        self._may_overflow = engine.may_overflow and not fp32
        self._original_mask = mask
        self._mask = None if mask is None else planner.with_margins(mask[None].float())[0].cpu() > 0
        self._images: deque[PendingImage] = deque()
        self._waiting: deque[_Tile] = deque()  # all of one size
        self._results = Results(
            self._downloads,
            keep_on_device=keep_on_device,
            # Waiting for a flag would hold back an image of fp32 that stays on its device.
            check_finite=check_finite and self._asynchronous and (self._may_overflow or not keep_on_device),
        )
        self._static: StaticTiles[_Tile] = StaticTiles()
        self._steps_done = self._steps_known = 0

    def run(self, images: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the result of each image, in order."""
        self._engine.passes.begin()
        try:
            for image in images:
                with torch.inference_mode():
                    self._enter(self._to_device(image))
                yield from self._finished()
            with torch.inference_mode():
                self._compute_all()
        except Exception:
            yield from self._results.take(self._recompute)
            raise
        yield from self._finished()
        yield from self._results.take(self._recompute)

    # --- in ----------------------------------------------------------------------------------------------------------

    def _to_device(self, image: Tensor) -> Tensor:
        """Check an image and bring it to the device, (C, H, W), with its margins."""
        channels, device = self._engine.input_channels, self._engine.device
        if image.dim() != 3 or image.shape[0] != channels or min(image.shape) < 1:
            raise UpscaleError(f"this model takes images of the shape ({channels}, H, W), not {tuple(image.shape)}")
        if not image.is_floating_point():
            raise UpscaleError(f"images are floating point numbers in [0, 1], not {image.dtype}")
        # A copy, because the caller may fill the same memory with the next image while tiles of this one wait; and
        # between the CPU and an accelerator not an asynchronous one, which would be read before it has arrived.
        source = None
        if self._uploads is not None and image.device.type == "cpu":
            source = self._uploads.send(image)
        if source is None:
            source = image.to(device, torch.float32, copy=True)
        return self._planner.with_margins(source)

    def _enter(self, source: Tensor) -> None:
        """Take an image in, and compute every full batch."""
        plan = self._plan(source)
        if self._waiting and self._waiting[0].image.plan.tile != plan.tile:
            self._compute_all()
            plan = self._plan(source)  # memory may have run out
        image = self._lay_out(source, plan)
        self._images.append(image)
        self._add_tiles(image)
        while self._waiting and len(self._waiting) >= self._batch_size():
            self._compute_batch()

    def _plan(self, source: Tensor) -> TilePlan:
        height, width = source.shape[1:]
        if self._mask is not None:
            tiles = self._planner.plan(height, width, reuse_static=True)
            if len(_needed(tiles, self._mask)) < len(tiles):
                return tiles
        return self._planner.plan(height, width, reuse_static=self._reuse_static)

    def _lay_out(self, source: Tensor, plan: TilePlan) -> PendingImage:
        padded = source
        if plan.padded != tuple(source.shape[1:]):
            rows, columns = (
                reflected_index(size, to, source.device) for size, to in zip(source.shape[1:], plan.padded, strict=True)
            )
            padded = source.index_select(1, rows).index_select(2, columns)
        result, on_device = self._new_result(source, plan)
        needed = list(plan) if self._mask is None else _needed(plan, self._mask)
        steps = self._planner.steps(plan) // len(plan) * len(needed)
        return PendingImage(source, padded, plan, result, on_device, steps, needed)

    def _new_result(self, source: Tensor, plan: TilePlan) -> tuple[Tensor, bool]:
        """Return zeros (C', sH, sW) and whether they lie on an asynchronous device."""
        device, scale = self._engine.device, self._engine.scale
        shape = self._engine.output_channels, source.shape[1] * scale, source.shape[2] * scale
        with torch.inference_mode(False):  # the caller gets an ordinary tensor, which may be changed in place
            if self._keep_on_device:
                return torch.zeros(shape, device=device), self._asynchronous
            if self._asynchronous:
                size = 4 * shape[0] * shape[1] * shape[2]
                if memory.joins_there(size, self._planner.whole_bytes(plan), device):
                    try:
                        return torch.zeros(shape, device=device), True
                    except Exception as error:
                        if not is_out_of_memory(error):
                            raise
            return torch.zeros(shape), False

    def _add_tiles(self, image: PendingImage) -> None:
        self._steps_known += image.steps
        unchanged: dict[tuple[int, int], Remembered[_Tile]] = {}
        if self._reuse_static:
            unchanged = self._static.find_unchanged(image.padded, image.plan, asynchronous=self._asynchronous)
        for at in image.needed:
            tile = _Tile(image, at, image.plan.cut(image.padded, *at))
            if at in unchanged:
                self._reuse(unchanged[at], tile)
                continue
            if self._reuse_static:
                tile.remembered = self._static.remember(at, tile.input)
            self._waiting.append(tile)

    def _reuse(self, remembered: Remembered[_Tile], tile: _Tile) -> None:
        self._stats.tiles_reused += 1
        if remembered.output is None:
            remembered.followers.append(tile)
        else:
            self._join(tile, remembered.output)

    # --- batches -----------------------------------------------------------------------------------------------------

    def _batch_size(self) -> int:
        return self._planner.batch_size(self._waiting[0].image.plan)

    def _compute_all(self) -> None:
        while self._waiting:
            self._compute_batch()

    def _compute_batch(self) -> None:
        """Compute the next batch, or make the next ones smaller if memory runs out."""
        self._host.check_cancelled()
        size = min(self._batch_size(), len(self._waiting))
        tiles = [self._waiting[i] for i in range(size)]
        try:
            batch = tiles[0].input[None] if size == 1 else torch.stack([tile.input for tile in tiles])
            with self._engine.cores():
                if self._next_in_strips():
                    outputs: Iterable[Tensor] = self._compute_images(batch, tiles)
                else:
                    outputs = self._compute_tiles(batch)
            self._engine.pace()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._shrink(tiles[0].image.plan, size, error)
            return
        for tile, output in zip(tiles, outputs, strict=True):
            self._waiting.popleft()
            self._stats.tiles_computed += 1
            self._join(tile, output)
            if tile.remembered is not None:
                tile.remembered.output = output.clone()
                for follower in tile.remembered.followers:
                    self._join(follower, tile.remembered.output)
                tile.remembered.followers.clear()
        self._host.report(self._steps_done, self._steps_known)

    def _next_in_strips(self) -> bool:
        """Return whether the next batch goes through the network strip by strip.

        Compilers and graphs need batches of a fixed shape: for them a small image of one strip is a tile.
        """
        image = self._waiting[0].image
        rows = image.plan.strip_rows
        if rows is None:
            return False
        as_a_tile = self._engine.passes.active and image.steps == 1 and rows >= image.plan.tile[0]
        return not as_a_tile

    def _compute_tiles(self, batch: Tensor) -> Iterable[Tensor]:
        """Return the outputs of a batch of tiles."""
        size = len(batch)
        outputs = self._engine.compute(batch, coming=(len(self._waiting) - size) // size, fp32=self._fp32)
        if self._asynchronous or precisions.all_finite(outputs):
            return outputs
        if self._may_overflow:
            self._engine.warn_of_overflow()
            outputs = self._engine.compute(batch, fp32=True)
        self._check_numbers(outputs, batch)
        return outputs

    def _compute_images(self, batch: Tensor, tiles: list[_Tile]) -> Iterable[Tensor]:
        """Compute a batch of whole images in strips; their outputs are their results."""
        first = tiles[0].image  # alone in its batch if it is more than one step

        def tick(share: float) -> None:
            self._host.check_cancelled()
            if first.steps > 1:
                self._host.report(self._steps_done + int(share * first.steps), self._steps_known)

        results = [tile.image.result for tile in tiles]
        downloads = None if first.on_device else self._downloads
        check = not self._asynchronous and precisions.all_finite(batch)
        if not self._engine.fill(batch, results, first.plan, tick, fp32=self._fp32, check=check, downloads=downloads):
            if not self._may_overflow:
                raise self._engine.no_numbers()
            self._engine.warn_of_overflow()
            if not self._engine.fill(batch, results, first.plan, tick, fp32=True, check=check, downloads=downloads):
                raise self._engine.no_numbers()
        return results

    def _check_numbers(self, outputs: Tensor, inputs: Tensor) -> None:
        """Raise UpscaleError for outputs of fp32 that are not finite, unless the inputs are not finite either."""
        if not precisions.all_finite(outputs) and precisions.all_finite(inputs):
            raise self._engine.no_numbers()

    def _join(self, tile: _Tile, output: Tensor) -> None:
        tile.image.join(tile.at, output, self._engine.scale)
        self._steps_done += tile.image.steps // len(tile.image.needed)

    def _shrink(self, plan: TilePlan, batch: int, error: Exception) -> None:
        """Make smaller what did not fit, and lay out images anew if their tiles change."""
        self._engine.free_memory()
        smaller = self._planner.shrink(plan, batch, error)
        if smaller != plan:
            self._lay_out_again()
            return
        for image in self._images:
            if image.plan == plan:
                image.plan = smaller

    def _lay_out_again(self) -> None:
        """Forget the work on every unfinished image, and cut it into the smaller tiles."""
        self._waiting.clear()
        self._static.clear()
        for i, image in enumerate(self._images):
            if image.missing:
                self._steps_known -= image.steps
                self._steps_done -= len(image.needed) - image.missing
                self._images[i] = self._lay_out(image.source, self._plan(image.source))
                self._add_tiles(self._images[i])

    # --- out ---------------------------------------------------------------------------------------------------------

    def _finished(self) -> Iterator[Tensor]:
        """Yield finished images in order; the last one stays while its copy is in flight."""
        while self._images and self._images[0].missing == 0:
            image = self._images.popleft()
            margin_y, margin_x = (margin * self._engine.scale for margin in self._planner.margins())
            self._results.add(image.result, image.source, (margin_y, margin_x), on_device=image.on_device)
            del image
            yield from self._results.take(self._recompute, in_flight=1)

    def _recompute(self, source: Tensor) -> Tensor:
        """Compute an image of half precision in fp32, without reporting progress or counting its tiles."""
        finite = precisions.all_finite(source)
        if self._may_overflow:
            self._engine.warn_of_overflow()
        elif finite:
            raise self._engine.no_numbers()
        stream = Stream(
            self._planner, self._engine, self._host.without_progress(), self._copies, Stats(),
            keep_on_device=self._keep_on_device, reuse_static=self._reuse_static, fp32=True, check_finite=finite,
            mask=self._original_mask,
        )  # fmt: skip
        return stream.compute_one(source)

    def compute_one(self, source: Tensor) -> Tensor:
        """Return the result of one image that is on the device already, (C, H, W) with its margins."""
        with torch.inference_mode():
            self._enter(source)
            self._compute_all()
        [result] = [*self._finished(), *self._results.take(self._recompute)]
        return result


def _needed(plan: TilePlan, mask: Tensor) -> list[tuple[int, int]]:
    """Return the tiles of a plan that contribute to what a mask (H, W) on the CPU marks."""
    spans = ((at, plan.rows.span(at[0]), plan.columns.span(at[1])) for at in plan)
    return [at for at, (top, bottom), (left, right) in spans if bool(mask[top:bottom, left:right].any())]
