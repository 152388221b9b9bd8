"""The compiled layer normalization against PyTorch's in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from supertile.kernels.cpu import layer_norm as kernel
from torch import Tensor

needs_kernel = pytest.mark.skipif(not kernel.can_run(torch.zeros(1)), reason="no kernel can be compiled here")


@needs_kernel
@pytest.mark.parametrize("channels", [1, 7, 16, 33, 48, 60, 144, 180, 400])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sums", ["", "before", "after", "both"])
def test_kernel_computes_the_formula(channels: int, dtype: torch.dtype, sums: str) -> None:
    torch.manual_seed(0)
    x, before, after = (5 + 3 * torch.randn(2, 5, 3, channels) for _ in range(3))
    x = x.to(dtype)
    weight, bias = torch.randn(2, channels)
    given = {
        "add_before": before if sums in ("before", "both") else None,
        "add_after": after if sums in ("after", "both") else None,
    }
    y = kernel.layer_norm(x, weight, bias, 1e-5, dtype=dtype, **given)
    z = x.double() if given["add_before"] is None else x.double() + before
    expected = F.layer_norm(z, (channels,), weight.double(), bias.double(), 1e-5)
    if given["add_after"] is not None:
        expected = expected + after
    assert y.dtype == dtype
    assert ((y - expected).abs() / (1 + expected.abs())).max() < (1e-5 if dtype == torch.float32 else 2**-8)


@needs_kernel
def test_large_means_cost_no_digits() -> None:
    """The variance comes from differences to the mean, not from squares."""
    x = 1e4 + torch.randn(3, 5, 60, generator=torch.Generator().manual_seed(0))
    y = kernel.layer_norm(x, torch.ones(60), torch.zeros(60), 1e-5)
    expected = F.layer_norm(x.double(), (60,), eps=1e-5)
    assert (y - expected).abs().max() < 5e-3  # x itself is known to 1e-3


@needs_kernel
def test_views_are_read_as_what_they_show() -> None:
    x: Tensor = torch.randn(2, 6, 4, 20)
    weight, bias = torch.ones(20), torch.zeros(20)
    rows = x[:, 1:3]
    y = kernel.layer_norm(rows, weight, bias, 1e-5, add_before=x[:, 3:5])
    assert torch.equal(y, kernel.layer_norm(rows.clone(), weight, bias, 1e-5, add_before=x[:, 3:5].clone()))


@needs_kernel
def test_kernel_is_not_offered_what_it_cannot_take() -> None:
    x = torch.zeros(2, 3)
    assert not kernel.can_run(x.half())
    assert not kernel.can_run(x, dtype=torch.float64)
    assert not kernel.can_run(x, x.requires_grad_())
    assert not kernel.can_run(torch.zeros(1, 5000))
