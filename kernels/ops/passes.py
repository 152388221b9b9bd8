"""Whole blocks in one pass down an image, which only the C kernels compute: VapSR's block, the MLPs, HiT-SR's features.

A pass is called with the next rows of features (B, rows, W, C) and returns the rows that they make ready, or None; what
it needs of a strip for the next one it keeps. Where a function returns None instead of a pass, the block's layers
compute it one by one.
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from ..constants import Constants
from ..cpu import dual_features, vab
from ..cpu import mlp as cpu_mlp
from ..cpu.bands import BandKernel
from ..cpu.dual_features import Layers as DualFeatureLayers
from ..cpu.mlp import Layers as MlpLayers
from ..cpu.vab import Layers as VabLayers
from .pixels import layer_norm, linear


def vab_pass(layers: VabLayers, constants: Constants, height: int) -> BandKernel | None:
    """Return VapSR's block for an image of `height` rows."""
    return _one_pass(vab, layers, constants, height)


def dual_features_pass(
    layers: DualFeatureLayers, constants: Constants, height: int, width: int, multiple: int
) -> BandKernel | None:
    """Return HiT-SR's queries and values of `height` rows, mirrored up to `width`, in multiples of `multiple` rows."""
    return _one_pass(dual_features, layers, constants, height, width, multiple)


def mlp_pass(layers: MlpLayers, constants: Constants, height: int) -> BandKernel | None:
    """Return an MLP with its norm and its shortcut, for an image of `height` rows."""
    return _one_pass(cpu_mlp, layers, constants, height)


def mlp(x: Tensor, layers: MlpLayers, constants: Constants) -> Tensor:
    """Return an MLP of (B, H, W, C) fp32 with its norm and its shortcut; see `MlpLayers`."""
    in_one_pass = mlp_pass(layers, constants, x.shape[1])
    if in_one_pass is not None:
        y = in_one_pass(x)
        assert y is not None
        return y
    n = x if layers.pre_norm is None else layer_norm(x, layers.pre_norm, dtype=layers.fc1.weight.dtype)
    t = F.gelu(linear(n, layers.fc1.weight, layers.fc1.bias))
    if layers.dwconv is not None:
        t = t + F.gelu(layers.dwconv(t.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
    y = linear(t, layers.fc2.weight, layers.fc2.bias)
    return x + y if layers.post_norm is None else layer_norm(y, layers.post_norm, add_after=x)


def _one_pass(
    kernel: ModuleType,
    layers: VabLayers | DualFeatureLayers | MlpLayers,
    constants: Constants,
    height: int,
    width: int | None = None,
    multiple: int = 1,
) -> BandKernel | None:
    if not kernel.can_run(layers):
        return None
    weights = constants.get(kernel.__name__, layers.weights(), lambda: kernel.pack_weights(layers))
    return BandKernel(weights, height, width, multiple)


def vab_bytes(hidden: int, features: int, width: int, device: torch.device, dtype: torch.dtype) -> int | None:
    """Return the bytes that `vab_pass` keeps for an image of this width; None where there is no pass."""
    return _bytes_kept(vab, hidden, features, width, device, dtype)


def dual_features_bytes(hidden: int, features: int, width: int, device: torch.device, dtype: torch.dtype) -> int | None:
    """Return the bytes that `dual_features_pass` keeps for an image of this width; None where there is no pass."""
    return _bytes_kept(dual_features, hidden, features, width, device, dtype)


def mlp_bytes(hidden: int, features: int, width: int, device: torch.device, dtype: torch.dtype) -> int | None:
    """Return the bytes that `mlp_pass` with a depthwise convolution keeps; None where there is no pass."""
    return _bytes_kept(cpu_mlp, hidden, features, width, device, dtype)


def _bytes_kept(
    kernel: ModuleType, hidden: int, features: int, width: int, device: torch.device, dtype: torch.dtype
) -> int | None:
    if device.type != "cpu" or not kernel.supports(hidden, features, dtype):
        return None
    return kernel.bytes_kept(hidden, features, width)
