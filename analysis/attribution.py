"""Compute local attribution maps (LAM): which pixels of an image a network uses for a patch of its result.

Gu and Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps", CVPR 2021. The objective measures the
edges and texture in the patch: D = sum over its pixels of |∇y|. The path leads from a blurred image, γ(0), to the image
itself, γ(1), with a Gaussian blur of σ (1 - α). The attribution of a pixel is its contribution to D along the path, the
integral of ∂D/∂γ · ∂γ/∂α, so attributions sum to D(γ(1)) - D(γ(0)).

The integral is evaluated by Gauss-Legendre quadrature with the exact derivative of the path; the authors take 50 equal
steps and finite differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arch.layers import reflected_index
from ..inference.errors import UpscaleError
from .gradients import Differentiable

SIGMA = 1.2
"""Standard deviation of the blur at the start of the path, in pixels of the image; as the authors have it."""

STEPS = 32

PATCH = 4
"""Default side of a patch in pixels of the image: at x4 the authors' 16 x 16 of the result."""


@dataclass(frozen=True)
class Patch:
    """A square of the image: its left and top edge and its side, in pixels."""

    x: int
    y: int
    size: int

    @classmethod
    def center(cls, height: int, width: int, size: int = PATCH) -> Patch:
        """Return the patch in the middle of an image of this size."""
        size = min(size, height, width)
        return cls((width - size) // 2, (height - size) // 2, size)

    def check(self, height: int, width: int) -> None:
        """Raise UpscaleError if the patch does not lie in an image of this size."""
        if self.size < 1 or min(self.x, self.y) < 0 or self.x + self.size > width or self.y + self.size > height:
            raise UpscaleError(
                f"a patch of {self.size} pixels at {self.x},{self.y} does not lie in an image of {width}x{height}"
            )


@dataclass(frozen=True)
class Attribution:
    """The contribution of each pixel of an image to the objective.

    Attributes:
        signed: (C, H, W) on the CPU.
        patch: the patch that is explained.
        before: the objective of the blurred image.
        after: the objective of the image itself.
        steps: points on the path.
    """

    signed: Tensor
    patch: Patch
    before: float
    after: float
    steps: int

    @property
    def map(self) -> Tensor:
        """(H, W): the absolute sum over the channels of each pixel."""
        return self.signed.sum(0).abs()

    @property
    def diffusion_index(self) -> float:
        """DI, from 0 (a single pixel contributes) to 100 (all contribute alike); compare it at one image size only."""
        return (1 - gini(self.map)) * 100

    @property
    def completeness(self) -> float:
        """The sum of the attributions divided by the change of the objective: 1 if the integral is exact."""
        return float(self.signed.double().sum()) / (self.after - self.before)


def attribute(
    model: Differentiable,
    image: Tensor,
    patch: Patch | None = None,
    *,
    steps: int = STEPS,
    sigma: float = SIGMA,
    progress: Callable[[int, int], None] | None = None,
) -> Attribution:
    """Compute the local attribution map of a patch.

    Args:
        model: the network; its memory budget decides how many points of the path are computed at once.
        image: (C, H, W) in [0, 1].
        patch: the square to explain; None is `PATCH` x `PATCH` pixels in the middle.
        steps: points on the path at which the gradient is computed.
        sigma: standard deviation of the blur at the start of the path, in pixels.
        progress: called with the number of points done and their total, after each batch.

    Raises:
        UpscaleError: the model cannot take the image, or the patch does not lie in it.
        Cancelled: the model's `cancelled` returned True.
    """
    model.check(image)
    height, width = image.shape[1:]
    patch = patch or Patch.center(height, width)
    patch.check(height, width)
    if steps < 1:
        raise UpscaleError(f"the path needs at least one step, not {steps}")

    def objective(larger: Tensor) -> Tensor:
        return edges(larger, patch, model.scale)

    with torch.inference_mode(False):
        image = image.to(model.device, torch.float32)
        image = image.clone() if image.is_inference() else image
        blurred, _ = blur_path(image, 0.0, sigma)
        before, after = (float(model.value(end[None], objective)) for end in (blurred, image))
        at_once = model.plan(height, width)
        alphas, weights = gauss_legendre(steps)
        total = torch.zeros_like(image, dtype=torch.float64, device="cpu")
        for start in range(0, steps, at_once):
            here = range(start, min(start + at_once, steps))
            points, slopes = zip(*(blur_path(image, alphas[i], sigma) for i in here), strict=True)
            _, gradients = model.gradient(torch.stack(points), objective)
            for i, gradient, slope in zip(here, gradients, slopes, strict=True):
                total += weights[i] * (gradient * slope).double().cpu()
            if progress is not None:
                progress(here.stop, steps)
    return Attribution(total.float(), patch, before, after, steps)


def edges(larger: Tensor, patch: Patch, scale: int) -> Tensor:
    """Sum |∇y| over a patch of results (B, C, sH, sW), by forward differences and over all channels: (B,) fp64.

    The last row and column of an image have no next pixel and are not counted.
    """
    x, y, size = (value * scale for value in (patch.x, patch.y, patch.size))
    crop = larger[:, :, y : y + size + 1, x : x + size + 1].double()
    rows = crop[:, :, 1:, :-1] - crop[:, :, :-1, :-1]
    columns = crop[:, :, :-1, 1:] - crop[:, :, :-1, :-1]
    squares = rows.square() + columns.square()
    flat = squares == 0  # the root has no derivative here; 0 is taken
    return squares.masked_fill(flat, 1).sqrt().masked_fill(flat, 0).sum((1, 2, 3))


# --- the path --------------------------------------------------------------------------------------------------------


def blur_path(image: Tensor, alpha: float, sigma: float) -> tuple[Tensor, Tensor]:
    """Return γ(α) and ∂γ/∂α of an image (C, H, W), which is mirrored at its borders."""
    width = sigma * (1 - alpha)
    if width <= 0:
        return image, torch.zeros_like(image)
    radius = math.ceil(3 * sigma)
    at = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.softmax(-at.square() / (2 * width**2), 0)
    # Derivative of the normalized kernel by its width.
    slope = kernel * (at.square() - (kernel * at.square()).sum()) / width**3
    blurred = _filtered(image, kernel, kernel)
    change = _filtered(image, slope, kernel) + _filtered(image, kernel, slope)
    return blurred, -sigma * change


def _filtered(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Filter (C, H, W) along both axes by kernels of odd length."""
    x = image.double()
    for axis, kernel in ((1, rows), (2, columns)):
        radius, size = len(kernel) // 2, x.shape[axis]
        mirror = reflected_index(size, size + radius, x.device)
        around = mirror[torch.arange(-radius, size + radius, device=x.device).abs()]
        shape = (1, 1, -1, 1) if axis == 1 else (1, 1, 1, -1)
        x = F.conv2d(x.index_select(axis, around)[:, None], kernel.to(x.device).reshape(shape))[:, 0]
    return x.to(image.dtype)


def gauss_legendre(count: int) -> tuple[list[float], list[float]]:
    """Return nodes and weights on [0, 1], exact for polynomials of degree 2 count - 1 (Golub and Welsch, 1969)."""
    i = torch.arange(1, count, dtype=torch.float64)
    beside = i / (4 * i.square() - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return ((nodes + 1) / 2).tolist(), vectors[0].square().tolist()


# --- diffusion index -------------------------------------------------------------------------------------------------


def gini(values: Tensor) -> float:
    """Return the Gini coefficient of values from 0: 0 if all are equal, close to 1 if a single one is not 0."""
    ordered = values.double().flatten().sort().values
    count, total = len(ordered), ordered.sum()
    if total == 0:
        return 0.0
    rank = torch.arange(1, count + 1, dtype=torch.float64, device=ordered.device)
    return float(((2 * rank - count - 1) * ordered).sum() / (count * total))
