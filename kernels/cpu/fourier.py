"""Convolutions with large kernels on a CPU, in the frequency domain, by fourier.c.

A Zen 3 core computes a kernel of 17x17 for 16 channels 14 times as fast as PyTorch (oneDNN), of which a result is a sum
of 4,624 products. Of features of one scale, rounding errors are a sixth of PyTorch's; a number that is far larger than
the others of its tile leaves them its own.
"""

from __future__ import annotations

from ctypes import POINTER, c_int64, c_void_p
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..activations import Activation
from . import bands, build
from .packed import Packed, arguments_of, can_read, is_dense, packed, result_of

SIDE = 32
"""Of a transform in pixels, as in fourier.c."""
MIN_TAPS, MAX_TAPS_ACROSS = 81, 21
"""Smaller kernels save less, and their transforms take as much memory, 4 KB for each pair of channels; larger ones
leave few results of a transform."""
PAIRS = 4
"""At most, of tiles that pass together: the transforms of 16 channels take half a MB."""


class Arguments(build.Struct):
    """`arguments` of fourier.c."""

    _fields_ = (
        *build.fields(c_int64, "batches", "inputs", "outputs", "x_rows", "x_width", "y_rows", "y_width"),
        *build.fields(c_int64, "kernel_rows", "kernel_columns", "padding_rows", "padding_columns"),
        *build.fields(c_int64, "x_batch", "x_row", "x_pixel", "y_batch", "y_row", "y_pixel"),
        *build.fields(c_int64, "pairs", "activation", "threads"),
        *build.fields(c_void_p, "x", "weight", "bias", "slope", "y", "scratch"),
    )


SIGNATURES: build.Signatures = {
    "convolve": (None, [POINTER(Arguments)]),
    "scratch_floats": (c_int64, [c_int64, c_int64, c_int64]),
}


def suits(conv: nn.Conv2d) -> bool:
    """Return whether a layer is what the kernel computes: large, of the same size, every channel with every channel."""
    rows, columns = conv.kernel_size
    return rows * columns >= MIN_TAPS and max(rows, columns) <= MAX_TAPS_ACROSS and is_dense(conv)


def is_available() -> bool:
    """Return whether there is a kernel here."""
    return build.load("fourier", SIGNATURES) is not None


def can_run(x: Tensor, conv: nn.Conv2d) -> bool:
    """Return whether the kernel computes this layer of these features: fp32 weights in CPU memory, no gradients."""
    return suits(conv) and is_available() and can_read(x, conv)


def pack_weights(conv: nn.Conv2d, activation: Activation | None = None) -> Packed:
    """Return the weights of a layer, transformed, and of the activation after it, as `convolve` takes them."""
    # A layer correlates, so the transform is conjugate.
    spectra = torch.fft.fft2(conv.weight.double(), s=(SIDE, SIDE)).conj().flatten(2)[..., _unmirrored()]
    parts = torch.view_as_real(spectra / SIDE**2).float().permute(2, 1, 3, 0)
    return packed(conv, F.pad(parts, (0, -conv.out_channels % bands.BLOCK)).contiguous(), activation)


def convolve(x: Tensor, weights: Packed, *, rows_padded: bool = True, out: Tensor | None = None) -> Tensor:
    """Convolve features (B, H, W, inputs) into (B, H, W, outputs), fp32.

    Args:
        x: The features, with any strides between pixels.
        weights: As `pack_weights` returns them.
        rows_padded: False where `x` brings the rows above and below that zeros stand for; H is then fewer.
        out: What is written: fp32, channels last, with any strides between pixels.
    """
    library = build.load("fourier", SIGNATURES)
    assert library is not None
    if x.stride(3) != 1:
        x = x.contiguous()
    y = result_of(x, weights, rows_padded, out)
    if not y.numel():
        return y
    batches, rows, width, outputs = y.shape
    kernel_rows, kernel_columns = weights.kernel_size
    threads = torch.get_num_threads()
    tiles = -(-rows // (SIDE + 1 - kernel_rows)) * -(-width // (SIDE + 1 - kernel_columns))
    all_pairs = batches * -(-tiles // 2)
    turns = -(-all_pairs // (threads * PAIRS))
    pairs = -(-all_pairs // (threads * turns))  # every thread has the same number of turns
    scratch = x.new_empty(threads * library.scratch_floats(x.shape[3], outputs, pairs))
    arguments = Arguments(
        x_rows=x.shape[1], x_width=width, y_rows=rows, y_width=width, pairs=pairs,
        kernel_rows=kernel_rows, kernel_columns=kernel_columns,
        padding_rows=kernel_rows // 2 if rows_padded else 0, padding_columns=kernel_columns // 2,
        **arguments_of(x, weights, y, scratch, threads),
    )  # fmt: skip
    library.convolve(arguments)
    return y


@cache
def _unmirrored() -> Tensor:
    """Return the frequencies of which none is another's mirror image, in the order of fourier.c."""
    line = -torch.arange(SIDE) % SIDE
    mirror = (line[:, None] * SIDE + line).flatten()
    return (mirror >= torch.arange(SIDE**2)).nonzero()[:, 0]
