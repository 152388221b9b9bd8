"""The `Upscaler` that the package exports: that of the inference core, for PIL images, arrays and lists as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from ..inference.errors import UpscaleError
from ..inference.upscaler import Upscaler as TensorUpscaler
from .arrays import check_tensor, mask_plane, picture_of
from .size import Size
from .upscale import upscale_image

ImageT = TypeVar("ImageT", Tensor, Image.Image, npt.NDArray[Any])
ScalarT = TypeVar("ScalarT", bound=np.generic)

Mask = Image.Image | npt.NDArray[Any] | Tensor
Progress = Callable[[int, int], None]
Cancelled = Callable[[], bool]


class Upscaler(TensorUpscaler):
    __doc__ = TensorUpscaler.__doc__

    @overload
    def __call__(
        self,
        images: Tensor,
        *,
        size: None = None,
        mask: None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Tensor: ...

    @overload
    def __call__(
        self,
        images: Image.Image,
        *,
        size: Size | str | None = None,
        mask: Mask | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Image.Image: ...

    @overload
    def __call__(
        self,
        images: npt.NDArray[ScalarT],
        *,
        size: Size | str | None = None,
        mask: Mask | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> npt.NDArray[ScalarT]: ...

    @overload
    def __call__(
        self,
        images: Sequence[ImageT],
        *,
        size: Size | str | None = None,
        mask: Mask | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[ImageT]: ...

    def __call__(
        self,
        images: Any,
        *,
        size: Size | str | None = None,
        mask: Mask | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Any:
        """Upscale an image, a batch, or a list of images, and return the type that was given.

        Gray, color and transparency go through any model of 1, 3 or 4 channels, except in tensors, which must have
        the channels of the model.

        Args:
            images: one of these, or a list or tuple of them, whose sizes may differ.
                - A PIL image of mode 1, L, LA, P, RGB, RGBA or I;16. Mode, ICC profile and EXIF are kept.
                - A NumPy array (H, W) or (H, W, 1, 3 or 4) of uint8, uint16, or floats in [0, 1].
                - A tensor (C, H, W) or (N, C, H, W) of floats in [0, 1].
            size: of the result, as `upscale_image` takes it; None is the model's scale. Not for tensors.
            mask: where the model's result is wanted (white, 1 or True), elsewhere the image is resampled: a PIL image,
                an array or a tensor (H, W) of any size; one for all images. See `upscale_image`. Not for tensors.
            progress: called with the steps done and the steps known so far, after every batch of tiles.
            cancelled: called before every batch; if it returns True, `Cancelled` is raised. Exceptions that either
                function raises propagate.

        Returns:
            For a PIL image, one of the same mode; for an array, one of the same dtype and number of dimensions; for a
            tensor, float32 in [0, 1] on the CPU, with as many dimensions. For a list, a list of these.

        Raises:
            UpscaleError: mode, shape, dtype or values are not those of an image; the sentence says what to do.
            TypeError: the argument is no image.
            SizeError: the size is not understood, is zero, or is too large.
            OutOfMemoryError: not enough memory for the smallest tile.
            Cancelled: `cancelled` returned True.
        """
        if isinstance(images, (list, tuple)):
            if progress is not None:
                progress = _TotalProgress(progress, sum(self._steps_of(each) for each in images))
            return [self._upscale(each, size, mask, progress, cancelled) for each in images]
        return self._upscale(images, size, mask, progress, cancelled)

    def _upscale(
        self,
        image: Any,
        size: Size | str | None,
        mask: Mask | None,
        progress: Progress | None,
        cancelled: Cancelled | None,
    ) -> Any:
        if isinstance(image, Tensor):
            if size is not None:
                raise UpscaleError("size is for PIL images and arrays; resize the result of a tensor yourself")
            if mask is not None:
                raise UpscaleError("a mask is for PIL images and arrays; blend the result of a tensor yourself")
            check_tensor(image, self.input_channels)
            if image.dim() == 3:
                return super().__call__(image[None], progress=progress, cancelled=cancelled)[0]
            return super().__call__(image, progress=progress, cancelled=cancelled)
        picture, restore = picture_of(image)
        larger = upscale_image(
            picture,
            self,
            size=size,
            mask=None if mask is None else mask_plane(mask),
            progress=progress,
            cancelled=cancelled,
        )
        return restore(larger)

    def _steps_of(self, image: Any) -> int:
        """Estimate the steps of an image: transparency and sizes that need more runs add to them."""
        shape = image.size[::-1] if isinstance(image, Image.Image) else tuple(getattr(image, "shape", ()))
        if isinstance(image, Tensor):
            shape = shape[-2:]
        return self.steps(*shape[:2]) if len(shape) >= 2 and min(shape) > 0 else 0  # others are refused in their turn


class _TotalProgress:
    """Turns the progress of one run of the model after the other into that of all of them."""

    def __init__(self, progress: Progress, expected: int) -> None:
        self._progress, self._expected = progress, expected
        self._before = self._done = self._total = 0  # before: steps of the runs that are finished

    def __call__(self, done: int, total: int) -> None:
        if done <= self._done:
            self._before += self._total
        self._done, self._total = done, total
        done, total = self._before + done, self._before + total
        self._progress(done, max(total, self._expected))
