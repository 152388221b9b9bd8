"""A model on its device in its precision: batches of tiles and whole images through it.

Which images they belong to, and what becomes of the results, is up to stream.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from ..arch.network import Network
from ..arch.strips import StripPlan, between_steps
from . import memory
from . import precision as precisions
from .accelerator import cuda
from .accelerator.passes import Passes
from .accelerator.transfers import Downloads, InOrder
from .allocator import within
from .between_layers import between_layers
from .cores import CORES
from .dihedral import DIHEDRAL_GROUP, IDENTITY
from .errors import UpscaleError, is_out_of_memory
from .tiling import TilePlan

log = logging.getLogger(__name__)

KEPT_BYTES = 1 << 30
"""Give freed memory back between the layers of spandrel's networks once the process has grown by this much. At half of
it, ESRGAN x4 did so 27 times instead of 2 for an image of 384x256, and took a tenth longer."""


class Engine:
    """Computes with a model in the chosen precision, and in fp32 on request.

    Args:
        original: the model as the caller gave it.
        network: the model in `dtype` on `device`.
        device, dtype: where, and in which precision, it computes.
        self_ensemble, compile, threads: as `Upscaler` takes them.

    Attributes:
        scale, input_channels, output_channels: those of the model.
        may_overflow: True if outputs may contain NaN or inf where those in fp32 would not.
        passes: the ways of a batch of tiles through the network.
        pace: called after each batch; on CUDA it waits while too many batches are in flight.
    """

    def __init__(
        self,
        original: ImageModelDescriptor,
        network: ImageModelDescriptor,
        device: torch.device,
        dtype: torch.dtype,
        *,
        self_ensemble: bool,
        compile: str,
        threads: int | None,
    ) -> None:
        self.device, self.dtype = device, dtype
        self.scale, self.input_channels = original.scale, original.input_channels
        self.output_channels = original.output_channels
        self.may_overflow = dtype != torch.float32
        self._original, self._network = original, network
        self._transforms = DIHEDRAL_GROUP if self_ensemble else (IDENTITY,)
        self._fp32: ImageModelDescriptor | None = None
        self._half_fails = self._overflowed = False
        self.passes = Passes(network, compile, device)
        self._threads = threads
        self._check_memory = _memory_check() if device.type == "cpu" else _nothing
        self.pace: Callable[[], None] = cuda.Pace(device) if device.type == "cuda" else _nothing

    @contextmanager
    def cores(self) -> Iterator[None]:
        """Compute in this context with the threads that are right, see `Cores.shared`; other devices need none.

        A pass may take minutes, so the number of threads is decided anew within it. Between their layers,
        spandrel's networks give freed memory back, see `KEPT_BYTES`.
        """
        if self.device.type != "cpu":
            yield
            return
        model, check = self._network.model, self._check_memory
        with CORES.shared(self._threads) as adapt, between_steps(adapt), between_layers(model, adapt, check):
            yield

    def compute(self, batch: Tensor, coming: int = 0, *, fp32: bool = False) -> Tensor:
        """Upscale a batch of tiles.

        Args:
            batch: (N, C, h, w) fp32 on the device.
            coming: how many more batches like this one are known, see `Passes`.
            fp32: compute in fp32 whatever the precision.

        Returns:
            (N, C', sh, sw) fp32 on the device.
        """
        if fp32 or self._half_fails:
            run: Callable[[Tensor], Tensor] = self._run_fp32
        else:
            run = partial(self._run, coming=coming)
        if len(self._transforms) == 1:
            return run(batch)
        total: Tensor | None = None
        for transform in self._transforms:
            output = transform.invert(run(transform.apply(batch)))
            total = output.clone() if total is None else total.add_(output)
        assert total is not None
        return total.div_(len(self._transforms))

    def _run(self, batch: Tensor, coming: int) -> Tensor:
        """Compute in the chosen precision, or in fp32 where spandrel's code of a network fails in half precision."""
        try:
            return self.passes(batch, coming=coming)
        except Exception as error:
            half = self.dtype != torch.float32
            if not half or is_out_of_memory(error) or precisions.is_ours(self._network.model):
                raise
            output = self._run_fp32(batch)
            precisions.warn_of_fp32(self._original, self.dtype, precisions.short_reason(error))
            self._half_fails = True
            return output

    def _run_fp32(self, batch: Tensor) -> Tensor:
        return precisions.run(self._fp32_network(), batch)

    def no_numbers(self) -> UpscaleError:
        """Return the error of a network whose output in fp32 is not finite."""
        name = self._original.architecture.name
        return UpscaleError(
            f"this {name} network returns no numbers (NaN or infinity) for the image; get another copy of its file"
        )

    def warn_of_overflow(self) -> None:
        """Say once that an output in half precision is not finite."""
        if not self._overflowed:
            self._overflowed = True
            name = str(self.dtype).removeprefix("torch.")
            log.warning("The model's output in %s is not finite; such batches are computed in fp32.", name)

    def fill(
        self,
        batch: Tensor,
        results: list[Tensor],
        plan: TilePlan,
        tick: Callable[[float], None],
        *,
        fp32: bool = False,
        check: bool = False,
        downloads: Downloads | None = None,
    ) -> bool:
        """Upscale whole images, a strip at a time.

        Args:
            batch: (N, C, h, w) fp32 on the device.
            results: N tensors (C', sh, sw) on any device, which are filled.
            plan: the plan of these images, with their strips.
            tick: called before every strip with the share of the work that is done, in [0, 1]. Exceptions propagate.
            fp32: compute in fp32 whatever the precision.
            check: stop at a strip that contains NaN or inf.
            downloads: bring strips to the CPU through these, each while the next is computed.

        Returns:
            False if `check` has stopped it.
        """
        network = (self._fp32_network() if fp32 and self.may_overflow else self._network).model
        assert isinstance(network, Network)
        work = sum(network.work(batch.shape[3 if each.transpose else 2]) for each in self._transforms)
        done = 0

        def report(rows: int) -> None:
            nonlocal done
            tick(done / work)
            self.pace()
            done += rows

        with InOrder(downloads) as in_order:
            for transform in self._transforms:
                image = transform.apply(batch)
                rows = plan.transposed_strip_rows if transform.transpose else plan.strip_rows
                height, start = image.shape[2] * self.scale, 0
                store = _copy if transform is self._transforms[0] else _add
                for strip in self._strips_within_memory(network, image, StripPlan(rows, report)):
                    if check and not precisions.all_finite(strip):
                        return False
                    place = transform.source_slices(start, strip.shape[1], height)
                    in_order.send(transform.invert(strip.permute(0, 3, 1, 2)), partial(store, results, place))
                    start += strip.shape[1]
                    del strip
        if len(self._transforms) > 1:
            for result in results:
                result.div_(len(self._transforms))
        return True

    def free_memory(self) -> None:
        """Give back the memory that is only kept to be faster, after an out-of-memory error."""
        self.passes.drop()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _fp32_network(self) -> ImageModelDescriptor:
        if self._fp32 is None:
            self._fp32 = precisions.cast(self._original, torch.float32, self.device)
        return self._fp32

    def _strips_within_memory(self, model: Network, image: Tensor, plan: StripPlan) -> Iterator[Tensor]:
        """Yield the strips of an image; on a CPU, return freed memory to the system when more than planned is held."""
        height, width = image.shape[2:]
        planned = memory.whole_bytes(model, height, width, self.device, self.dtype, plan.rows) * len(image)
        if self.device.type != "cpu" or planned < memory.SMALL:
            yield from model.strips(image, plan)
            return
        check = within(planned)
        strips = iter(model.strips(image, plan))
        while True:
            with between_steps(check):
                strip = next(strips, None)
            if strip is None:
                return
            yield strip
            del strip


@cache
def _memory_check() -> Callable[[], None]:
    """Return the one check of all engines, so that what earlier ones left behind counts as well."""
    return within(KEPT_BYTES)


def _nothing() -> None:
    pass


def _copy(results: list[Tensor], place: tuple[slice, ...], strips: Tensor) -> None:
    for result, strip in zip(results, strips, strict=True):
        result[place].copy_(strip)


def _add(results: list[Tensor], place: tuple[slice, ...], strips: Tensor) -> None:
    for result, strip in zip(results, strips, strict=True):
        result[place].add_(strip.to(result.device))
