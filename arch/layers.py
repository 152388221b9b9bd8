"""What the networks share: features as (B, H, W, C), convolutions and linear maps on them, reflection, heads.

Features are kept with the channels last in memory throughout. A convolution sees them as a channels_last
(B, C, H, W) view, a linear map as they are, a window as a plain reshape, so that no step begins with a transposition.

Every helper casts its input to the dtype of the weights it meets. That is how half precision works in this package:
`inference.precision` casts the weights of some layers, the trunk between the blocks stays in fp32, and a network has
no other notion of precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from ..kernels import autotune
from ..kernels.cpu import layer_norm as cpu_layer_norm

T = TypeVar("T")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x @ weight.T + bias over the last dimension; (..., in) -> (..., out), computed in the dtype of `weight`.

    On a CPU it runs as a 1x1 convolution: oneDNN reaches twice the rate of the BLAS behind `F.linear` on AMD
    processors (430 against 207 GFLOP/s on two Zen 5 cores), and the same rate elsewhere.
    """
    x = x.to(weight.dtype)
    if x.device.type != "cpu" or x.numel() == 0:
        return F.linear(x, weight, bias)
    rows = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)  # (1, in, rows, 1), channels_last
    y = F.conv2d(rows, weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.shape[0])


def conv2d(x: Tensor, conv: nn.Module, rows_padded: bool = True) -> Tensor:
    """An nn.Conv2d over features with channels last; (B, H, W, in) -> (B, H, W, out), in the dtype of its weights.

    rows_padded: False where `x` brings the rows above and below that the padding stands for.
    """
    assert isinstance(conv, nn.Conv2d)
    y = F.conv2d(
        x.to(conv.weight.dtype).permute(0, 3, 1, 2),
        conv.weight,
        conv.bias,
        conv.stride,
        conv.padding if rows_padded else (0, int(conv.padding[1])),
        conv.dilation,
        conv.groups,
    )
    return y.permute(0, 2, 3, 1)


def layer_norm(
    x: Tensor,
    norm: nn.LayerNorm,
    *,
    add_before: Tensor | None = None,
    add_after: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """norm(x + add_before) + add_after over the last dimension, in `dtype`.

    Always computed in fp32: its sums are what half precision breaks first.
    """
    if cpu_layer_norm.can_run(x, add_before, add_after, norm.weight, norm.bias, dtype=dtype):
        return cpu_layer_norm.layer_norm(
            x, norm.weight, norm.bias, norm.eps, add_before=add_before, add_after=add_after, dtype=dtype
        )

    def plain() -> Tensor:
        z = x.float() if add_before is None else x + add_before
        y = F.layer_norm(z.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
        return (y if add_after is None else y + add_after).to(dtype)

    def fused() -> Tensor:
        from ..kernels.cuda import layer_norm as cuda

        return cuda.layer_norm(
            x, norm.weight, norm.bias, norm.eps, add_before=add_before, add_after=add_after, dtype=dtype
        )

    kind = (x.shape[-1], add_before is not None, add_after is not None, dtype)
    return autotune.best("layer norm", kind, plain, fused, (x, add_before, add_after, norm.weight, norm.bias))


def pixel_shuffle(x: Tensor, scale: int) -> Tensor:
    """(B, H, W, C s²) -> (B, sH, sW, C); channel c s² + dy s + dx goes to row dy, column dx (as nn.PixelShuffle)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, c // scale**2, scale, scale)
    return x.permute(0, 1, 4, 2, 5, 3).reshape(b, h * scale, w * scale, c // scale**2)


def to_features(image: Tensor) -> Tensor:
    """(B, C, H, W) in any layout -> (B, H, W, C), contiguous, fp32."""
    return image.float().permute(0, 2, 3, 1).contiguous()


def to_image(features: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W) of the given dtype, contiguous."""
    return features.to(dtype).permute(0, 3, 1, 2).contiguous()


# --- reflection --------------------------------------------------------------------------------------------------


def reflected_index(size: int, padded: int, device: torch.device | str | None = None) -> Tensor:
    """Which of `size` samples stands at each of `padded` positions when the signal is mirrored at its ends.

    The mirror is a triangle wave of period 2 (size - 1): what `F.pad(mode="reflect")` gives where it works, and what
    repeated reflection gives where it does not (a padding of `size` or more). One sample repeats itself.
    """
    position = torch.arange(padded, device=device)
    if size == 1:
        return torch.zeros_like(position)
    position = position % (2 * (size - 1))
    return torch.minimum(position, 2 * (size - 1) - position)


def reflect_to(x: Tensor, height: int, width: int) -> Tensor:
    """Mirror (B, H, W, C) at its lower and right edge up to height x width."""
    if x.shape[1] < height:
        x = x.index_select(1, reflected_index(x.shape[1], height, x.device))
    if x.shape[2] < width:
        x = x.index_select(2, reflected_index(x.shape[2], width, x.device))
    return x


def round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


# --- windows -----------------------------------------------------------------------------------------------------


def grid_of_windows(x: Tensor, window: tuple[int, int]) -> Tensor:
    """A view of (B, nh wh, nw ww, C) as (B, nh, wh, nw, ww, C); writing to it writes to `x`."""
    return x.unflatten(2, (-1, window[1])).unflatten(1, (-1, window[0]))


def windows_of(x: Tensor, window: tuple[int, int]) -> Tensor:
    """(B, nh wh, nw ww, C) -> (B nh nw, wh ww, C), one copy."""
    grid = grid_of_windows(x, window)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(-1, window[0] * window[1], x.shape[-1])


def grid_from_windows(windows: Tensor, grid: Tensor) -> Tensor:
    """See (B nh nw, wh ww, C) in the shape of a `grid_of_windows`, (B, nh, wh, nw, ww, C), without a copy."""
    b, nh, wh, nw, ww, _ = grid.shape
    return windows.view(b, nh, nw, wh, ww, -1).permute(0, 1, 3, 2, 4, 5)


# --- constants ---------------------------------------------------------------------------------------------------


class Constants:
    """Tensors derived from a module's weights or from its shape alone, computed once and kept outside its state dict.

    An entry is recomputed when the tensors it is derived from were replaced (moved, cast, loaded anew) or, where the
    framework counts it, written to. While gradients are recorded nothing is kept: a constant would then be part of
    the graph.
    """

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[Hashable, Any]] = {}

    def get(self, name: Hashable, sources: tuple[Tensor, ...], compute: Callable[[], T]) -> T:
        if torch.is_grad_enabled() and any(s.requires_grad for s in sources):
            return compute()
        if torch.compiler.is_compiling():  # whoever compiles has run the network before, and looks after its weights
            known = self._entries.get(name)
            return compute() if known is None else known[1]
        state = tuple(_identity(s) for s in sources)
        kept = self._entries.get(name)
        if kept is None or kept[0] != state:
            # Not as inference tensors: gradients may be asked for later (training, attribution).
            with torch.inference_mode(False), torch.no_grad():
                kept = (state, compute())
            self._entries[name] = kept
        return kept[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> Constants:
        return Constants()

    def __getstate__(self) -> dict[str, Any]:
        return {"_entries": {}}


def _identity(tensor: Tensor) -> Hashable:
    """What changes when a tensor's values are replaced or, where the framework counts it, written to.

    The weak reference takes no memory of the tensor's, but keeps its storage's address from being given to another.
    """
    version = 0 if tensor.is_inference() else tensor._version
    return StorageWeakRef(tensor.untyped_storage()), tensor.data_ptr(), tensor.device, tensor.dtype, version


# --- heads -------------------------------------------------------------------------------------------------------


def upsample_steps(scale: int) -> tuple[int, ...]:
    """The pixel shuffles that make up a scale: (2, 2) for 4, (3,) for 3. Raises ValueError for any other scale."""
    if scale == 3:
        return (3,)
    if scale >= 1 and scale & (scale - 1) == 0:
        return (2,) * int(math.log2(scale))
    raise ValueError(f"a head of pixel shuffles can enlarge by 3 or a power of two, not by {scale}")


RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""The mean of DIV2K, which HAT and HiT-SR subtract from RGB input; other channel counts have a mean of 0."""


def default_mean(channels: int) -> tuple[float, ...]:
    return RGB_MEAN if channels == 3 else (0.0,) * channels
