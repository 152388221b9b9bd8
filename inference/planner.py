"""Decide how images are computed: whole in strips or in tiles, how large these are, how many of them at once.

The first answers come from estimates (memory.py). Each time memory runs out, `shrink` makes the next ones smaller.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from spandrel import ImageModelDescriptor, ModelTiling
from torch import Tensor

from . import memory
from . import precision as precisions
from .edges import extended, wrapped
from .errors import OutOfMemoryError, UpscaleError
from .overlap import needed_overlap
from .tiling import Geometry, TilePlan, plan_tiles, smallest_tile

log = logging.getLogger(__name__)

_GFPGAN_SIDE = 512

STEPS_OF_WHOLE_IMAGE = 64
"""Steps of progress of an image that is computed whole but larger than a tile. A tile is one step."""


class Planner:
    """Plans the images of one model on one device.

    Args:
        model: the model as the caller gave it.
        device, dtype: where, and in which precision, it computes.
        tile, overlap, batch, seamless, self_ensemble, edges: as `Upscaler` takes them.
    """

    def __init__(
        self,
        model: ImageModelDescriptor,
        device: torch.device,
        dtype: torch.dtype,
        *,
        tile: int | str | None,
        overlap: int | str,
        batch: int | str,
        seamless: str,
        self_ensemble: bool,
        edges: str = "network",
    ) -> None:
        self._model, self._device, self._dtype = model, device, dtype
        self._in_strips = precisions.is_ours(model.model)
        self._tileable = model.tiling != ModelTiling.INTERNAL and model.purpose != "FaceSR"
        self._mode = "auto" if tile == "auto" else "tiles" if isinstance(tile, int) else "whole"
        if not self._tileable:
            self._mode = "whole"
        self._tile = tile if isinstance(tile, int) else memory.auto_tile(model, device, dtype)
        self._max_strip_rows: int | None = None  # set when memory has run out
        self._batch = batch
        self._auto_batch: tuple[tuple[int, int], int] | None = None  # tile and its batch size, for the last tile only
        self._geometry = _with_overlap(memory.geometry(model), overlap)
        self._overlap_known = overlap != "auto" or self._in_strips
        self._seamless_x, self._seamless_y = seamless in ("x", "both"), seamless in ("y", "both")
        self._self_ensemble = self_ensemble
        self._edge = getattr(model.model, "edge_margin", 0) if edges == "extend" else 0

    def plan(self, height: int, width: int, *, reuse_static: bool = False) -> TilePlan:
        """Return the tiles of an image of this size; one tile is the whole image.

        With `reuse_static`, "auto" means tiles: nothing of a whole image can be reused. Raises UpscaleError for a size
        that the architecture cannot take.
        """
        if self._model.architecture.name == "GFPGAN" and max(height, width) > _GFPGAN_SIDE:
            raise UpscaleError(
                f"GFPGAN networks restore one face of at most {_GFPGAN_SIDE}x{_GFPGAN_SIDE} pixels, and the image has "
                f"{width}x{height}; crop the face, or choose another model."
            )
        whole, strip_rows = self._mode == "whole", None
        if self._mode == "auto" and self._in_strips and not reuse_static:
            strip_rows = self._strip_rows(height, width)
            whole = memory.fits(self._whole_bytes(height, width, strip_rows), self._device)
        if not whole and max(height, width) > self._tile:
            self._measure_overlap()
        plan = plan_tiles(height, width, None if whole else self._tile, self._geometry, slack=2 * self._edge)
        if len(plan) > 1 or not self._in_strips:
            return plan
        return replace(
            plan,
            strip_rows=strip_rows or self._strip_rows(height, width),
            transposed_strip_rows=self._strip_rows(width, height) if self._self_ensemble else None,
        )

    def _strip_rows(self, height: int, width: int) -> int:
        fitting = memory.fitting_rows(self._model.model, height, width, self._device, self._dtype)
        return min(fitting, self._max_strip_rows or fitting)

    def _whole_bytes(self, height: int, width: int, strip_rows: int) -> int:
        return memory.whole_bytes(self._model.model, height, width, self._device, self._dtype, strip_rows)

    def whole_bytes(self, plan: TilePlan) -> int:
        """Return the bytes that an image is expected to take in strips; 0 if it is not computed in strips."""
        return 0 if plan.strip_rows is None else self._whole_bytes(*plan.tile, plan.strip_rows)

    def steps(self, plan: TilePlan) -> int:
        """Return the steps of progress that an image counts."""
        return STEPS_OF_WHOLE_IMAGE if self._larger_than_tile(plan) else len(plan)

    def batch_size(self, plan: TilePlan) -> int:
        """Return how many tiles, or whole images, of this plan's size are computed at once."""
        if isinstance(self._batch, int):
            return self._batch
        if self._larger_than_tile(plan):
            return 1
        if self._auto_batch is None or self._auto_batch[0] != plan.tile:
            self._auto_batch = plan.tile, memory.auto_batch(self._model, self._device, self._dtype, plan.tile)
        return self._auto_batch[1]

    def _larger_than_tile(self, plan: TilePlan) -> bool:
        return plan.strip_rows is not None and max(plan.tile) > self._tile + 2 * self._edge

    @property
    def overlap(self) -> int:
        """The halo at each inner side of a tile, in input pixels."""
        self._measure_overlap()
        return self._geometry.overlap

    @property
    def grid(self) -> int:
        """Origins of tiles are multiples of it, in input pixels."""
        return self._geometry.grid

    def _measure_overlap(self) -> None:
        """Measure the overlap of an unknown architecture once, when the first image needs tiles."""
        if not self._overlap_known:
            self._overlap_known = True
            needed = needed_overlap(self._model)
            multiple = self._geometry.multiple
            self._geometry = _with_overlap(self._geometry, -(-needed // multiple) * multiple)

    def margins(self) -> tuple[int, int]:
        """Return how many rows and columns continue an image at each side.

        Those of the opposite side of a seamless image are the overlap, rounded up to whole windows.
        """
        if not (self._seamless_x or self._seamless_y):
            return self._edge, self._edge
        grid = self._geometry.grid
        margin = -(-max(self.overlap, 1) // grid) * grid
        return margin if self._seamless_y else self._edge, margin if self._seamless_x else self._edge

    def with_margins(self, image: Tensor) -> Tensor:
        """Return an image (C, H, W) that is continued at each side."""
        for dim, (margin, seamless) in enumerate(
            zip(self.margins(), (self._seamless_y, self._seamless_x), strict=True), start=1
        ):
            if margin:
                image = (wrapped if seamless else extended)(image, dim, margin)
        return image

    def shrink(self, plan: TilePlan, batch: int, error: BaseException) -> TilePlan:
        """Halve the batch, else the strips of a whole image, else the tile, after memory has run out.

        Args:
            plan: the plan of the image that did not fit.
            batch: how many of its tiles were computed at once.
            error: the out-of-memory error.

        Returns:
            The plan to go on with. It equals `plan` unless the tile has become smaller.

        Raises:
            OutOfMemoryError: nothing is left to halve.
        """
        if batch > 1:
            self._batch = batch // 2
            log.warning("Out of memory with %d tiles at once; going on with %d.", batch, self._batch)
            return plan
        if plan.strip_rows is not None:
            rows = min(plan.strip_rows, plan.tile[0])
            if rows > memory.LEAST_ROWS:
                return self._with_flatter_strips(plan, rows)
        return self._with_smaller_tiles(plan, error)

    def _with_flatter_strips(self, plan: TilePlan, rows: int) -> TilePlan:
        self._max_strip_rows = max(rows // 2, memory.LEAST_ROWS)
        log.warning("Out of memory with strips of %d rows; going on with %d.", rows, self._max_strip_rows)
        transposed = plan.transposed_strip_rows
        return replace(
            plan,
            strip_rows=self._max_strip_rows,
            transposed_strip_rows=None if transposed is None else min(transposed, self._max_strip_rows),
        )

    def _with_smaller_tiles(self, plan: TilePlan, error: BaseException) -> TilePlan:
        side, smallest = max(plan.tile), smallest_tile(self._geometry)
        if side <= smallest or not self._tileable:
            height, width = plan.tile
            raise OutOfMemoryError(
                f"there is not enough memory on {self._device} for a tile of {width}x{height} pixels; close other "
                "programs, use another device, or choose a smaller model"
            ) from error
        self._tile = max(min(side // 2, self._tile), smallest)
        self._batch, self._max_strip_rows, self._mode = 1, None, "tiles"
        log.warning("Out of memory with a tile of %d pixels; going on with %d.", side, self._tile)
        return self.plan(plan.rows.size, plan.columns.size)


def _with_overlap(geometry: Geometry, overlap: int | str) -> Geometry:
    return geometry if isinstance(overlap, str) else replace(geometry, overlap=overlap)
