"""Operations of networks that have kernels: one function for each, and in it the choice of who computes it.

On a CPU that is a kernel in C where it can run, on CUDA the faster of PyTorch and a kernel in Triton, else PyTorch,
whose form of an operation stands beside the choice. Networks say what they compute and import nothing else from here.

Features are (B, H, W, C) with the channels last in memory. A convolution sees them as a channels_last (B, C, H, W)
view, a linear map as they are. Every operation casts its input to the dtype of the weights it meets: that is how half
precision works in this package.
"""

from ..cpu.correlation import Layers as CorrelationLayers
from ..cpu.correlation import Windows
from ..cpu.dual_features import Layers as DualFeatureLayers
from ..cpu.mlp import Layers as MlpLayers
from ..cpu.vab import Layers as VabLayers
from .attention import (
    HeadLayers,
    OverlappingLayers,
    WindowLayers,
    attend_windows,
    attends_in_place,
    overlapping_attention,
    project_qkv,
    window_attention,
)
from .convolution import conv2d, has_convolution_kernel, suits_kernel
from .correlation import (
    correlation_pass,
    supports_correlation,
    window_correlation,
)
from .ngrams import bigrams, unigrams
from .passes import (
    dual_features_bytes,
    dual_features_pass,
    mlp,
    mlp_bytes,
    mlp_pass,
    vab_bytes,
    vab_pass,
)
from .pixels import layer_norm, linear

__all__ = [
    "CorrelationLayers",
    "DualFeatureLayers",
    "HeadLayers",
    "MlpLayers",
    "OverlappingLayers",
    "VabLayers",
    "WindowLayers",
    "Windows",
    "attend_windows",
    "attends_in_place",
    "bigrams",
    "conv2d",
    "correlation_pass",
    "dual_features_bytes",
    "dual_features_pass",
    "has_convolution_kernel",
    "layer_norm",
    "linear",
    "mlp",
    "mlp_bytes",
    "mlp_pass",
    "overlapping_attention",
    "project_qkv",
    "suits_kernel",
    "supports_correlation",
    "unigrams",
    "vab_bytes",
    "vab_pass",
    "window_attention",
    "window_correlation",
]
