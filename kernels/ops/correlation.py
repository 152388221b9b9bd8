"""HiT-SR's spatial-channel correlation over windows.

With queries q and values v of a window of L pixels, and v' the values of its L' patches:

    spatial, per head:  x_s = (q v'ᵀ / d + P) v'        channel, all heads at once:  x_c = v (vᵀ q / L)

Nothing lies between the products, so q (v'ᵀ v') needs d x d numbers where q v'ᵀ would need a map of L x L'. What both
correlations do to a window's pixels are small matrices, of which PyTorch's operations make one with the projection
behind them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .. import autotune
from ..constants import Constants
from ..cpu import correlation as cpu
from ..cpu.correlation import Layers as CorrelationLayers
from ..cpu.correlation import Windows
from ..tensors import weights_of
from ..windows import grid_from_windows, grid_of_windows, windows_of
from .choice import fastest


def correlation_pass(
    windows: Windows,
    layers: CorrelationLayers,
    constants: Constants,
    position_table: Callable[[], Tensor],
    position_bias: Callable[[], Tensor],
) -> Callable[[Tensor, list[Tensor]], Tensor] | None:
    """Return the correlation with all that follows, x + norm(proj(correlated)), in one pass; None without a C kernel.

    Args:
        windows: Size, patches and heads.
        layers: What is computed with.
        constants: Where packed weights are kept.
        position_table: Returns the position bias by distance, (heads, 2h - rh, 2w - rw).
        position_bias: Returns it laid out, (heads, L', L); windows of some widths are read from the table instead.

    Returns:
        A function of whole windows of queries and values, (B, rows, W, C) fp32, and the rows of x as views.
    """
    if not cpu.can_run(windows, layers):
        return None
    weights = constants.get("packed", layers.weights(), lambda: cpu.pack_weights(windows, layers))
    bias = position_table if cpu.reads_table(windows) else position_bias
    return lambda qv, views: cpu.window_correlation(qv, views, bias(), weights)


def supports_correlation(windows: Windows, device: torch.device) -> bool:
    """Return whether `correlation_pass` would return one there."""
    return device.type == "cpu" and cpu.supports(windows)


def window_correlation(
    qv: Tensor,
    context: Tensor | None,
    windows: Windows,
    spatial_linear: nn.Linear,
    proj: nn.Linear,
    position_bias: Tensor,
) -> Tensor:
    """Correlate whole windows, and project without a bias; (B, h, W, C) -> (B, h, W, C), all in fp32.

    Args:
        qv: Queries and values, (B, h, W, C) fp32.
        context: What is added to all pixels of a window, (windows, C).
        windows: Size, patches and heads.
        spatial_linear: Sums up the pixels of a patch.
        proj: Projects both correlations.
        position_bias: P transposed, (heads, L', L) fp32.
    """

    def triton() -> Tensor:
        from ..cuda import correlation as cuda

        return cuda.window_correlation(
            qv, context, window=windows.size, patch=windows.patch, heads=windows.heads, proj=proj.weight,
            patch_weight=spatial_linear.weight, patch_bias=spatial_linear.bias,
            position_bias=position_bias, precision=autotune.precision_of_products(),
        )  # fmt: skip

    return fastest(
        "correlation",
        lambda: by_matrices(qv, context, windows, spatial_linear, proj, position_bias),
        c=None,
        triton=triton,
        tensors=(qv, context, *weights_of(spatial_linear, proj), position_bias),
        kind=(qv.shape[-1], windows.heads, windows.size, windows.patch),
        tf32=autotune.tf32_products,
    )


def by_matrices(
    qv: Tensor,
    context: Tensor | None,
    windows: Windows,
    spatial_linear: nn.Linear,
    proj: nn.Linear,
    position_bias: Tensor,
) -> Tensor:
    """Compute `window_correlation` with PyTorch."""
    grid = grid_of_windows(qv, windows.size)
    x = windows_of(qv, windows.size)  # (N, L, C)
    if context is not None:
        x = x + context[:, None]
    patches = sum_patches(x, windows, spatial_linear)  # v', (N, L', C/2)
    projection = proj.weight.float()
    y = torch.matmul(_position_term(patches, position_bias).transpose(1, 2), projection[:, : qv.shape[-1] // 2].T)
    y = torch.baddbmm(y, x, _window_matrices(x, patches, projection, windows.heads))
    return grid_from_windows(y, grid).reshape(qv.shape)


def _window_matrices(x: Tensor, patches: Tensor, proj: Tensor, heads: int) -> Tensor:
    """Return each window's matrix that takes [q, v] through both correlations and the projection; (N, C, C)."""
    n, length, dim = x.shape
    half = dim // 2
    q, v = x.split(half, dim=-1)
    by_head = rearrange(patches, "n l (h d) -> n h l d", h=heads)
    gram = torch.matmul(by_head.transpose(2, 3), by_head) / by_head.shape[-1]  # v'ᵀ v' / d
    spatial = torch.matmul(gram, proj[:, :half].T.reshape(heads, -1, dim)).reshape(n, half, dim)
    channel = torch.matmul(torch.bmm(v.transpose(1, 2), q / length), proj[:, half:].T)
    return torch.cat([spatial, channel], dim=1)


def sum_patches(x: Tensor, windows: Windows, spatial_linear: nn.Linear) -> Tensor:
    """Return v', each patch of r x r pixels of the values as one weighted sum; (N, L, C) -> (N, L', C/2)."""
    (h, w), (rh, rw) = windows.size, windows.patch
    v = x[..., x.shape[-1] // 2 :]
    weight, bias = spatial_linear.weight.float(), spatial_linear.bias.float()
    if rh * rw == 1:
        return v * weight + bias
    kernel = weight.reshape(1, 1, rh, rw).expand(v.shape[-1], 1, rh, rw)
    rows = rearrange(v, "n (h w) c -> n c h w", h=h, w=w)
    out = F.conv2d(rows, kernel, bias.expand(v.shape[-1]), stride=(rh, rw), groups=v.shape[-1])
    return rearrange(out, "n c h w -> n (h w) c")


def _position_term(patches: Tensor, position_bias: Tensor) -> Tensor:
    """Return P v' for every window; (N, L', C/2) -> (N, C/2, L)."""
    heads, n = len(position_bias), len(patches)
    v = rearrange(patches, "n l (h d) -> h (n d) l", h=heads)
    out = torch.bmm(v, position_bias)
    return rearrange(out, "h (n d) l -> n (h d) l", n=n)
