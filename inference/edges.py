"""Continue images beyond their edges, for networks that would see zeros there, and around, for seamless ones."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arch.layers import reflected_index

EDGES = ("extend", "network")


def wrapped(image: Tensor, dim: int, margin: int) -> Tensor:
    """Return an image with `margin` pixels of the opposite side at both ends of a dimension."""
    size = image.shape[dim]
    return image.index_select(dim, torch.arange(-margin, size + margin, device=image.device) % size)


def extended(image: Tensor, dim: int, margin: int) -> Tensor:
    """Return an image, in [0, 1], with `margin` more pixels at both ends of a dimension.

    They are the mean of two reflections: about the edge of the image, which continues its texture, and about the
    center of the outermost pixel, there with the opposite sign, which continues its slope.
    """
    size, device = image.shape[dim], image.device
    beyond = torch.arange(1, margin + 1, device=device)
    period = beyond % (2 * size)  # about the edge every pixel comes twice
    about_edge = torch.minimum((period - 1) % (2 * size), (2 * size - period) % (2 * size))
    about_center = reflected_index(size, margin + 1, device)[1:]
    sides = []
    for edge, flip in ((0, False), (size - 1, True)):
        outermost = image.narrow(dim, edge, 1)
        texture, slope = (
            image.index_select(dim, size - 1 - index if flip else index) for index in (about_edge, about_center)
        )
        sides.append((outermost + (texture - slope) / 2).clamp_(0, 1))
    return torch.cat([sides[0].flip(dim), image, sides[1]], dim)
