"""Local attribution maps (LAM): which pixels of an image a network uses for a patch of its result.

Gu and Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps", CVPR 2021. The objective is how much
edge and texture there is in the patch, D = sum over its pixels of |∇y|. The path leads from a blurred image, γ(0),
to the image itself, γ(1), with a Gaussian blur of σ (1 - α). The attribution of a pixel is what it adds to D on the
way, the integral of ∂D/∂γ · ∂γ/∂α; so attributions sum up to D(γ(1)) - D(γ(0)).

The integral is taken at the nodes of a Gauss-Legendre rule, with the exact derivative of the path, where the authors
take 50 equal steps and differences.
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

SIGMA = 1.2  # of the blur at the beginning of the path, in pixels of the image; the authors'
STEPS = 32
PATCH = 4
"""Side of a patch in pixels of the image: at x4 the authors' 16 x 16 of the result."""


@dataclass(frozen=True)
class Patch:
    """A square of the image, in its pixels; its upper left corner, and its side."""

    x: int
    y: int
    size: int

    @classmethod
    def center(cls, height: int, width: int, size: int = PATCH) -> Patch:
        size = min(size, height, width)
        return cls((width - size) // 2, (height - size) // 2, size)

    def check(self, height: int, width: int) -> None:
        """Raise UpscaleError where it does not lie in an image of this size."""
        if self.size < 1 or min(self.x, self.y) < 0 or self.x + self.size > width or self.y + self.size > height:
            raise UpscaleError(
                f"a patch of {self.size} pixels at {self.x},{self.y} does not lie in an image of {width}x{height}"
            )


@dataclass(frozen=True)
class Attribution:
    """What each pixel of an image adds to the objective.

    signed: (C, H, W) on the CPU. before, after: the objective of the blurred image and of the image itself.
    """

    signed: Tensor
    patch: Patch
    before: float
    after: float
    steps: int

    @property
    def map(self) -> Tensor:
        """(H, W): the size of what the channels of a pixel add together."""
        return self.signed.sum(0).abs()

    @property
    def diffusion_index(self) -> float:
        """DI, from 0 (one pixel is all) to 100 (all pixels alike); comparable between images of one size only."""
        return (1 - gini(self.map)) * 100

    @property
    def completeness(self) -> float:
        """The sum of the attributions as a share of the change of the objective: 1, if the integral is exact."""
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
    """The local attribution map of a patch.

    Args:
        model: the network; it says how many points of the path go through it at once.
        image: (C, H, W) in [0, 1].
        patch: None is `PATCH` pixels in the middle.
        steps: points of the path at which the gradient is taken.
        sigma: of the blur at the beginning of the path.
        progress: called with the points done and all of them, after each batch.
    Raises:
        UpscaleError: an image that the model does not take, or a patch that does not lie in it.
        Cancelled: the model's `cancelled` said so.
    """
    model.check(image)
    height, width = image.shape[1:]
    patch = patch or Patch.center(height, width)
    patch.check(height, width)
    if steps < 1:
        raise UpscaleError(f"a path has at least one step, not {steps}")

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
    """The sum of |∇y| over a patch of results (B, C, sH, sW), forward differences, all channels; (B,) fp64.

    At the lower and right border of the image there is no next pixel, and so no difference.
    """
    x, y, size = (value * scale for value in (patch.x, patch.y, patch.size))
    crop = larger[:, :, y : y + size + 1, x : x + size + 1].double()
    rows = crop[:, :, 1:, :-1] - crop[:, :, :-1, :-1]
    columns = crop[:, :, :-1, 1:] - crop[:, :, :-1, :-1]
    squares = rows.square() + columns.square()
    flat = squares == 0  # where the root has no derivative; its change is taken for none
    return squares.masked_fill(flat, 1).sqrt().masked_fill(flat, 0).sum((1, 2, 3))


# --- the path ----------------------------------------------------------------------------------------------------


def blur_path(image: Tensor, alpha: float, sigma: float) -> tuple[Tensor, Tensor]:
    """γ(α) and ∂γ/∂α of an image (C, H, W), which is mirrored at its borders."""
    width = sigma * (1 - alpha)
    if width <= 0:
        return image, torch.zeros_like(image)
    radius = math.ceil(3 * sigma)
    at = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.softmax(-at.square() / (2 * width**2), 0)
    # Of the normalized kernel by its width: that of each tap, less what all of them grow together.
    slope = kernel * (at.square() - (kernel * at.square()).sum()) / width**3
    blurred = _filtered(image, kernel, kernel)
    change = _filtered(image, slope, kernel) + _filtered(image, kernel, slope)
    return blurred, -sigma * change


def _filtered(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(C, H, W) filtered along both axes by kernels of odd length."""
    x = image.double()
    for axis, kernel in ((1, rows), (2, columns)):
        radius, size = len(kernel) // 2, x.shape[axis]
        mirror = reflected_index(size, size + radius, x.device)
        around = mirror[torch.arange(-radius, size + radius, device=x.device).abs()]
        shape = (1, 1, -1, 1) if axis == 1 else (1, 1, 1, -1)
        x = F.conv2d(x.index_select(axis, around)[:, None], kernel.to(x.device).reshape(shape))[:, 0]
    return x.to(image.dtype)


def gauss_legendre(count: int) -> tuple[list[float], list[float]]:
    """Nodes and weights on [0, 1] that integrate polynomials of degree 2 count - 1 exactly (Golub and Welsch, 1969)."""
    i = torch.arange(1, count, dtype=torch.float64)
    beside = i / (4 * i.square() - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return ((nodes + 1) / 2).tolist(), vectors[0].square().tolist()


# --- the index ---------------------------------------------------------------------------------------------------


def gini(values: Tensor) -> float:
    """Gini coefficient of numbers of 0 or more: 0 where all are equal, towards 1 where one of them is all."""
    ordered = values.double().flatten().sort().values
    count, total = len(ordered), ordered.sum()
    if total == 0:
        return 0.0
    rank = torch.arange(1, count + 1, dtype=torch.float64, device=ordered.device)
    return float(((2 * rank - count - 1) * ordered).sum() / (count * total))
