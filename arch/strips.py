"""Images in strips of rows: a network computes an image of any height in the memory of a few rows.

A stage takes strips of features (B, rows, W, C) and gives strips, as soon as it has the rows for them: a pixelwise
step those of its input, a convolution a kernel's rim fewer, until the last rows come. Nothing is computed twice, and
borders are where the image ends and nowhere else, so the result is that of the whole image, whatever the strips.
A single strip as high as the image is the whole image: there is no other forward pass.

Strips are made when they are asked for. What one stage has given is another's to read, never to write to (but for what
a stage of HiT-SR makes for the next one alone). And it keeps no reference to it: a generator that waits at its `yield`
would keep all the variables of its loop alive, and a chain of them every map of the network. So stages are functions
that are called for the next strip.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import autotune
from .layers import conv2d, pixel_shuffle, reflected_index, to_image, upsample_steps


class Strips:
    """Features of an image `height` rows high, as strips (B, rows, W, C) from top to bottom. To be read once."""

    def __init__(self, height: int, parts: Iterator[Tensor]) -> None:
        self.height = height
        self._parts = parts

    def __iter__(self) -> Iterator[Tensor]:
        return self._parts

    def map(self, step: Callable[[Tensor], Tensor], scale: int = 1) -> Strips:
        """`step` on every strip: what looks at one row at a time, and gives `scale` of them."""
        return Strips(self.height * scale, map(step, self._parts))

    def through(self, step: Callable[[Tensor], Tensor | None]) -> Strips:
        """`step` on every strip, where it gives what is ready by then: None until there is anything."""

        def following() -> Tensor:
            while True:
                part = step(next(self._parts))
                if part is not None:
                    return part

        return Strips(self.height, _Calls(following))

    def twice(self) -> tuple[Strips, Strips]:
        """For two readers. What one of them has read waits for the other."""
        waiting: tuple[deque[Tensor], deque[Tensor]] = (deque(), deque())

        def reader(own: deque[Tensor], others: deque[Tensor]) -> Callable[[], Tensor]:
            def following() -> Tensor:
                if not own:
                    part = next(self._parts)
                    others.append(part)
                    return part
                return own.popleft()

            return following

        one, other = (reader(waiting[i], waiting[1 - i]) for i in (0, 1))
        return Strips(self.height, _Calls(one)), Strips(self.height, _Calls(other))


class _Calls:
    """The strips that a function gives, one a call, until it raises StopIteration."""

    def __init__(self, following: Callable[[], Tensor]) -> None:
        self._following = following

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        check = getattr(_attention, "check", _nothing)
        check()  # at the way up to the first of a chain of steps,
        part = self._following()
        check()  # and at the way back, after each of them
        return part


_attention = threading.local()


def _nothing() -> None:
    pass


@contextmanager
def attended(check: Callable[[], None]) -> Iterator[None]:
    """While it is entered, `check` is called between any two steps of this thread's strips: the host's own affairs."""
    before = getattr(_attention, "check", _nothing)
    _attention.check = check
    try:
        yield
    finally:
        _attention.check = before


@dataclass
class Job:
    """How an image is computed.

    rows: of the image in a strip; None is all of them. report: called now and then with the rows that are about to
    go through a sweep over the image or just have; what it raises goes through.
    """

    rows: int | None = None
    report: Callable[[int], None] = lambda rows: None

    def reported(self, strips: Strips) -> Strips:
        """The same strips, each reported when it is asked for."""

        def report(part: Tensor) -> Tensor:
            self.report(part.shape[1])
            return part

        return strips.map(report)


def cut(x: Tensor, bounds: list[int]) -> Strips:
    """(B, H, W, C) as strips, views; `bounds` from 0 to H, rising."""
    return Strips(x.shape[1], (x[:, start:end] for start, end in itertools.pairwise(bounds)))


def bounds_of(height: int, rows: int | None, first: int = 0, multiple: int = 1) -> list[int]:
    """Where strips of about `rows` begin and end: at `first` + a multiple of `multiple`, and at both ends."""
    if rows is None or rows >= height:
        return [0, height]
    step = max(rows // multiple, 1) * multiple
    return [0, *range(first + step, height, step), height]


def joined(parts: Strips, job: Job, into: Tensor | None = None) -> Tensor:
    """All of an image's rows in one tensor.

    into: a tensor of that size, of which the strips may be made: it is only written where all has been read that is
    ever read. An image of one strip is that strip, and while gradients are recorded nothing is written over.
    """
    at = 0
    kept: list[Tensor] = []
    for part in parts:
        rows = part.shape[1]
        job.report(rows)
        if rows == parts.height:
            return part
        if torch.is_grad_enabled():
            kept.append(part)
            continue
        if into is None:
            into = part.new_empty(part.shape[0], parts.height, *part.shape[2:])
        into[:, at : at + rows] = part
        at += rows
        del part  # or it would be there beside the next
    if kept:
        return torch.cat(kept, 1)
    assert into is not None
    return into


class Network(nn.Module):
    """A network that computes images in strips.

    `forward` takes (B, in_channels, H, W) in [0, 1] of any size from 1x1, and returns (B, out_channels, sH, sW) in the
    dtype of its input, unclamped; at once, which is one strip.
    """

    def work(self, height: int) -> int:
        """How many rows `Job.report` hears of, in all sweeps over an image `height` rows high."""
        return height

    def strips(self, image: Tensor, job: Job) -> Strips:
        """The result, (B, rows, sW, out_channels) fp32 at a time."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        job = Job()
        return to_image(joined(self.strips(image, job), job), image.dtype)


class _Rows:
    """The rows of an image, as many at a time as are asked for."""

    def __init__(self, strips: Strips) -> None:
        self._parts = iter(strips)
        self._left: Tensor | None = None  # of the last strip
        self._ours = False  # whether that lies in `_place`
        self._place: Tensor | None = None

    def pieces(self, rows: int) -> list[Tensor]:
        """The next ones, from top to bottom. To be read and not handed on; then comes `settle`."""
        taken: list[Tensor] = []
        while rows:
            if self._left is None:
                self._left, self._ours = next(self._parts), False
            piece = self._left[:, :rows]
            rows -= piece.shape[1]
            if self._ours and not rows and not taken:
                self._place = None  # it may go out as it is, and may not be written over
            taken.append(piece)
            self._left = self._left[:, piece.shape[1] :] if piece.shape[1] < self._left.shape[1] else None
        return taken

    def settle(self) -> None:
        """Copies what is left of a strip to where the pieces were: it would keep all of the strip alive."""
        if self._left is not None and not self._ours:
            self._left = self._place = _kept(self._left, self._place)
            self._ours = True

    def take(self, rows: int) -> Tensor:
        """The next ones as a tensor that stays as it is."""
        taken = self.pieces(rows)
        result = taken[0] if len(taken) == 1 else torch.cat(taken, 1)
        self.settle()
        return result


def _kept(rows: Tensor, place: Tensor | None) -> Tensor:
    """A copy of a few rows of a strip, which a view would keep alive as a whole.

    In `place` if they fit: what lives longer than what comes and goes around it leaves holes in memory.
    """
    if place is None or place.shape != rows.shape or torch.is_grad_enabled():
        return rows.clone()
    return place.copy_(rows)


def together(leading: Strips, other: Strips, step: Callable[[Tensor, Tensor], Tensor]) -> Strips:
    """`step` on the same rows of two images, in the strips of the one that comes later."""
    rows = _Rows(other)
    return leading.map(lambda part: step(part, rows.take(part.shape[1])))


def beside(leading: Strips, other: Strips, step: Callable[[Tensor, list[Tensor]], Tensor]) -> Strips:
    """The same with a step that takes the rows of `other` in pieces, so that they need not be copied together.

    `leading` may go on below the other: the step that comes to its end gets fewer rows, and further strips are left
    out.
    """
    rows, left = _Rows(other), other.height

    def both(part: Tensor) -> Tensor | None:
        nonlocal left
        taken = min(part.shape[1], left)
        left -= taken
        result = step(part, rows.pieces(taken)) if taken else None
        rows.settle()
        return result

    return Strips(other.height, iter(leading)).through(both)


def grouped(x: Strips, multiple: int) -> Strips:
    """The same rows in strips of a multiple of `multiple`; the height must be one."""
    parts = iter(x)
    waiting: deque[Tensor] = deque()

    def following() -> Tensor:
        while True:
            waiting.append(next(parts))
            rows = sum(part.shape[1] for part in waiting)
            whole = rows // multiple * multiple
            if whole:
                break
        part = waiting[0] if len(waiting) == 1 else torch.cat(list(waiting), 1)
        waiting.clear()
        if whole < rows:
            waiting.append(part[:, whole:].clone())
        return part[:, :whole]

    return Strips(x.height, _Calls(following))


def cropped(x: Strips, height: int) -> Strips:
    """The first `height` rows."""
    parts, left = iter(x), height

    def following() -> Tensor:
        nonlocal left
        if not left:
            raise StopIteration
        part = next(parts)[:, :left]
        left -= part.shape[1]
        return part

    return Strips(height, _Calls(following))


def mirrored(x: Strips, height: int) -> Strips:
    """Mirrored at the lower edge up to `height` rows, as `reflect_to` does it."""
    if height == x.height:
        return x
    reach = min(height - x.height + 1, x.height)  # the last rows, which are all that the mirror shows
    seen, last = 0, torch.empty(0)

    def extended(part: Tensor) -> Tensor:
        nonlocal seen, last
        seen += part.shape[1]
        if part.shape[1] < reach:
            last = part.clone() if seen == part.shape[1] else torch.cat([last, part], 1)[:, -reach:]
        else:
            last = _kept(part[:, -reach:], last) if seen < x.height else part[:, -reach:]
        if seen < x.height:
            return part
        index = reflected_index(x.height, height, part.device)[x.height :] - (x.height - last.shape[1])
        below, last = last.index_select(1, index), torch.empty(0)
        return torch.cat([part, below], 1)

    return Strips(height, map(extended, x))


def convolved(x: Strips, conv: nn.Module, factor: Strips | None = None) -> Strips:
    """An nn.Conv2d that keeps the size, its rows and columns padded with zeros; in the dtype of its weights.

    Times `factor`, if there is one.
    """
    assert isinstance(conv, nn.Conv2d)
    rim = int(conv.padding[0])
    parts, seen, above = iter(x), 0, torch.empty(0)
    factors = None if factor is None else _Rows(factor)

    def following() -> Tensor:
        nonlocal seen, above
        while True:
            slab = next(parts).to(conv.weight.dtype)
            first, seen = seen == 0, seen + slab.shape[1]
            last = seen == x.height
            if not rim or (first and last):
                return _convolved(slab, conv, factors)
            outside = slab.new_zeros(slab.shape[0], rim, *slab.shape[2:]) if first or last else above
            slab = torch.cat([outside if first else above, slab, *([outside] if last else ())], 1)
            above = torch.empty(0) if last else _kept(slab[:, -2 * rim :], above)
            if slab.shape[1] > 2 * rim:
                return _convolved(slab, conv, factors, rim)

    return Strips(x.height, _Calls(following))


def _convolved(x: Tensor, conv: nn.Conv2d, factors: _Rows | None, rim: int = 0) -> Tensor:
    """The convolution of a strip, times its rows of `factors`; rim: of rows that the padding stands for."""
    factor = None if factors is None else factors.take(x.shape[1] - 2 * rim)

    def plain() -> Tensor:
        y = conv2d(x, conv, rows_padded=not rim)
        return y if factor is None else product(y, factor)

    def fused() -> Tensor:
        from ..kernels.cuda import depthwise as cuda

        assert conv.bias is not None
        return cuda.depthwise(x, conv.weight, conv.bias, int(conv.dilation[0]), factor, rows_padded=not rim)

    if not _is_depthwise(conv):
        return plain()
    kind, given = (conv.groups, conv.dilation), (x, factor, conv.weight, conv.bias)
    return autotune.best("depthwise convolution", kind, plain, fused, given, tf32=autotune.tf32_convolutions())


def _is_depthwise(conv: nn.Conv2d) -> bool:
    """Whether it is one of those that there is a kernel for: 5x5, each channel for itself, and of the same size."""
    dilation = int(conv.dilation[0])
    return (
        conv.bias is not None
        and conv.kernel_size == (5, 5)
        and conv.groups == conv.in_channels == conv.out_channels
        and conv.stride == (1, 1)
        and conv.dilation == (dilation, dilation)
        and conv.padding == (2 * dilation, 2 * dilation)
    )


def product(fresh: Tensor, other: Tensor) -> Tensor:
    """fresh * other; `fresh` is nobody else's to read."""
    return fresh * other if torch.is_grad_enabled() else fresh.mul_(other)


def convolved_rows(x: Tensor, conv: nn.Module, start: int, stop: int) -> Tensor:
    """Rows `start` to `stop` of a convolution of all of (B, H, W, C), as `convolved` computes them."""
    assert isinstance(conv, nn.Conv2d)
    if (start, stop) == (0, x.shape[1]):
        return conv2d(x, conv)
    rim = int(conv.padding[0])
    above, below = max(rim - start, 0), max(stop + rim - x.shape[1], 0)
    slab = x[:, start - rim + above : stop + rim - below].to(conv.weight.dtype)
    if above or below:
        slab = F.pad(slab, (0, 0, 0, 0, above, below))
    return conv2d(slab, conv, rows_padded=False)


class Upsample(nn.Sequential):
    """Enlarge by 3x3 convolution and pixel shuffle: steps of 2 for a power of two, one step of 3, none for 1.

    The convolutions stand at the even indices, as in every checkpoint of this lineage (`upsample.0`, `upsample.2`...).
    """

    def __init__(self, scale: int, channels: int) -> None:
        steps = upsample_steps(scale)
        layers: list[nn.Module] = []
        for step in steps:
            layers += [nn.Conv2d(channels, channels * step**2, 3, padding=1), nn.PixelShuffle(step)]
        super().__init__(*layers)
        self.steps = steps

    def forward(self, x: Strips) -> Strips:
        for conv, step in zip(list(self)[::2], self.steps, strict=True):
            x = shuffled(convolved(x, conv), step)
        return x


def shuffled(x: Strips, scale: int) -> Strips:
    """(B, rows, W, C s²) -> (B, s rows, s W, C)."""
    return x.map(lambda part: pixel_shuffle(part, scale), scale)
