"""VapSR's block on a CPU in one pass over a picture, a strip of it at a time, by vab.c.

Step by step, its maps pass through memory eight times, and two Zen 5 cores reach 36 to 43 % of what they do in a
convolution. In one pass the maps stay in cache: it is 68 to 72 %.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .compiled import library, usable

REACH = 8  # rows above and below that a pixel's result depends on
_DTYPES = (torch.float32, torch.bfloat16)
_BLOCK = 16  # channels that lie together in the taps of the depthwise convolutions; see vab.c
_COLUMNS = 256  # of a panel, for each thread: the rows that it keeps of them lie in a core's own cache, or nearly
_BAND_PIXELS, _BAND_ROWS = 1024, 16  # for each thread, and at most, that go through one step before the next


@dataclass(frozen=True, eq=False)
class Layers:
    """A block. maps: pointwise, features -> channels -> channels -> features. depthwise: 5x5, and that dilated by 3."""

    maps: tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]
    depthwise: tuple[nn.Conv2d, nn.Conv2d]
    norm: nn.LayerNorm


@dataclass(frozen=True, eq=False)
class Weights:
    """A block's weights in the order and layout in which vab.c reads them. half: its maps multiply in bf16."""

    features: int
    channels: int
    half: bool
    eps: float
    tensors: tuple[Tensor, ...]


def available(layers: Layers) -> bool:
    """Whether a block can be computed here: in CPU memory, its maps all fp32 or all bf16; not for gradients."""
    parameters = [p for layer in (*layers.maps, *layers.depthwise, layers.norm) for p in layer.parameters()]
    if torch.is_grad_enabled() or not usable(parameters, _DTYPES):
        return False
    if any(layer.bias is None for layer in (*layers.maps, *layers.depthwise)):
        return False
    dtypes = {layer.weight.dtype for layer in layers.maps}
    channels, features = layers.maps[0].weight.shape[:2]
    return len(dtypes) == 1 and exists(channels, features, dtypes.pop())


def exists(channels: int, features: int, dtype: torch.dtype) -> bool:
    """Whether there is a kernel for blocks of these widths, with maps in this dtype."""
    functions = _functions()
    if functions is None or any(width % _BLOCK or width > functions.channels for width in (channels, features)):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and functions.half)


def bytes_kept(channels: int, features: int, width: int) -> int:
    """What `Rows` keeps for a picture of this width."""
    functions = _functions()
    assert functions is not None
    return 4 * functions.memory(_shape(1, 1, width, features, channels, parts=parts_of(width, torch.get_num_threads())))


def _shape(
    batch: int, height: int, width: int, features: int, channels: int,
    given: int = 0, rows: int = 0, apart: tuple[int, ...] = (0, 0), ready: int = 0,
    *, parts: tuple[int, int], half: bool = False, threads: int = 1,
) -> Any:  # fmt: skip
    """vab.c's shape."""
    numbers = (batch, height, width, features, channels, given, rows, *apart, ready, *parts, half, threads)
    return (ctypes.c_int64 * len(numbers))(*numbers)


def packed(layers: Layers) -> Weights:
    """The weights for `Rows`."""
    channels, features = layers.maps[0].weight.shape[:2]
    half = layers.maps[0].weight.dtype == torch.bfloat16
    tensors = [_by_depth(layer.weight[:, :, 0, 0], half) for layer in layers.maps]
    tensors += [_floats(layer.bias) for layer in layers.maps]
    for layer in layers.depthwise:
        tensors += [_floats(layer.weight.reshape(-1, _BLOCK, 25).transpose(1, 2)), _floats(layer.bias)]
    tensors += [_floats(layers.norm.weight), _floats(layers.norm.bias)]
    return Weights(features, channels, half, layers.norm.eps, tuple(tensors))


def _by_depth(weight: Tensor, half: bool) -> Tensor:
    """(out, in) -> (in, out), or (in / 2, out, 2), which is how the processor multiplies bf16."""
    by_depth = weight.t()
    return (by_depth.unflatten(0, (-1, 2)).transpose(1, 2) if half else by_depth).contiguous()


def _floats(x: Tensor | None) -> Tensor:
    assert x is not None
    return x.float().contiguous()


class Rows:
    """A block on its way down a picture: the next rows of x go in, and the rows of y that they make ready come out.

    height: of the picture. The rows that the next strip needs are kept here, in rings that the kernel lays out.
    """

    def __init__(self, weights: Weights, height: int) -> None:
        self._weights, self._height = weights, height
        self._given = self._ready = 0  # rows of x, and of y
        self._parts: tuple[int, int] | None = None
        self._memory = torch.empty(0)

    def __call__(self, x: Tensor) -> Tensor | None:
        """x: (B, h, W, features). Returns (B, h', W, features) fp32; None where nothing is ready yet."""
        functions, w = _functions(), self._weights
        assert functions is not None
        batch, rows, width, features = x.shape
        assert features == w.features
        assert self._given + rows <= self._height
        x = x.float()
        if x.stride()[2:] != (features, 1):
            x = x.contiguous()
        given = self._given + rows
        ready = given if given == self._height else max(given - REACH, 0)
        y = torch.empty(batch, ready - self._ready, width, features)
        threads = torch.get_num_threads()
        self._parts = self._parts or parts_of(width, threads)
        shape = _shape(
            batch, self._height, width, features, w.channels, self._given, rows, x.stride()[:2], y.shape[1],
            parts=self._parts, half=w.half, threads=threads,
        )  # fmt: skip
        if not self._given:
            self._memory = torch.empty(functions.memory(shape))
        tensors = (ctypes.c_void_p * len(w.tensors))(*(t.data_ptr() for t in w.tensors))
        functions.vab(shape, x.data_ptr(), tensors, w.eps, self._memory.data_ptr(), y.data_ptr())
        self._given, self._ready = given, ready
        if given == self._height:
            self._memory = torch.empty(0)
        return y if y.shape[1] else None


def parts_of(width: int, threads: int) -> tuple[int, int]:
    """(rows, panels): how many rows of how many parts of this width go through one step before the next."""
    panels = max(round(width / (_COLUMNS * threads)), 1)
    return min(max(_BAND_PIXELS * threads * panels // width, 1), _BAND_ROWS), panels


class _Functions:
    """What vab.c exports. channels: the most there may be; half: whether maps can multiply in bf16 here."""

    def __init__(self, found: ctypes.CDLL) -> None:
        number, pointer = ctypes.c_int64, ctypes.c_void_p
        self.memory, self.vab = found.vab_memory, found.vab
        self.memory.argtypes, self.memory.restype = [pointer], number
        self.vab.argtypes, self.vab.restype = [pointer, pointer, pointer, ctypes.c_float, pointer, pointer], None
        found.vab_channels.restype = found.vab_half.restype = number
        self.channels, self.half = found.vab_channels(), bool(found.vab_half())


@functools.cache
def _functions() -> Any:
    """None where there is no kernel."""
    found = library("vab")
    return None if found is None else _Functions(found)
