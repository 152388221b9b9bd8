"""Make a trained VapSR deeper without changing what it computes, so that a larger network begins where it stands."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = "body.{}."
NORM = "pixel_norm."


def blocks(weights: dict[str, Tensor]) -> int:
    """Return how many blocks a VapSR's weights have; 0 for those of another family."""
    return len({name.split(".")[1] for name in weights if name.startswith("body.") and NORM in name})


@torch.no_grad()
def deepened(weights: dict[str, Tensor], start: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of as many blocks as `start` has, which compute what `weights` do.

    The new blocks lie evenly between the old ones. A block ends with the norm of its sum with what it was given, so one
    that adds nothing passes on the norm of that. It is the identity where the block before it leaves the norm bare, and
    the new one takes over its weight and bias.

    Args:
        weights: of a VapSR.
        start: a VapSR's before its training, which the new blocks take the other layers from.

    Returns:
        The tensors of `weights`, and those of the new blocks.
    """
    old, new = blocks(weights), blocks(start)
    result = {name: tensor for name, tensor in weights.items() if not name.startswith("body.")}
    places = [at * new // old for at in range(old)]  # of the old blocks among the new
    for at in range(new):
        here = BLOCK.format(at)
        if at in places:
            source, prefix = weights, BLOCK.format(places.index(at))
        else:
            source, prefix = start, here
        result |= {here + n.removeprefix(prefix): t.clone() for n, t in source.items() if n.startswith(prefix)}
        if at in places:
            continue
        before = BLOCK.format(at - 1)
        for part in ("weight", "bias"):
            result[here + f"proj_2.{part}"].zero_()
            result[here + NORM + part] = result[before + NORM + part].clone()
        result[before + NORM + "weight"].fill_(1)
        result[before + NORM + "bias"].zero_()
    return result
