"""HiT-SR's correlation over windows on a CPU, with the projection, norm and sum after it, by correlation.c."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import POINTER, c_float, c_int64, c_void_p
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..tensors import FLOATS, dense_rows, tensors_ok, weights_of
from . import bands, build

_MIN_WINDOWS_PER_THREAD = 8
"""With fewer windows, threads share each of them: whole windows could not be divided evenly."""


class Shape(build.Struct):
    """`shape` of correlation.c."""

    _fields_ = build.fields(
        c_int64,
        *("batches", "rows", "width", "features", "heads"),
        *("window_height", "window_width", "patch_height", "patch_width"),
        *("qv_batch_stride", "qv_row_stride", "x_rows", "x_width"),
        *("bias_head_stride", "bias_patch_row_stride", "bias_patch_column_stride", "bias_row_stride"),
        "threads",
    )


class Strip(build.Struct):
    """`strip` of correlation.c."""

    _fields_ = (("x", c_void_p), *build.fields(c_int64, "rows", "batch_stride", "row_stride"))


class Pointers(build.Struct):
    """`weights` of correlation.c."""

    _fields_ = build.fields(
        c_void_p, "bias", "spatial_linear", "spatial_linear_bias", "proj", "proj_bias", "norm", "norm_bias"
    )


SIGNATURES: build.Signatures = {
    "correlation": (
        None,
        [POINTER(Shape), c_void_p, POINTER(Strip), POINTER(Pointers), c_float, c_int64, c_void_p, c_void_p],
    ),
    "memory_bytes": (c_int64, [POINTER(Shape)]),
    "lanes_per_vector": (c_int64, []),
    "max_channels": (c_int64, []),
    "max_patches": (c_int64, []),
}


@dataclass(frozen=True)
class Windows:
    """The windows of a correlation.

    Attributes:
        size: Rows and columns of a window, in pixels.
        patch: Rows and columns of the patches in it.
        features: Channels of [q, v].
        heads: Number of heads, which share half of the channels.
    """

    size: tuple[int, int]
    patch: tuple[int, int]
    features: int
    heads: int

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]

    @property
    def patches(self) -> int:
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
    """Weights in the layout in which correlation.c reads them; tensors by the fields of `Pointers`, but the bias."""

    windows: Windows
    eps: float
    tensors: Mapping[str, Tensor]


def can_run(windows: Windows, layers: Layers) -> bool:
    """Return whether the kernel computes such windows with these layers: weights in CPU memory, no gradients."""
    if torch.is_grad_enabled() or not tensors_ok(layers.weights(), FLOATS):
        return False
    return supports(windows)


def supports(windows: Windows) -> bool:
    """Return whether there is a kernel here for such windows."""
    library = build.load("correlation", SIGNATURES)
    if library is None or windows.features > library.max_channels() or windows.patches > library.max_patches():
        return False
    return windows.pixels % library.lanes_per_vector() == 0


def reads_table(windows: Windows) -> bool:
    """Return which position bias `window_correlation` takes: the table of relative positions, or the one laid out."""
    library = build.load("correlation", SIGNATURES)
    assert library is not None
    return windows.size[1] % library.lanes_per_vector() == 0


def pack_weights(windows: Windows, layers: Layers) -> Weights:
    """Return the weights as `window_correlation` takes them."""
    norm, norm_bias = bands.norm_tensors(layers.norm)
    tensors = {
        "spatial_linear": layers.spatial_linear.weight.float().contiguous(),
        "spatial_linear_bias": layers.spatial_linear.bias.float().contiguous(),
        "proj": bands.map_weight(layers.proj.weight.float()),
        "proj_bias": bands.map_bias(layers.proj.bias),
        "norm": norm,
        "norm_bias": norm_bias,
    }
    return Weights(windows, layers.norm.eps, tensors)


def window_correlation(qv: Tensor, x: Sequence[Tensor], bias: Tensor, weights: Weights) -> Tensor:
    """Return x + norm(proj(correlation of [q, v])).

    Args:
        qv: Whole windows, (B, rows, width, features), fp32.
        x: Strips of (B, rows of x, columns of x, features), from top to bottom; x may end before the last windows do.
        bias: If `reads_table`, the table filtered by patches, (heads, 2h - rh, 2w - rw) for windows of h x w and
            patches of rh x rw pixels; else laid out, (heads, patches, pixels). fp32.
        weights: As `pack_weights` returns them.

    Returns:
        (B, rows of x, columns of x, features), fp32.
    """
    library, windows = build.load("correlation", SIGNATURES), weights.windows
    assert library is not None
    qv, bias, x = dense_rows(qv), bias.contiguous(), [dense_rows(strip.float()) for strip in x]
    start, strides = _bias_strides(windows, bias)
    threads = torch.get_num_threads()
    y = qv.new_empty(len(qv), sum(strip.shape[1] for strip in x), x[0].shape[2], windows.features)
    shape = Shape(
        batches=qv.shape[0], rows=qv.shape[1], width=qv.shape[2], features=qv.shape[3], heads=windows.heads,
        window_height=windows.size[0], window_width=windows.size[1],
        patch_height=windows.patch[0], patch_width=windows.patch[1],
        qv_batch_stride=qv.stride(0), qv_row_stride=qv.stride(1), x_rows=y.shape[1], x_width=y.shape[2],
        **strides, threads=threads,
    )  # fmt: skip
    count = qv.shape[0] * qv.shape[1] * qv.shape[2] // windows.pixels
    share_windows = threads > 1 and count < _MIN_WINDOWS_PER_THREAD * threads
    memory = torch.empty(library.memory_bytes(shape) if share_windows else 0, dtype=torch.uint8, device="cpu")
    strips = [
        Strip(x=strip.data_ptr(), rows=strip.shape[1], batch_stride=strip.stride(0), row_stride=strip.stride(1))
        for strip in x
    ]
    pointers = Pointers(
        bias=bias.data_ptr() + ctypes.sizeof(c_float) * start,
        **{name: tensor.data_ptr() for name, tensor in weights.tensors.items()},
    )
    library.correlation(
        shape, qv.data_ptr(), (Strip * len(strips))(*strips), pointers, weights.eps, share_windows, memory.data_ptr(),
        y.data_ptr(),
    )  # fmt: skip
    return y


def _bias_strides(windows: Windows, bias: Tensor) -> tuple[int, dict[str, int]]:
    """Return where the bias of the first pixel and patch lies, and the strides of `Shape`, in numbers."""
    (height, width), (down, across) = windows.size, windows.patch
    if reads_table(windows):  # the table is indexed by pixel - patch, plus an offset that makes it positive
        _, rows, columns = bias.shape
        start = (height - down) * columns + width - across
        head, patch_row, patch_column, row = rows * columns, -down * columns, -across, columns
    else:
        _, patches, pixels = bias.shape
        start, head, patch_row, patch_column, row = 0, patches * pixels, width // across * pixels, pixels, width
    return start, {
        "bias_head_stride": head,
        "bias_patch_row_stride": patch_row,
        "bias_patch_column_stride": patch_column,
        "bias_row_stride": row,
    }
