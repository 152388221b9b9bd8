"""One run of `Upscaler.stream`: images under way in order, and their tiles that are still to be computed.

On a CPU an image is given away when its last tile has joined. A device that computes beside the host is never waited
for before an image is done: its tiles join there, whether half precision held them is a flag there, and both are on
their way to the host while the next image is computed. So there, one image more is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..arch.layers import reflected_index
from . import memory
from .accelerator.transfers import Downloads, Sent, Uploads
from .errors import UpscaleError, is_out_of_memory
from .tiling import TilePlan

if TYPE_CHECKING:
    from .upscaler import Upscaler


@dataclass(eq=False)
class _Pending:
    """An image under way: `source` (C, H, W) on the device, `padded` for the tiles, `result` as it fills.

    `there`: the result lies on a device that computes beside the host. `steps`: see `Upscaler.steps`.
    Its tiles join in the order of the plan, so that sums round alike whether or not some were known beforehand:
    `turns` are those that have not joined, `early` the outputs that wait for their turn.
    """

    source: Tensor
    padded: Tensor
    plan: TilePlan
    result: Tensor
    there: bool
    steps: int
    missing: int
    turns: deque[tuple[int, int]]
    early: dict[tuple[int, int], Tensor] = field(default_factory=dict)


@dataclass(eq=False)
class _Tile:
    """One tile's work; `known` where its result is kept for the next image."""

    pending: _Pending
    at: tuple[int, int]
    input: Tensor
    known: _Known | None = None


@dataclass(eq=False)
class _Known:
    """What a tile of the previous image was given and, once computed, gave; and those that wait for it.

    In memory of their own: a view would keep a whole image or batch alive until the last of its tiles changes.
    """

    input: Tensor
    output: Tensor | None = None
    followers: list[_Tile] = field(default_factory=list)


@dataclass(eq=False)
class _Leaving:
    """A finished image. sent: what of it the host waits for, first whether it is finite, then the result.

    source: where it may have to be computed again.
    """

    source: Tensor | None
    result: Tensor
    finite: Tensor | None = None
    sent: Sent | None = None


class Stream:
    """Images through an upscaler's engine. exact: in fp32, and not a word of it to the host."""

    def __init__(self, upscaler: Upscaler, *, keep_on_device: bool, reuse_static: bool, exact: bool = False) -> None:
        self.upscaler, self.engine = upscaler, upscaler._engine
        self.keep_on_device, self.reuse_static, self.exact = keep_on_device, reuse_static, exact
        self.pending_images: deque[_Pending] = deque()
        self.waiting: deque[_Tile] = deque()  # all of one shape
        self.leaving: deque[_Leaving] = deque()
        self.previous: dict[tuple[int, int], _Known] = {}
        self.previous_plan: TilePlan | None = None
        self.done = self.known = 0  # steps
        copies = upscaler._copies
        self.beside_the_host = copies is not None
        self.up = None if copies is None else Uploads(copies)
        self.down = None if copies is None else Downloads(copies)

    def run(self, images: Iterable[Tensor]) -> Iterator[Tensor]:
        self.engine.passes.begin()
        try:
            for image in images:
                with torch.inference_mode():
                    self._enter(self._open(image))
                yield from self._finished()
            with torch.inference_mode():
                while self.waiting:
                    self._compute_batch()
        except Exception:
            yield from self._arrived()
            raise
        yield from self._finished()
        yield from self._arrived()

    # --- in ----------------------------------------------------------------------------------------------------------

    def _open(self, image: Tensor) -> Tensor:
        """Check an image and bring it to the device, (C, H, W) with what `seamless` adds."""
        upscaler = self.upscaler
        if image.dim() != 3 or image.shape[0] != upscaler.input_channels or min(image.shape) < 1:
            raise UpscaleError(
                f"this model takes images of the shape ({upscaler.input_channels}, H, W), not {tuple(image.shape)}"
            )
        if not image.is_floating_point():
            raise UpscaleError(f"images are floating point numbers in [0, 1], not {image.dtype}")
        # A copy, because the caller may fill the same memory with the next image while tiles of this one wait; and
        # between the CPU and an accelerator not an asynchronous one, which would be read before it has arrived.
        source = self.up.send(image) if self.up is not None and image.device.type == "cpu" else None
        if source is None:
            source = image.to(upscaler.device, torch.float32, copy=True)
        margin_y, margin_x = upscaler._margins()
        if margin_y:
            source = source.index_select(1, _wrapped_index(source.shape[1], margin_y, upscaler.device))
        if margin_x:
            source = source.index_select(2, _wrapped_index(source.shape[2], margin_x, upscaler.device))
        return source

    def _enter(self, source: Tensor) -> None:
        """Take an image in, and compute what makes whole batches."""
        pending = self._lay_out(source)
        if self.waiting and self.waiting[0].pending.plan.tile != pending.plan.tile:
            tile = self.upscaler._tile
            while self.waiting:
                self._compute_batch()
            if self.upscaler._tile != tile:  # memory ran out
                pending = self._lay_out(source)
        self.pending_images.append(pending)
        self._add_tiles(pending)
        while self.waiting and len(self.waiting) >= self._batch_size():
            self._compute_batch()

    def _lay_out(self, source: Tensor) -> _Pending:
        upscaler = self.upscaler
        plan = upscaler.plan(source.shape[1], source.shape[2], reuse_static=self.reuse_static)
        padded = source
        if plan.padded != tuple(source.shape[1:]):
            rows, columns = (
                reflected_index(size, to, source.device) for size, to in zip(source.shape[1:], plan.padded, strict=True)
            )
            padded = source.index_select(1, rows).index_select(2, columns)
        result, there = self._new_result(plan, source.shape[1] * upscaler.scale, source.shape[2] * upscaler.scale)
        return _Pending(source, padded, plan, result, there, upscaler._steps(plan), len(plan), deque(plan))

    def _new_result(self, plan: TilePlan, height: int, width: int) -> tuple[Tensor, bool]:
        """Zeros (C', height, width) where its tiles join, and whether that is beside the host."""
        upscaler, shape = self.upscaler, (self.upscaler.output_channels, height, width)
        with torch.inference_mode(False):  # a result is the user's: an ordinary tensor, to be changed in place
            if self.keep_on_device:
                return torch.zeros(shape, device=upscaler.device), self.beside_the_host
            if self.beside_the_host:
                beside = upscaler._whole_bytes(*plan.tile) if len(plan) == 1 else 0
                if memory.joins_there(4 * shape[0] * height * width, beside, upscaler.device):
                    try:
                        return torch.zeros(shape, device=upscaler.device), True
                    except Exception as error:
                        if not is_out_of_memory(error):
                            raise
            return torch.zeros(shape), False

    def _add_tiles(self, pending: _Pending) -> None:
        if pending.plan != self.previous_plan:
            self.previous, self.previous_plan = {}, pending.plan
        self.known += pending.steps
        unchanged = self._unchanged(pending)
        for at in pending.plan:
            tile = _Tile(pending, at, pending.plan.cut(pending.padded, *at))
            if self.reuse_static:
                if at in unchanged:
                    before = self.previous[at]
                    self.upscaler.stats.tiles_reused += 1
                    if before.output is None:
                        before.followers.append(tile)
                    else:
                        self._deliver(tile, before.output)
                    continue
                tile.known = self.previous[at] = _Known(tile.input.clone())
            self.waiting.append(tile)

    def _unchanged(self, pending: _Pending) -> set[tuple[int, int]]:
        """Which tiles equal those of the previous image. Another device is waited for once, not for each tile."""
        pairs = {at: (known.input, pending.plan.cut(pending.padded, *at)) for at, known in self.previous.items()}
        if not self.beside_the_host:
            return {at for at, pair in pairs.items() if torch.equal(*pair)}
        if not pairs:
            return set()
        equal = torch.stack([(before == now).all() for before, now in pairs.values()]).tolist()
        return {at for at, same in zip(pairs, equal, strict=True) if same}

    # --- batches -----------------------------------------------------------------------------------------------------

    def _batch_size(self) -> int:
        return self.upscaler._batch_size(self.waiting[0].pending.plan)

    def _compute_batch(self) -> None:
        upscaler, engine = self.upscaler, self.engine
        upscaler._check_cancelled()
        size = min(self._batch_size(), len(self.waiting))
        tiles = [self.waiting[i] for i in range(size)]
        pending = tiles[0].pending
        plan = pending.plan
        whole = len(plan) == 1 and engine.in_strips
        if engine.passes.active and pending.steps == 1 and upscaler._rows is None and not self.exact:
            whole = False  # no larger than a tile: a batch of a fixed shape like any other
        try:
            batch = tiles[0].input[None] if size == 1 else torch.stack([tile.input for tile in tiles])
            if whole:
                self._fill(batch, [tile.pending for tile in tiles])
            else:
                outputs = engine.compute(batch, (len(self.waiting) - size) // size, exact=self.exact)
                if self._half() and not self.beside_the_host and not torch.isfinite(outputs).all():
                    outputs = engine.compute(batch, exact=True)
            engine.pace()
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
            upscaler.stats.tiles_computed += not self.exact
            output = tile.pending.result if whole else outputs[index]
            self._deliver(tile, output)
            if tile.known is not None:
                tile.known.output = output.clone()
                for follower in tile.known.followers:
                    self._deliver(follower, tile.known.output)
                tile.known.followers.clear()
        self._report()

    def _fill(self, batch: Tensor, pending_images: list[_Pending]) -> None:
        """Whole images, in strips."""
        steps = pending_images[0].steps  # alone in its batch, if more than one

        def tick(share: float) -> None:
            self.upscaler._check_cancelled()
            if steps > 1:
                self._report(int(share * steps))

        results = [pending.result for pending in pending_images]  # of one size
        down = None if pending_images[0].there else self.down
        check = self._half() and not self.beside_the_host
        rows = self.upscaler._rows
        if not self.engine.fill(batch, results, tick, rows=rows, exact=self.exact, check=check, down=down):
            self.engine.fill(batch, results, tick, rows=rows, exact=True, down=down)

    def _half(self) -> bool:
        """Whether numbers may come out that are none."""
        return self.engine.dtype != torch.float32 and not self.exact

    def _deliver(self, tile: _Tile, output: Tensor) -> None:
        pending = tile.pending
        if output is pending.result:
            pending.turns.clear()
        else:
            pending.early[tile.at] = output
        while pending.turns and pending.turns[0] in pending.early:
            at = pending.turns.popleft()
            pending.plan.join(pending.result, pending.early.pop(at), *at, self.upscaler.scale)
        pending.missing -= 1
        self.done += pending.steps // len(pending.plan)

    def _start_again(self) -> None:
        """Lay out every image that is not finished anew, with the smaller tile."""
        self.waiting.clear()
        self.previous, self.previous_plan = {}, None
        for i, pending in enumerate(self.pending_images):
            if pending.missing:
                self.known -= pending.steps
                self.done -= len(pending.plan) - pending.missing
                self.pending_images[i] = self._lay_out(pending.source)
                self._add_tiles(self.pending_images[i])

    def _report(self, under_way: int = 0) -> None:
        """under_way: steps of an image that is not done; where memory runs out they are done again."""
        if self.upscaler.progress is not None and not self.exact:
            self.upscaler.progress(self.done + under_way, self.known)

    # --- out ---------------------------------------------------------------------------------------------------------

    def _finished(self) -> Iterator[Tensor]:
        """Results in order; the last that is still on its way stays."""
        while self.pending_images and self.pending_images[0].missing == 0:
            self.leaving.append(self._close(self.pending_images.popleft()))
            yield from self._arrived(1)

    def _arrived(self, may_stay: int = 0) -> Iterator[Tensor]:
        """Those that leave, until so many are left that are on their way."""
        while self.leaving and (len(self.leaving) > may_stay or self.leaving[0].sent is None):
            yield self._received(self.leaving.popleft())

    def _close(self, pending: _Pending) -> _Leaving:
        """The finished image without what `seamless` added around it, and on its way if it has one."""
        finite = torch.isfinite(pending.result).all() if self._half() and self.beside_the_host else None
        margin_y, margin_x = (margin * self.upscaler.scale for margin in self.upscaler._margins())
        result = pending.result.clamp_(0, 1)
        height, width = result.shape[1:]
        result = result[:, margin_y : height - margin_y, margin_x : width - margin_x]
        leaving = _Leaving(None if finite is None else pending.source, result, finite)
        if self.down is not None and pending.there:
            going = [] if finite is None else [finite]
            going += [] if self.keep_on_device else [result]
            leaving.sent = self.down.send(*going) if going else None
        return leaving

    def _received(self, leaving: _Leaving) -> Tensor:
        """The result where it was asked for, once it is there; computed again if half precision could not hold it."""
        result, finite = leaving.result, leaving.finite
        if leaving.sent is not None:
            arrived: list[Tensor] = leaving.sent.take()
            finite = None if finite is None else arrived.pop(0)
            result = arrived.pop() if arrived else result
        if finite is None or finite:
            return result
        assert leaving.source is not None
        return self._again(leaving.source)

    def _again(self, source: Tensor) -> Tensor:
        """The result of an image that was open before, in fp32."""
        exact = Stream(self.upscaler, keep_on_device=self.keep_on_device, reuse_static=self.reuse_static, exact=True)
        with torch.inference_mode():
            exact._enter(source)
            while exact.waiting:
                exact._compute_batch()
        [result] = [*exact._finished(), *exact._arrived()]
        return result


def _wrapped_index(size: int, margin: int, device: torch.device) -> Tensor:
    return torch.arange(-margin, size + margin, device=device) % size
