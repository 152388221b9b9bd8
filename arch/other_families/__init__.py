"""Layers of networks that are not ours, computed by the CPU kernels of our own; results do not change.

PyTorch computes attention in steps, each of which writes the scores of all windows to memory: two thirds of the time of
SwinIR, DRCT and DAT. Here windows are read where they lie in the map; those of a shifted grid, which the original rolls
and masks with -100, are cut at the border. That is the same as long as scores are far smaller than 100. Convolutions
and MLPs have kernels as well, and dense blocks concatenate nothing.

Modules are recognized by the full names of their classes, which are spandrel's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from . import convolutions
from .atd import AtdLayer
from .convolutions import has_kernels, weights_for_kernels
from .dense import dense_blocks
from .gated import moesr_block, mosr_block
from .omnisr import ChannelNorm, WindowAttention
from .rectangles import AdaptiveSpatialAttention, LocalAttention
from .replacement import Replacement
from .span import attention_block
from .swin import FdatAttention, ScunetAttention, SwinBlock, swin_v2_block

__all__ = ["has_kernels", "is_one_layer", "use_kernels", "weights_for_kernels"]

REPLACEMENTS: dict[str, Callable[[Any], nn.Module]] = {
    "__arch_helpers.block.RRDB": dense_blocks,
    "ATD.__arch.atd_arch.ATDTransformerLayer": AtdLayer,
    "DAT.__arch.DAT.Adaptive_Spatial_Attention": AdaptiveSpatialAttention,
    "DRCT.__arch.drct_arch.SwinTransformerBlock": SwinBlock,
    "FDAT.__arch.fdat.FastSpatialWindowAttention": FdatAttention,
    "MMRealSR.__arch.mmrealsr_arch.RRDB": dense_blocks,
    "MoESR.__arch.MoESR.GatedCNNBlock": moesr_block,
    "MoSR.__arch.mosr_arch.GatedCNNBlock": mosr_block,
    "OmniSR.__arch.OSA.Attention": WindowAttention,
    "OmniSR.__arch.layernorm.LayerNorm2d": ChannelNorm,
    "RGT.__arch.rgt.L_SA": LocalAttention,
    "SCUNet.__arch.SCUNet.WMSA": ScunetAttention,
    "SPAN.__arch.span.SPAB": attention_block,
    "Swin2SR.__arch.Swin2SR.SwinTransformerBlock": swin_v2_block,
    "SwinIR.__arch.SwinIR.SwinTransformerBlock": SwinBlock,
}
"""By class of spandrel's architectures: makes what computes its results, of a module of that class."""


def use_kernels(network: nn.Module) -> None:
    """Let a network's convolutions, blocks and attention in windows use our kernels, where there are some.

    Args:
        network: in evaluation. It is changed: its `state_dict` is another one.
    """
    for parent in [*network.modules()]:
        for name, child in parent.named_children():
            replacement = REPLACEMENTS.get(_name_of(child).removeprefix("spandrel.architectures."))
            if replacement is not None and (made := replacement(child)) is not child:
                setattr(parent, name, made)
    convolutions.use_kernels(network)


def is_one_layer(module: nn.Module) -> bool:
    """Return True if a module computes by itself what most modules in it are for: few of them are called."""
    return isinstance(module, Replacement)


def _name_of(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
