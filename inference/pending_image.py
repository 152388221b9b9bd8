"""An image that is being computed: its plan, and the result that its tiles join."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .tiling import TilePlan


@dataclass(eq=False)
class PendingImage:
    """An image some of whose tiles are missing.

    Attributes:
        source: (C, H, W) on the device.
        padded: `source`, mirrored to the size that the plan asks for.
        plan: its tiles, or its strips if it is computed whole.
        result: (C', sH, sW), zeros at first.
        on_device: True if the result lies on an asynchronous device.
        steps: the steps of progress that it counts.
        needed: the tiles that are computed, in the order of the plan.
        missing: how many of its tiles have not been computed.
    """

    source: Tensor
    padded: Tensor
    plan: TilePlan
    result: Tensor
    on_device: bool
    steps: int
    needed: Sequence[tuple[int, int]]
    missing: int = field(init=False)
    _unjoined: deque[tuple[int, int]] = field(init=False)
    _outputs: dict[tuple[int, int], Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.missing = len(self.needed)
        self._unjoined = deque(self.needed)

    def join(self, at: tuple[int, int], output: Tensor, scale: int) -> None:
        """Join a tile's output, and those that have waited for it.

        Tiles join in the order of the plan, so that sums round alike whichever of them is computed first. The output of
        an image that is computed in strips is its result, already filled.
        """
        self.missing -= 1
        if output is self.result:
            return
        self._outputs[at] = output
        while self._unjoined and self._unjoined[0] in self._outputs:
            at = self._unjoined.popleft()
            self.plan.join(self.result, self._outputs.pop(at), *at, scale)
