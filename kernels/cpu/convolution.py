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
from ..tensors import FLOATS, tensors_ok, weights_of
from . import bands, build
from .packed import Packed, packed

GROUP, PLACES = 64, 36
"""As in convolution.c."""
MIN_INPUTS = 8
"""With fewer channels, as in the first convolution of an image, the transforms take longer than what they save."""
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
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == conv.dilation == (1, 1)
        and conv.padding in ((1, 1), "same")
        and conv.padding_mode == "zeros"
        and conv.groups == 1
        and conv.in_channels >= MIN_INPUTS
    )


def is_available() -> bool:
    """Return whether there is a kernel here."""
    return build.load("convolution", SIGNATURES) is not None


def can_run(x: Tensor, conv: nn.Conv2d) -> bool:
    """Return whether the kernel computes this layer of these features: fp32 weights in CPU memory, no gradients."""
    if not suits(conv) or not is_available():
        return False
    return tensors_ok(weights_of(conv), (torch.float32,)) and tensors_ok([x], FLOATS)


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
    batches, x_rows, width, inputs = x.shape
    outputs = weights.outputs
    rows = x_rows if rows_padded else x_rows - 2
    y = x.new_empty(batches, rows, width, outputs) if out is None else out
    assert y.shape == (batches, rows, width, outputs)
    assert y.stride(3) == 1
    assert y.dtype == torch.float32
    if not y.numel():
        return y
    threads = torch.get_num_threads()
    all_tiles = batches * -(-rows // 4) * -(-width // 4)
    turns = -(-all_tiles // (threads * TILES))
    tiles = -(-all_tiles // (threads * turns))  # every thread has the same number of turns
    scratch = x.new_empty(threads * library.scratch_floats(inputs, outputs, tiles))
    arguments = Arguments(
        batches=batches, width=width, inputs=inputs, outputs=outputs,
        x_rows=x_rows, rows=rows, padding=int(rows_padded),
        x_batch=x.stride(0), x_row=x.stride(1), x_pixel=x.stride(2),
        y_batch=y.stride(0), y_row=y.stride(1), y_pixel=y.stride(2), tiles=tiles,
        activation=weights.activation, threads=threads,
        x=x.data_ptr(), weight=weights.weight.data_ptr(), bias=weights.bias.data_ptr(), slope=weights.slope.data_ptr(),
        y=y.data_ptr(), scratch=scratch.data_ptr(),
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
