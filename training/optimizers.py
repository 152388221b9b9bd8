"""Optimizers by name: Adam for all weights, or Muon for the matrices and Adam for the others.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, with the scale of Liu et al., "Muon is
scalable for LLM training", arXiv 2502.16982, so that Adam's rates serve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from .errors import TrainingError

NAMES = ("adam", "muon")


def make(name: str, net: nn.Module, rate: float) -> list[Optimizer]:
    """Return the optimizers that move every weight of a network together.

    Args:
        name: "adam", or "muon" for Muon on the matrices of linear layers and ungrouped convolutions.
        net: the network.
        rate: learning rate.

    Raises:
        TrainingError: there is no such optimizer.
    """
    if name not in NAMES:
        raise TrainingError(f"There is no optimizer {name!r}; there are {', '.join(NAMES)}")
    matrices = _matrices(net) if name == "muon" else []
    taken = {id(weight) for weight in matrices}
    others = [weight for weight in net.parameters() if id(weight) not in taken]
    optimizers: list[Optimizer] = [Adam(others, lr=rate, betas=(0.9, 0.99), fused=True)]
    return [*optimizers, Muon(matrices, rate)] if matrices else optimizers


class Muon(Optimizer):
    """Move a matrix by its momentum with all singular values set to about one."""

    def __init__(self, weights: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the weights along their gradients, those of one shape at once."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault(weight.shape, []).append(weight)
            for weights in alike.values():
                self._move(weights, group)

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        ahead = []
        for weight in weights:
            gradient = weight.grad
            assert gradient is not None
            mean = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
            mean.mul_(group["momentum"]).add_(gradient)
            ahead.append(gradient.add(mean, alpha=group["momentum"]).flatten(1))
        directions = orthogonalized(torch.stack(ahead))
        length = 0.2 * max(directions.shape[-2:]) ** 0.5  # the size of Adam's steps
        for weight, direction in zip(weights, directions, strict=True):
            weight.sub_(direction.reshape(weight.shape), alpha=group["lr"] * length)


def orthogonalized(matrices: Tensor) -> Tensor:
    """Return matrices (N, H, W) with singular values near one, by five steps of Newton and Schulz's iteration."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-12)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (2.0315 * square @ square - 4.7750 * square) @ x
    return x.mT if tall else x


def _matrices(net: nn.Module) -> list[Tensor]:
    return [
        module.weight
        for module in net.modules()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
    ]
