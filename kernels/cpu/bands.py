"""Kernels that go down an image, a strip of it at a time: what those have in common that include bands.h.

Such a kernel takes the next rows of features and gives the rows that they make ready. What the rows after them need
stays in memory that is laid out by the kernel and handed back to it with the next strip.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..tensors import FLOATS, dense_rows, tensors_ok, weights_of
from .build import library

BLOCK = 16  # channels that lie together in the taps of depthwise convolutions, and that a map's results are padded to
_COLUMNS = 256  # of a panel, for each thread: the rows that it keeps of them lie in a core's own cache, or nearly
_BAND_PIXELS, _BAND_ROWS = 1024, 16  # for each thread, and at most, that go through one step before the next


@dataclass(frozen=True, eq=False)
class Weights:
    """What a kernel multiplies with, in its order and layout.

    kernel: its name. features: channels that come and go; channels: between them. halo: rows above and below that a
    result depends on. half: whether its maps multiply in bf16. tensors: None stands for what this block does without.
    """

    kernel: str
    features: int
    channels: int
    halo: int
    half: bool
    eps: float
    tensors: tuple[Tensor | None, ...]


class Functions:
    """What a kernel exports. channels: the most there may be; half: whether maps can multiply in bf16 here."""

    def __init__(self, name: str, found: ctypes.CDLL) -> None:
        number, pointer = ctypes.c_int64, ctypes.c_void_p
        self.memory, self.run = found[f"{name}_memory"], found[name]
        self.memory.argtypes, self.memory.restype = [pointer], number
        self.run.argtypes, self.run.restype = [pointer, pointer, pointer, ctypes.c_float, pointer, pointer], None
        channels, half = found[f"{name}_channels"], found[f"{name}_half"]
        channels.restype = half.restype = number
        self.channels, self.half = channels(), bool(half())


@functools.cache
def functions(name: str) -> Functions | None:
    """None where there is no such kernel."""
    found = library(name)
    return None if found is None else Functions(name, found)


def supports(kernel: str, widths: Collection[int], dtype: torch.dtype) -> bool:
    """Whether there is such a kernel for maps of these widths in this dtype; bf16 is multiplied in pairs."""
    found = functions(kernel)
    if found is None or max(widths) > found.channels:
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and found.half and not any(w % 2 for w in widths))


def layers_ok(layers: Collection[nn.Module], maps: Collection[nn.Module]) -> bool:
    """Whether a kernel may read these: in CPU memory, with biases, `maps` of one dtype; not for gradients."""
    if torch.is_grad_enabled() or not tensors_ok(weights_of(*layers), FLOATS):
        return False
    return all(layer.bias is not None for layer in layers) and len({layer.weight.dtype for layer in maps}) == 1


def bytes_kept(kernel: str, channels: int, features: int, halo: int, width: int) -> int:
    """What `BandKernel` keeps for an image of this width."""
    found = functions(kernel)
    assert found is not None
    parts = band_layout(width, torch.get_num_threads())
    return 4 * found.memory(_shape(1, 1, width, features, channels, width, halo, parts=parts))


def _shape(
    batch: int, height: int, width: int, features: int, channels: int, x_width: int, halo: int,
    given: int = 0, rows: int = 0, apart: tuple[int, ...] = (0, 0), ready: int = 0,
    *, parts: tuple[int, int], half: bool = False, threads: int = 1,
) -> Any:  # fmt: skip
    """The shape of bands.h."""
    sizes = batch, height, width, features, channels, x_width, halo
    numbers = (*sizes, given, rows, *apart, ready, *parts, half, threads)
    return (ctypes.c_int64 * len(numbers))(*numbers)


class BandKernel:
    """A block on its way down an image: the next rows of x go in, and the rows of y that they make ready come out.

    height: of the image. width: of y, where the kernel mirrors what it is given. multiple: of which the rows of each
    y are one. The rows that the next strip needs are kept here, in rings that the kernel lays out.
    """

    def __init__(self, weights: Weights, height: int, width: int | None = None, multiple: int = 1) -> None:
        self._weights, self._height, self._width, self._multiple = weights, height, width, multiple
        self._given = self._ready = 0  # rows of x, and of y
        self._left: Tensor | None = None  # rows of y that are too few to be given
        self._parts: tuple[int, int] | None = None
        self._memory = torch.empty(0)

    def __call__(self, x: Tensor) -> Tensor | None:
        """x: (B, h, W, features). Returns (B, h', width, features) fp32; None where nothing is ready yet."""
        w = self._weights
        found = functions(w.kernel)
        assert found is not None
        batch, rows, x_width, features = x.shape
        width = self._width or x_width
        assert features == w.features
        assert self._given + rows <= self._height
        x = dense_rows(x.float())
        given = self._given + rows
        ready = given if given == self._height else max(given - w.halo, 0)
        left = 0 if self._left is None else self._left.shape[1]
        y = x.new_empty(batch, left + ready - self._ready, width, features)
        if self._left is not None:
            y[:, :left] = self._left
        threads = torch.get_num_threads()
        self._parts = self._parts or band_layout(width, threads)
        shape = _shape(
            batch, self._height, width, features, w.channels, x_width, w.halo, self._given, rows, x.stride()[:2],
            y.shape[1], parts=self._parts, half=w.half, threads=threads,
        )  # fmt: skip
        if not self._given:
            self._memory = x.new_empty(found.memory(shape))
        tensors = (ctypes.c_void_p * len(w.tensors))(*(None if t is None else t.data_ptr() for t in w.tensors))
        found.run(shape, x.data_ptr(), tensors, w.eps, self._memory.data_ptr(), y[:, left:].data_ptr())
        self._given, self._ready = given, ready
        if given == self._height:
            self._memory = torch.empty(0)
        whole = y.shape[1] // self._multiple * self._multiple
        self._left = y[:, whole:].clone() if whole < y.shape[1] else None
        return y[:, :whole] if whole else None


def band_layout(width: int, threads: int) -> tuple[int, int]:
    """(rows, panels): how many rows of how many parts of this width go through one step before the next."""
    panels = max(round(width / (_COLUMNS * threads)), 1)
    return min(max(_BAND_PIXELS * threads * panels // width, 1), _BAND_ROWS), panels


# --- weights as kernels read them ---


def padded(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


def map_weight(weight: Tensor) -> Tensor:
    """(out, in) -> (in, out), or in bf16 (in / 2, out, 2), which is how the processor multiplies it; `out` padded."""
    by_depth = nn.functional.pad(weight, (0, 0, 0, padded(len(weight)) - len(weight))).t()
    if weight.dtype == torch.bfloat16:
        by_depth = by_depth.unflatten(0, (-1, 2)).transpose(1, 2)
    return by_depth.contiguous()


def map_bias(bias: Tensor | None) -> Tensor:
    assert bias is not None
    return nn.functional.pad(bias.float(), (0, padded(len(bias)) - len(bias)))


def depthwise_weight(conv: nn.Conv2d) -> Tensor:
    """(channels, 1, 5, 5) -> (channels / BLOCK, 25, BLOCK), padded."""
    weight = conv.weight.float().flatten(1)
    weight = nn.functional.pad(weight, (0, 0, 0, padded(len(weight)) - len(weight)))
    return weight.reshape(-1, BLOCK, weight.shape[1]).transpose(1, 2).contiguous()


def norm_tensors(norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    return norm.weight.float().contiguous(), norm.bias.float().contiguous()
