"""Finished images on their way to the caller: cropped, clamped, copied from the device, checked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .accelerator.transfers import Downloads, Sent


@dataclass(eq=False)
class _Result:
    """A finished image.

    Attributes:
        image: (C', sH, sW), cropped and clamped.
        source: the image it was computed from, kept while it may have to be computed again; else None.
        finite: a flag on the device, True if half precision held the image; None if it is not checked.
        sent: the copies in flight to the host: the flag if there is one, the image unless it stays on the device.
    """

    image: Tensor
    source: Tensor | None = None
    finite: Tensor | None = None
    sent: Sent | None = None


class Results:
    """A queue of finished images.

    Args:
        downloads: copies from an asynchronous device; None elsewhere.
        keep_on_device: leave the images there.
        check_finite: check each image for NaN and inf while it is copied.
    """

    def __init__(self, downloads: Downloads | None, *, keep_on_device: bool, check_finite: bool) -> None:
        self._downloads, self._keep_on_device, self._check_finite = downloads, keep_on_device, check_finite
        self._queue: deque[_Result] = deque()

    def add(self, image: Tensor, source: Tensor, margins: tuple[int, int], *, on_device: bool) -> None:
        """Crop an image in place, clamp it, and start its copy to the host.

        Args:
            image: (C', sH, sW).
            source: (C, H, W), what it was computed from.
            margins: rows and columns to crop at each side.
            on_device: True if the image lies on an asynchronous device.
        """
        finite = torch.isfinite(image).all() if self._check_finite else None
        height, width = image.shape[1:]
        (margin_y, margin_x), image = margins, image.clamp_(0, 1)
        image = image[:, margin_y : height - margin_y, margin_x : width - margin_x]
        result = _Result(image, None if finite is None else source, finite)
        if self._downloads is not None and on_device:
            tensors = [] if finite is None else [finite]
            tensors += [] if self._keep_on_device else [image]
            result.sent = self._downloads.send(*tensors) if tensors else None
        self._queue.append(result)

    def take(self, recompute: Callable[[Tensor], Tensor], in_flight: int = 0) -> Iterator[Tensor]:
        """Yield the oldest images until no more than `in_flight` copies are in flight.

        An image that is not finite is replaced by what `recompute` makes of its source.
        """
        while self._queue and (len(self._queue) > in_flight or self._queue[0].sent is None):
            result = self._queue.popleft()
            image = _arrived(result)
            if image is None:
                assert result.source is not None
                image = recompute(result.source)
            del result  # or its memory would stay while the caller works on the image
            yield image
            del image


def _arrived(result: _Result) -> Tensor | None:
    """Wait for the image; None if it is not finite."""
    image, finite = result.image, result.finite
    if result.sent is not None:
        arrived: list[Tensor] = result.sent.take()
        finite = None if finite is None else arrived.pop(0)
        image = arrived.pop() if arrived else image
    return image if finite is None or finite else None
