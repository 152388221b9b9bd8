"""HiT-SR's correlation over windows on a CPU, with the norm and the sum behind it, by correlation.c."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..tensors import FLOATS, dense_rows, tensors_ok, weights_of
from . import bands
from .build import library


@dataclass(frozen=True)
class Windows:
    """Their size and that of the patches in them, in pixels; how many heads share half of `features` channels."""

    size: tuple[int, int]
    patch: tuple[int, int]
    features: int
    heads: int

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]

    @property
    def keys(self) -> int:
        return self.pixels // (self.patch[0] * self.patch[1])


@dataclass(frozen=True, eq=False)
class Layers:
    """The layers around the correlations, by their names in a checkpoint.

    Attributes:
        spatial_linear: Sums the pixels of a patch into one.
        proj: Projects both correlations, features -> features.
        norm: Over the features of each pixel, after `proj`.
    """

    spatial_linear: nn.Linear
    proj: nn.Linear
    norm: nn.LayerNorm

    def weights(self) -> tuple[Tensor, ...]:
        return weights_of(self.spatial_linear, self.proj, self.norm)


@dataclass(frozen=True, eq=False)
class Weights:
    """In the layout in which correlation.c reads them. tensors: patch, its bias, proj, its bias, norm, its bias."""

    windows: Windows
    eps: float
    tensors: tuple[Tensor, ...]


def can_run(windows: Windows, layers: Layers) -> bool:
    """Whether it can be computed here: in CPU memory, such windows; not for gradients."""
    if torch.is_grad_enabled() or not tensors_ok(layers.weights(), FLOATS):
        return False
    return supports(windows)


def supports(windows: Windows) -> bool:
    found = _functions()
    if found is None or windows.features > found.channels or windows.keys > found.keys:
        return False
    return windows.pixels % found.lanes == 0


def reads_table(windows: Windows) -> bool:
    """Whether the position bias is read from the filtered table, (heads, 2h - rh, 2w - rw), or laid out from it."""
    found = _functions()
    assert found is not None
    return windows.size[1] % found.lanes == 0


def pack_weights(windows: Windows, layers: Layers) -> Weights:
    """The weights for `window_correlation`."""
    patch = layers.spatial_linear.weight.float().contiguous(), layers.spatial_linear.bias.float().contiguous()
    proj = bands.map_weight(layers.proj.weight.float()), bands.map_bias(layers.proj.bias)
    return Weights(windows, layers.norm.eps, (*patch, *proj, *bands.norm_tensors(layers.norm)))


def window_correlation(qv: Tensor, pieces: list[Tensor], bias: Tensor, weights: Weights) -> Tensor:
    """x + norm(correlation of qv).

    qv: whole windows, (B, rows, width, features) fp32. pieces: x, (B, rows of it, columns of it, features), each some
    rows. bias: the table if `reads_table` says so, else laid out, (heads, keys, pixels). Returns what x is, in fp32.
    """
    found, windows = _functions(), weights.windows
    assert found is not None
    (height, width), (down, across) = windows.size, windows.patch
    qv, bias, pieces = dense_rows(qv), bias.contiguous(), [dense_rows(piece.float()) for piece in pieces]
    rows_of_x, columns_of_x = sum(piece.shape[1] for piece in pieces), pieces[0].shape[2]
    if reads_table(windows):
        _, rows, columns = bias.shape
        start, places = (height - down) * columns + width - across, (rows * columns, -down * columns, -across, columns)
    else:
        start, places = 0, (windows.keys * windows.pixels, width // across * windows.pixels, windows.pixels, width)
    threads = torch.get_num_threads()
    numbers = (
        *qv.shape, windows.heads, *windows.size, *windows.patch, *qv.stride()[:2], rows_of_x, columns_of_x,
        *places, threads,
    )  # fmt: skip
    shape = (ctypes.c_int64 * len(numbers))(*numbers)
    count = qv.shape[0] * qv.shape[1] * qv.shape[2] // windows.pixels
    few = threads > 1 and count < 8 * threads  # so few could not be shared evenly
    memory = torch.empty(found.memory(shape) if few else 0, dtype=torch.uint8, device="cpu")
    y = qv.new_empty(len(qv), rows_of_x, columns_of_x, windows.features)
    parts = [number for x in pieces for number in (x.data_ptr(), x.shape[1], *x.stride()[:2])]
    pointers = (bias.data_ptr() + 4 * start, *(t.data_ptr() for t in weights.tensors))
    tensors = (ctypes.c_void_p * len(pointers))(*pointers)
    found.run(
        shape, qv.data_ptr(), (ctypes.c_int64 * len(parts))(*parts), tensors, weights.eps, few, memory.data_ptr(),
        y.data_ptr(),
    )  # fmt: skip
    return y


class _Functions:
    """What correlation.c exports. lanes: numbers in a vector; channels, keys: the most that there may be."""

    def __init__(self, found: ctypes.CDLL) -> None:
        number, pointer = ctypes.c_int64, ctypes.c_void_p
        self.run, self.memory = found.correlation, found.correlation_memory
        self.memory.argtypes, self.memory.restype = [pointer], number
        self.run.argtypes = [pointer, pointer, pointer, pointer, ctypes.c_float, number, pointer, pointer]
        self.run.restype = None
        limits = found.correlation_lanes, found.correlation_channels, found.correlation_keys
        for function in limits:
            function.restype = number
        self.lanes, self.channels, self.keys = (function() for function in limits)


@functools.cache
def _functions() -> Any:
    """None where there is no kernel."""
    found = library("correlation")
    return None if found is None else _Functions(found)
