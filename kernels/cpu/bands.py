"""Run kernels that go down an image strip by strip: those whose C source includes bands.h.

Such a kernel takes the next rows of features and returns the rows that they make ready. What the rows after them need
stays in memory that the kernel lays out and gets back with the next strip.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping
from ctypes import POINTER, c_float, c_int64, c_void_p
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..tensors import FLOATS, dense_rows, tensors_ok, weights_of
from . import build

BLOCK = 16
"""Channels that are stored together in the taps of depthwise convolutions; outputs of a map are padded to it."""

_PANEL_COLUMNS = 256
"""For each thread: the rows that a kernel keeps of so many columns nearly fit into a core's own cache."""
_BAND_PIXELS = 1024
"""For each thread."""
_MAX_BAND_ROWS = 16


class Shape(build.Struct):
    """`shape` of bands.h."""

    _fields_ = build.fields(
        c_int64,
        *("batches", "height", "width", "features", "hidden", "x_width", "halo"),
        *("rows_before", "rows", "x_batch_stride", "x_row_stride", "out_rows"),
        *("band_rows", "panels", "bf16", "threads"),
    )


SIGNATURES: build.Signatures = {
    "run": (None, [POINTER(Shape), c_void_p, c_void_p, c_float, c_void_p, c_void_p]),
    "memory_floats": (c_int64, [POINTER(Shape)]),
    "max_channels": (c_int64, []),
    "multiplies_bf16": (c_int64, []),
}


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a kernel in the layout in which it reads them.

    Attributes:
        kernel: The name of its C source.
        features: Channels of x and y.
        hidden: Channels between them.
        halo: Rows above and below that a result depends on.
        bf16: Whether its maps multiply in bf16.
        eps: Of its norm; 0 if there is none.
        pointers: `weights` of the C source.
        tensors: What its fields point to; None stands for a layer that this network does not have.
    """

    kernel: str
    features: int
    hidden: int
    halo: int
    bf16: bool
    eps: float
    pointers: type[build.Struct]
    tensors: Mapping[str, Tensor | None]


def supports(kernel: str, widths: Collection[int], dtype: torch.dtype) -> bool:
    """Return whether a kernel can be had here for maps of these widths in this dtype."""
    library = build.load(kernel, SIGNATURES)
    if library is None or max(widths) > library.max_channels():
        return False
    if dtype == torch.bfloat16:  # which is multiplied in pairs of channels
        return bool(library.multiplies_bf16()) and not any(width % 2 for width in widths)
    return dtype == torch.float32


def layers_ok(layers: Collection[nn.Module], maps: Collection[nn.Module]) -> bool:
    """Return whether a kernel can compute these layers: in CPU memory, with biases, no gradients.

    Args:
        layers: All layers.
        maps: Those that must have one dtype in common.
    """
    if torch.is_grad_enabled() or not tensors_ok(weights_of(*layers), FLOATS):
        return False
    return all(layer.bias is not None for layer in layers) and len({layer.weight.dtype for layer in maps}) == 1


def bytes_kept(kernel: str, hidden: int, features: int, halo: int, width: int) -> int:
    """Return how many bytes `BandKernel` keeps between two strips of an image of this width."""
    library = build.load(kernel, SIGNATURES)
    assert library is not None
    band_rows, panels = band_layout(width, torch.get_num_threads())
    shape = Shape(
        batches=1, height=1, width=width, features=features, hidden=hidden, x_width=width, halo=halo,
        rows_before=0, rows=0, x_batch_stride=0, x_row_stride=0, out_rows=0,
        band_rows=band_rows, panels=panels, bf16=False, threads=1,
    )  # fmt: skip
    return ctypes.sizeof(c_float) * int(library.memory_floats(shape))


class BandKernel:
    """A kernel on one image: called with strips of x from top to bottom, it returns strips of y.

    Args:
        weights: As `pack_weights` of a kernel's module returns them.
        height: Rows of the image.
        width: Columns of y, if the kernel mirrors x at its right edge; else those of x.
        multiple: The rows of each strip of y are a multiple of this.
    """

    def __init__(self, weights: Weights, height: int, width: int | None = None, multiple: int = 1) -> None:
        self._weights, self._height, self._width, self._multiple = weights, height, width, multiple
        self._pointers = weights.pointers(
            **{name: None if tensor is None else tensor.data_ptr() for name, tensor in weights.tensors.items()}
        )
        self._rows_in = self._rows_ready = 0
        self._waiting: Tensor | None = None  # rows of y that are no multiple yet
        self._layout: tuple[int, int] | None = None
        self._memory = torch.empty(0)

    def __call__(self, x: Tensor) -> Tensor | None:
        """Take the next strip of x and return the rows of y that are ready.

        Args:
            x: (B, h, W, features).

        Returns:
            (B, h', width, features) in fp32, or None while there are no such rows.
        """
        w = self._weights
        library = build.load(w.kernel, SIGNATURES)
        assert library is not None
        batch, rows, x_width, features = x.shape
        width = self._width or x_width
        rows_in = self._rows_in + rows
        assert features == w.features
        assert rows_in <= self._height
        x = dense_rows(x.float())
        rows_ready = rows_in if rows_in == self._height else max(rows_in - w.halo, 0)
        waiting = 0 if self._waiting is None else self._waiting.shape[1]
        y = x.new_empty(batch, waiting + rows_ready - self._rows_ready, width, features)
        if self._waiting is not None:
            y[:, :waiting] = self._waiting
        threads = torch.get_num_threads()
        self._layout = self._layout or band_layout(width, threads)
        shape = Shape(
            batches=batch, height=self._height, width=width, features=features, hidden=w.hidden, x_width=x_width,
            halo=w.halo, rows_before=self._rows_in, rows=rows, x_batch_stride=x.stride(0), x_row_stride=x.stride(1),
            out_rows=y.shape[1], band_rows=self._layout[0], panels=self._layout[1], bf16=w.bf16, threads=threads,
        )  # fmt: skip
        if not self._rows_in:
            self._memory = x.new_empty(library.memory_floats(shape))
        library.run(
            shape, x.data_ptr(), ctypes.byref(self._pointers), w.eps, self._memory.data_ptr(), y[:, waiting:].data_ptr()
        )
        self._rows_in, self._rows_ready = rows_in, rows_ready
        if rows_in == self._height:
            self._memory = torch.empty(0)
        complete = y.shape[1] // self._multiple * self._multiple
        self._waiting = y[:, complete:].clone() if complete < y.shape[1] else None
        return y[:, :complete] if complete else None


def band_layout(width: int, threads: int) -> tuple[int, int]:
    """Return the rows of a band and the number of panels for an image of this width."""
    panels = max(round(width / (_PANEL_COLUMNS * threads)), 1)
    return min(max(_BAND_PIXELS * threads * panels // width, 1), _MAX_BAND_ROWS), panels


# --- weights as kernels read them ---


def map_weight(weight: Tensor) -> Tensor:
    """Return a pointwise map's weight (out, in) as (in, out), or for bf16 as (in / 2, out, 2); `out` padded."""
    by_input = _padded(weight).t()
    if weight.dtype == torch.bfloat16:
        by_input = by_input.unflatten(0, (-1, 2)).transpose(1, 2)
    return by_input.contiguous()


def map_bias(bias: Tensor | None) -> Tensor:
    """Return a bias in fp32, padded to a multiple of BLOCK."""
    assert bias is not None
    return _padded(bias.float()).contiguous()


def depthwise_weight(conv: nn.Conv2d) -> Tensor:
    """Return a depthwise weight (channels, 1, 5, 5) as (channels / BLOCK, 25, BLOCK) in fp32, padded."""
    weight = _padded(conv.weight.float().flatten(1))
    return weight.reshape(-1, BLOCK, weight.shape[1]).transpose(1, 2).contiguous()


def norm_tensors(norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of a norm in fp32."""
    return norm.weight.float().contiguous(), norm.bias.float().contiguous()


def _padded(tensor: Tensor) -> Tensor:
    """Append zeros along the first dimension up to a multiple of BLOCK."""
    padding = [0, 0] * (tensor.dim() - 1) + [0, -len(tensor) % BLOCK]
    return nn.functional.pad(tensor, padding)
