"""Images in strips of rows: a network computes an image of any height in the memory of a few rows.

A stage takes strips of features (B, rows, W, C) and returns strips, as soon as it has the rows for them: a pixelwise
step returns those of its input, a convolution its halo fewer, until the last rows come. Nothing is computed twice, and
borders are where the image ends and nowhere else, so the result is that of the whole image, whatever the strips.
A single strip as high as the image is the whole image: there is no other forward pass.

Stages are put together first, and compute when the last of them is read. A strip is read, never written to, and no
stage keeps a reference to one that it has returned: a generator that waits at its `yield` would keep all the variables
of its loop alive, and a chain of them every map of the network. So stages are functions, called for the next strip.

This file is the calculus; `strip_layers` has the layers of networks on strips.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from .layers import reflected_index


class Strips:
    """Features of an image in strips (B, rows, W, C) from top to bottom, for any number of readers.

    A reader registers by `iter()`, which every stage calls when it is put together. Each strip is computed once, when
    the first reader comes to it, and waits for those that are behind.

    Args:
        height: rows of all strips together.
        strips: computes them, one after the other.
    """

    def __init__(self, height: int, strips: Iterator[Tensor]) -> None:
        self.height = height
        self._source = _Source(partial(next, strips))

    @classmethod
    def pulled(cls, height: int, following: Callable[[], Tensor]) -> Strips:
        """Return the strips that `following` returns, one a call, until it raises StopIteration."""
        strips = cls(height, iter(()))
        strips._source.pull = following
        return strips

    def __iter__(self) -> Iterator[Tensor]:
        """Register a reader. Raises RuntimeError where another has begun to read, which this one would have missed."""
        if self._source.begun:
            raise RuntimeError("these strips are being read already; readers register before the first strip is read")
        return _Reader(self._source)

    def __add__(self, other: Strips) -> Strips:
        """Add two images, in the strips of the first: of a sum with a shortcut, the branch stands first."""
        return zip_with(torch.add, self, other)

    def map(self, step: Callable[[Tensor], Tensor], scale: int = 1) -> Strips:
        """Apply a step to every strip that looks at one row at a time and returns `scale` rows for it."""
        return Strips(self.height * scale, map(step, iter(self)))

    def filter_map(self, step: Callable[[Tensor], Tensor | None]) -> Strips:
        """Apply a step to every strip that returns the rows it has ready by then, or None."""
        strips = iter(self)

        def following() -> Tensor:
            while True:
                ready = step(next(strips))
                if ready is not None:
                    return ready

        return Strips.pulled(self.height, following)


@dataclass(eq=False)
class _Source:
    """Where strips come from, and the queues of those that read them."""

    pull: Callable[[], Tensor]
    queues: list[deque[Tensor]] = field(default_factory=list)
    begun: bool = False


class _Reader:
    """One reader's place in a stream of strips. A chain of stages is a chain of these, one frame for each."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._waiting: deque[Tensor] = deque()
        source.queues.append(self._waiting)

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        if self._waiting:
            return self._waiting.popleft()
        # What is traced in one thread runs in others, so a thread's hook must not be part of it.
        hook = _nothing if torch.compiler.is_compiling() else getattr(_hooks, "between_steps", _nothing)
        hook()
        self._source.begun = True
        strip = self._source.pull()
        for queue in self._source.queues:
            if queue is not self._waiting:
                queue.append(strip)
        hook()
        return strip


_hooks = threading.local()


def _nothing() -> None:
    pass


@contextmanager
def between_steps(hook: Callable[[], None]) -> Iterator[None]:
    """Call `hook` between any two steps of this thread's strips while the context lasts; its errors go through.

    In a context within another, the hooks of both are called.
    """
    before = getattr(_hooks, "between_steps", _nothing)

    def both() -> None:
        before()
        hook()

    _hooks.between_steps = hook if before is _nothing else both
    try:
        yield
    finally:
        _hooks.between_steps = before


@dataclass
class StripPlan:
    """How an image is computed.

    Args:
        rows: rows of the image in a strip; None computes all of them at once.
        report: called with the number of rows that are about to go through a sweep over the image, or just have. What
            it raises goes through.
    """

    rows: int | None = None
    report: Callable[[int], None] = lambda rows: None

    def reported(self, strips: Strips) -> Strips:
        """Return strips that are reported when they are read."""

        def report(strip: Tensor) -> Tensor:
            self.report(strip.shape[1])
            return strip

        return strips.map(report)


def strip_bounds(height: int, rows: int | None, first: int = 0, multiple: int = 1) -> list[int]:
    """Return where strips of about `rows` begin and end: 0, `first` + multiples of `multiple`, and `height`."""
    if rows is None or rows >= height:
        return [0, height]
    step = max(rows // multiple, 1) * multiple
    return [0, *range(first + step, height, step), height]


def split_rows(x: Tensor, bounds: list[int]) -> Strips:
    """Return (B, H, W, C) as strips, which are views; `bounds` rise from 0 to H."""
    return Strips(x.shape[1], (x[:, start:stop] for start, stop in itertools.pairwise(bounds)))


def compute_rows(compute: Callable[[int, int], Tensor], bounds: list[int]) -> Strips:
    """Return the strips `compute(start, stop)` between `bounds`."""
    return Strips(bounds[-1], itertools.starmap(compute, itertools.pairwise(bounds)))


def gather(strips: Strips, plan: StripPlan, into: Tensor | None = None) -> Tensor:
    """Return all rows in one tensor, each strip reported.

    Args:
        strips: an image of one strip is returned as that strip.
        into: a tensor of the result's size to write to; the strips may be computed from it, as rows are written only
            when all have been read that ever are. Left alone while gradients are recorded.
    """
    at = 0
    recorded: list[Tensor] = []
    for strip in strips:
        rows = strip.shape[1]
        plan.report(rows)
        if rows == strips.height:
            return strip
        if torch.is_grad_enabled():
            recorded.append(strip)
            continue
        if into is None:
            into = strip.new_empty(strip.shape[0], strips.height, *strip.shape[2:])
        into[:, at : at + rows] = strip
        at += rows
        del strip  # or it would be there beside the next
    if recorded:
        return torch.cat(recorded, 1)
    assert into is not None
    return into


class RowBuffer:
    """Read strips as many rows at a time as wanted."""

    def __init__(self, strips: Strips) -> None:
        self._strips = iter(strips)
        self._left: Tensor | None = None  # rows of the last strip
        self._copied = False  # whether they lie in `_place`
        self._place: Tensor | None = None

    def views(self, rows: int) -> list[Tensor]:
        """Return the next rows as views, from top to bottom; they are read at once, then `settle` is called."""
        taken: list[Tensor] = []
        while rows:
            if self._left is None:
                self._left, self._copied = next(self._strips), False
            view = self._left[:, :rows]
            rows -= view.shape[1]
            if self._copied and not rows and not taken:
                self._place = None  # it may be returned as it is, and may not be written over
            taken.append(view)
            self._left = self._left[:, view.shape[1] :] if view.shape[1] < self._left.shape[1] else None
        return taken

    def settle(self) -> None:
        """Copy what is left of a strip, which would be kept alive as a whole, to where the last views were."""
        if self._left is not None and not self._copied:
            self._left = self._place = copy_rows(self._left, self._place)
            self._copied = True

    def take(self, rows: int) -> Tensor:
        """Return the next rows in a tensor that stays as it is."""
        taken = self.views(rows)
        result = taken[0] if len(taken) == 1 else torch.cat(taken, 1)
        self.settle()
        return result


def copy_rows(rows: Tensor, place: Tensor | None) -> Tensor:
    """Copy a few rows of a strip, which a view would keep alive as a whole.

    Into `place` if they fit: what lives longer than what comes and goes around it leaves holes in memory.
    """
    if place is None or place.shape != rows.shape or torch.is_grad_enabled():
        return rows.clone()
    return place.copy_(rows)


def zip_with(step: Callable[[Tensor, Tensor], Tensor], leading: Strips, other: Strips) -> Strips:
    """Apply a step to the same rows of two images, in the strips of `leading`; let that be the one that comes later."""
    rows = RowBuffer(other)
    return leading.map(lambda strip: step(strip, rows.take(strip.shape[1])))


def zip_with_views(step: Callable[[Tensor, list[Tensor]], Tensor], leading: Strips, other: Strips) -> Strips:
    """Zip with a step that takes the rows of `other` as a list of views, so that they need not be copied together.

    `leading` may be higher than `other`: the step that comes to the end gets fewer rows, and further strips are
    dropped.
    """
    rows, left = RowBuffer(other), other.height

    def both(strip: Tensor) -> Tensor | None:
        nonlocal left
        taken = min(strip.shape[1], left)
        left -= taken
        result = step(strip, rows.views(taken)) if taken else None
        rows.settle()
        return result

    return Strips(other.height, iter(leading)).filter_map(both)


def regroup(x: Strips, multiple: int) -> Strips:
    """Return the rows in strips of a multiple of `multiple`, of which the height must be one."""
    strips = iter(x)
    waiting: deque[Tensor] = deque()

    def following() -> Tensor:
        while True:
            waiting.append(next(strips))
            rows = sum(strip.shape[1] for strip in waiting)
            whole = rows // multiple * multiple
            if whole:
                break
        strip = waiting[0] if len(waiting) == 1 else torch.cat(list(waiting), 1)
        waiting.clear()
        if whole < rows:
            waiting.append(strip[:, whole:].clone())
        return strip[:, :whole]

    return Strips.pulled(x.height, following)


def crop(x: Strips, height: int) -> Strips:
    """Return the first `height` rows."""
    strips, left = iter(x), height

    def following() -> Tensor:
        nonlocal left
        if not left:
            raise StopIteration
        strip = next(strips)[:, :left]
        left -= strip.shape[1]
        return strip

    return Strips.pulled(height, following)


def reflect_pad(x: Strips, height: int) -> Strips:
    """Mirror at the lower edge up to `height` rows, as `layers.reflect_to` does."""
    if height == x.height:
        return x
    reach = min(height - x.height + 1, x.height)  # the last rows, which are all that the mirror shows
    seen, last = 0, torch.empty(0)

    def extended(strip: Tensor) -> Tensor:
        nonlocal seen, last
        seen += strip.shape[1]
        if strip.shape[1] < reach:
            last = strip.clone() if seen == strip.shape[1] else torch.cat([last, strip], 1)[:, -reach:]
        else:
            last = copy_rows(strip[:, -reach:], last) if seen < x.height else strip[:, -reach:]
        if seen < x.height:
            return strip
        index = reflected_index(x.height, height, strip.device)[x.height :] - (x.height - last.shape[1])
        below, last = last.index_select(1, index), torch.empty(0)
        return torch.cat([strip, below], 1)

    return Strips(height, map(extended, iter(x)))
