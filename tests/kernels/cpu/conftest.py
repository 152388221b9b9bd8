from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor


@pytest.fixture
def with_threads() -> Callable[[Callable[[], Tensor]], list[Tensor]]:
    """Computes something with one thread, two and three."""

    def results(compute: Callable[[], Tensor]) -> list[Tensor]:
        before, found = torch.get_num_threads(), []
        try:
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                found.append(compute())
        finally:
            torch.set_num_threads(before)
        return found

    return results
