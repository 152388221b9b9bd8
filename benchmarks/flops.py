"""Count the operations of a network by its definition, independent of any implementation.

Counted are the multiply-adds of the layers as the papers define them, two operations each: convolutions, linear maps,
the products of attention (q kᵀ and its product with v) and of HiT-SR's correlations. Not counted are norms,
activations, sums and gates (a few operations for each number), and what follows from the weights alone: the position
biases, which the authors' HiT-SR computes anew for every image. Pixels are the image's own: what a network adds to
fill its windows, what tiles share, and how little of a definition a clever implementation has to carry out (ours sums
HiT-SR's products in another order) changes nothing here.
"""

from __future__ import annotations

from typing import Any

from ..arch.network import NetworkConfig


def flops(config: Any, height: int, width: int) -> float | None:
    """Return the operations for one image of this size; None for networks of other families."""
    return config.flops(height, width) if isinstance(config, NetworkConfig) else None
