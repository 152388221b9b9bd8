"""3x3 convolutions on a CPU by Winograd's minimal filtering, by convolution.c.

A quarter of the multiplications, at about the exactness of a direct convolution: two Zen 5 cores take 7.4 ms from 64 to
64 channels of 320x180 pixels, and 19.6 ms with PyTorch (oneDNN).
"""

from __future__ import annotations

from ctypes import POINTER, c_int64, c_void_p
from fractions import Fraction
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..activations import Activation
from . import bands, build
from .packed import Packed, arguments_of, can_read, is_dense, packed, result_of

GROUP, PLACES = 64, 36
"""As in convolution.c."""
TILES = 24
"""At most, of a turn: two transforms of 64 channels fit into half a MB."""
_POINTS = (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))


class Arguments(build.Struct):
    """`arguments` of convolution.c."""

    _fields_ = (
        *build.fields(c_int64, "batches", "width", "inputs", "outputs", "x_rows", "rows", "padding"),
        *build.fields(c_int64, "x_batch", "x_row", "x_pixel"),
        *build.fields(c_int64, "y_batch", "y_row", "y_pixel", "tiles", "activation", "threads"),
        *build.fields(c_void_p, "x", "weight", "bias", "slope", "y", "scratch"),
    )


SIGNATURES: build.Signatures = {
    "convolve": (None, [POINTER(Arguments)]),
    "scratch_floats": (c_int64, [c_int64, c_int64, c_int64]),
}


def suits(conv: nn.Conv2d) -> bool:
    """Return whether a layer is what the kernel computes: 3x3, of the same size, every channel with every channel."""
    return conv.kernel_size == (3, 3) and is_dense(conv)


def is_available() -> bool:
    """Return whether there is a kernel here."""
    return build.load("convolution", SIGNATURES) is not None


def can_run(x: Tensor, conv: nn.Conv2d) -> bool:
    """Return whether the kernel computes this layer of these features: fp32 weights in CPU memory, no gradients."""
    return suits(conv) and is_available() and can_read(x, conv)


def pack_weights(conv: nn.Conv2d, activation: Activation | None = None) -> Packed:
    """Return the weights of a layer, transformed, and of the activation after it, as `convolve` takes them."""
    outputs = conv.out_channels
    taps = conv.weight.double().permute(2, 3, 1, 0).reshape(9, -1)
    places = (_weight_transform() @ taps).float().view(PLACES, conv.in_channels, outputs)
    places = F.pad(places, (0, -outputs % bands.BLOCK))
    weight = torch.cat([group.flatten() for group in places.split(GROUP, dim=2)])
    return packed(conv, weight, activation)


def convolve(x: Tensor, weights: Packed, *, rows_padded: bool = True, out: Tensor | None = None) -> Tensor:
    """Convolve features (B, H, W, inputs) into (B, H, W, outputs), fp32.

    Args:
        x: The features, with any strides between rows and images.
        weights: As `pack_weights` returns them.
        rows_padded: False where `x` brings the rows above and below that zeros stand for; H is then two rows less.
        out: What is written: fp32, channels last, with any strides between pixels. It may be other channels of what `x`
            is a part of.
    """
    library = build.load("convolution", SIGNATURES)
    assert library is not None
    if x.stride(3) != 1:
        x = x.contiguous()
    y = result_of(x, weights, rows_padded, out)
    if not y.numel():
        return y
    batches, rows, width, outputs = y.shape
    threads = torch.get_num_threads()
    all_tiles = batches * -(-rows // 4) * -(-width // 4)
    turns = -(-all_tiles // (threads * TILES))
    tiles = -(-all_tiles // (threads * turns))  # every thread has the same number of turns
    scratch = x.new_empty(threads * library.scratch_floats(x.shape[3], outputs, tiles))
    arguments = Arguments(
        width=width, x_rows=x.shape[1], rows=rows, padding=int(rows_padded), tiles=tiles,
        **arguments_of(x, weights, y, scratch, threads),
    )  # fmt: skip
    library.convolve(arguments)
    return y


@cache
def _weight_transform() -> Tensor:
    """Return the matrix (36, 9) of Toom-Cook that evaluates a filter's polynomial at all pairs of points, fp64."""
    rows = []
    for point in _POINTS:
        scale = Fraction(1)
        for other in _POINTS:
            scale *= point - other if other != point else 1
        rows.append([float(point**power / scale) for power in range(3)])
    one_way = torch.tensor([*rows, [0, 0, 1]], dtype=torch.float64)
    return torch.kron(one_way, one_way)
