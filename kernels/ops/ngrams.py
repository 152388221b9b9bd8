"""HiT-SNG's n-grams: windows summed up to unigrams, and the attention among the windows of each bigram."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..cpu import ngrams as cpu
from ..windows import windows_of
from .choice import fastest


def unigrams(x: Tensor, embed: nn.Conv2d) -> Tensor:
    """Sum up each window to one feature of half the channels; (B, nh h, nw w, C) -> (B, nh, nw, C/2) fp32.

    Args:
        x: Whole windows, fp32.
        embed: Two kernels of the window's size, the first for channel 2c and the second for 2c + 1, and one bias.
    """
    weight, bias = embed.weight, embed.bias
    assert bias is not None
    height, width = embed.kernel_size

    def plain() -> Tensor:
        windows = windows_of(x, (height, width))
        both = torch.matmul(weight.float().reshape(2, -1), windows)  # each kernel on each channel
        both = rearrange(both, "n kernel (c pair) -> n kernel c pair", pair=2)
        sums = both[:, 0, :, 0] + both[:, 1, :, 1] + bias.float()
        return rearrange(sums, "(b nh nw) c -> b nh nw c", nh=x.shape[1] // height, nw=x.shape[2] // width)

    return fastest(
        "unigrams",
        plain,
        c=(lambda: cpu.unigrams(x, weight, bias)) if cpu.can_run(x, weight, bias) else None,
        triton=None,
        tensors=(x, weight, bias),
    )


def bigrams(x: Tensor, qkv: nn.Linear, proj: nn.Linear, bias: Tensor, heads: int) -> Tensor:
    """Attend among the four windows of each bigram, average over them and project, in fp32.

    Args:
        x: Unigrams with their neighbors around the border, (B, rows + 2, columns + 2, D) fp32.
        qkv: Projects them to queries, keys and values.
        proj: Projects the average.
        bias: Position bias, (heads, 4, 4) fp32.
        heads: Number of heads.

    Returns:
        (B, rows, columns, 2 D): bigrams with the windows to the lower right, and with those to the upper left.
    """

    def plain() -> Tensor:
        return torch.cat([attend(x[:, 1:, 1:]), attend(x[:, :-1, :-1])], dim=-1)

    def attend(x: Tensor) -> Tensor:
        """(B, rows + 1, columns + 1, D) -> (B, rows, columns, D)."""
        four = torch.stack([x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:]], dim=3)
        qkv_of_four = fp32_linear(four.flatten(0, 2), qkv)
        q, k, v = rearrange(qkv_of_four, "n four (k h d) -> k n h four d", k=3, h=heads)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
        return fp32_linear(out.mean(2).flatten(1), proj).view(*four.shape[:3], -1)

    def c() -> Tensor:
        both = cpu.bigrams(fp32_linear(x, qkv), bias, heads)  # (B, rows, columns, 2, D)
        return fp32_linear(both, proj).flatten(3)

    weights = (qkv.weight, qkv.bias, proj.weight, proj.bias)
    return fastest("bigrams", plain, c=c if cpu.can_run(x, bias) else None, triton=None, tensors=(x, *weights, bias))


def fp32_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a linear layer in fp32, whatever the dtype of its weights."""
    return F.linear(x, layer.weight.float(), layer.bias.float())
