"""Compute gradients of a network's output by its input, in bounded memory, for any network that can be loaded.

The network is copied in fp32 with its weights shared, so that only the image gets gradients and the caller's model does
not change. What a forward pass saves for the backward pass is counted on a small image. Over budget, blocks save only
their inputs and are computed again in the backward pass: gradient checkpointing (Chen et al., "Training Deep Nets with
Sublinear Memory Cost", 2016).
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

from ..arch.layers import reflect_to
from ..arch.network import Network
from ..arch.strips import StripPlan, Strips, gather, split_rows
from ..inference import memory
from ..inference.errors import Cancelled, UpscaleError
from ..inference.upscaler import choose_device

log = logging.getLogger(__name__)

LARGEST_BUDGET = 2 * 2**30
"""Bytes that one pass may save on a CPU, where a larger batch is not faster."""

PROBE_SIDE = 64  # pixels: whole windows of every published network

OUTER, INNER = 0, 1
CHECKPOINTED: tuple[tuple[int, ...], ...] = ((), (OUTER,), (INNER,), (OUTER, INNER))
"""Levels of blocks to checkpoint, the fastest first: 2, 3, 3 and 4 times the work of a forward pass."""


@dataclass
class _Call:
    """Bytes that one call of a block saved for the backward pass of the probe, without the calls inside it."""

    level: int
    inputs: int = 0
    own: int = 0
    inside: list[_Call] = field(default_factory=list)

    def saved(self, checkpointed: tuple[int, ...]) -> int:
        """Return the peak when the blocks of these levels are checkpointed."""
        own, recomputed = self.own, [0]
        for call in self.inside:
            if call.level in checkpointed:
                own += call.inputs
                recomputed.append(call.saved(checkpointed))
            else:
                own += call.saved(checkpointed)
        return own + max(recomputed)


class Differentiable:
    """A model whose output can be differentiated by its input.

    Args:
        model: an image model as `load_model` or spandrel returns it; it is not changed.
        device: "auto", or a device as PyTorch names it.
        budget: bytes that one pass may save; None is half of the free memory, on a CPU at most `LARGEST_BUDGET`.
        cancelled: called in every block; if it returns True, `Cancelled` is raised. Its exceptions are passed on.
    """

    def __init__(
        self,
        model: ImageModelDescriptor,
        *,
        device: str | torch.device = "auto",
        budget: int | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.scale, self.input_channels = model.scale, model.input_channels
        self.cancelled = cancelled
        self._descriptor = model
        with torch.inference_mode(False), torch.no_grad():
            self._network = _copy_sharing_weights(model.model).to(self.device).eval()
        self._budget = budget
        self._checkpointed: tuple[int, ...] = ()
        self._counting: list[_Call] = []
        self._probed: _Call | None = None
        self._can_checkpoint: bool | None = None
        self._levels = _wrap_blocks(self._network, self._call_block)

    def __call__(self, images: Tensor) -> Tensor:
        """Upscale (B, C, H, W) to (B, C', sH, sW), unclamped; gradients are recorded if they are enabled."""
        height, width = images.shape[2:]
        wide, high = self._descriptor.size_requirements.get_padding(width, height)
        if wide or high:
            images = reflect_to(images.permute(0, 2, 3, 1), height + high, width + wide).permute(0, 3, 1, 2)
        larger = self._descriptor._call_fn(self._network, images)
        return larger[..., : height * self.scale, : width * self.scale]

    def gradient(self, image: Tensor, objective: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return the values of an objective and their gradients by the images.

        Args:
            image: (B, C, H, W) in [0, 1].
            objective: function from outputs (B, C', sH, sW) to one number each, (B,).

        Returns:
            Values (B,) and gradients (B, C, H, W).
        """
        with torch.inference_mode(False), torch.enable_grad():
            x = image.clone().requires_grad_()
            values = objective(self(x))
            (gradient,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), gradient

    def value(self, image: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the values of an objective (B,) without gradients."""
        with torch.inference_mode(False), torch.no_grad():
            return objective(self(image.clone()))

    def check(self, image: Tensor) -> None:
        """Raise UpscaleError for an image that the model cannot take."""
        if image.dim() != 3 or image.shape[0] != self.input_channels or min(image.shape) < 1:
            raise UpscaleError(
                f"this model takes images of shape ({self.input_channels}, H, W), not {tuple(image.shape)}"
            )

    # --- memory --------------------------------------------------------------------------------------------------

    def plan(self, height: int, width: int) -> int:
        """Choose which blocks to checkpoint for images of this size, and return how many images to process at once."""
        if self._probed is None:
            self._probed = self._probe()
        ratio = height * width / PROBE_SIDE**2
        budget = self._budget
        if budget is None:
            budget = memory.free_bytes(self.device) // 2
            budget = min(budget, LARGEST_BUDGET) if self.device.type == "cpu" else budget
        choices = CHECKPOINTED if self._levels and self._checkpointing_works() else CHECKPOINTED[:1]
        saved = {levels: max(int(self._probed.saved(levels) * ratio), 1) for levels in choices}
        self._checkpointed = next((levels for levels in choices if saved[levels] <= budget), choices[-1])
        at_once = max(budget // saved[self._checkpointed], 1)
        log.debug("checkpointed levels: %s; %d images at once", self._checkpointed, at_once)
        return at_once

    def _probe(self) -> _Call:
        """Count what a pass without checkpointing saves. Nothing is saved while counting."""
        seen: dict[int, StorageWeakRef] = {}
        weights = {p.untyped_storage().data_ptr() for p in self._network.parameters()}

        def count(tensor: Tensor) -> None:
            storage = tensor.untyped_storage()
            known = seen.get(storage.data_ptr())
            if storage.data_ptr() in weights or (known is not None and not known.expired()):
                return
            seen[storage.data_ptr()] = StorageWeakRef(storage)
            self._counting[-1].own += storage.nbytes()

        def never(_: None) -> Tensor:
            raise AssertionError("the probe has no backward pass")

        root = _Call(-1)
        self._counting = [root]
        try:
            with self._recording(()), torch.autograd.graph.saved_tensors_hooks(count, never):
                self(self._probe_image().requires_grad_())
        finally:
            self._counting = []
        return root

    def _checkpointing_works(self) -> bool:
        """Return True if checkpointed blocks yield the same gradient; one that writes to its input does not.

        This is known for our networks and measured for others.
        """
        if self._can_checkpoint is None:
            self._can_checkpoint = isinstance(self._network, Network) or self._measure_checkpointing()
        return self._can_checkpoint

    def _measure_checkpointing(self) -> bool:
        small = self._probe_image()[..., : PROBE_SIDE // 2, : PROBE_SIDE // 2]
        gradients = []
        for levels in (CHECKPOINTED[0], CHECKPOINTED[-1]):
            try:
                with self._recording(levels):
                    gradients.append(self.gradient(small, lambda y: y.square().sum((1, 2, 3)))[1])
            except RuntimeError as error:
                log.debug("blocks cannot be checkpointed: %s", error)
        return len(gradients) == 2 and torch.allclose(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)

    @contextmanager
    def _recording(self, checkpointed: tuple[int, ...]) -> Iterator[None]:
        before, self._checkpointed = self._checkpointed, checkpointed
        try:
            with torch.inference_mode(False), torch.enable_grad():
                yield
        finally:
            self._checkpointed = before

    def _probe_image(self) -> Tensor:
        with torch.inference_mode(False):
            seed = torch.Generator().manual_seed(0)
            return torch.rand(1, self.input_channels, PROBE_SIDE, PROBE_SIDE, generator=seed).to(self.device)

    def _call_block(self, level: int, forward: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if self._counting:
            return _call_with_tensors(partial(self._count, level), forward, arguments, options)
        if level in self._checkpointed and torch.is_grad_enabled():
            return _call_with_tensors(self._compute_anew, forward, arguments, options)
        self._check_cancelled()
        return forward(*arguments, **options)

    def _count(self, level: int, run: Callable[..., Any], *arguments: Any) -> Any:
        self._check_cancelled()
        call = _Call(level, sum(a.nbytes for a in arguments if isinstance(a, Tensor)))
        self._counting[-1].inside.append(call)
        self._counting.append(call)
        try:
            return run(*arguments)
        finally:
            self._counting.pop()

    def _compute_anew(self, run: Callable[..., Any], *arguments: Any) -> Any:
        self._check_cancelled()
        return checkpoint(run, *arguments, use_reentrant=False, preserve_rng_state=False)

    def _check_cancelled(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("the measurement was cancelled")


# --- a copy of a network, and its blocks -------------------------------------------------------------------------


def _copy_sharing_weights(network: nn.Module) -> nn.Module:
    """Copy a network in fp32; weights that are fp32 already are shared. None requires gradients.

    A weight made in inference mode is copied: gradients cannot be recorded through it.
    """
    memo: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        shared = tensor.detach()
        if shared.is_floating_point():
            shared = shared.float()
        if shared.is_inference():
            shared = shared.clone()
        is_weight = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(shared, requires_grad=False) if is_weight else shared
    return copy.deepcopy(network, memo)


def _wrap_blocks(network: nn.Module, call: Callable[..., Any]) -> set[int]:
    """Route the calls of a network's blocks through `call(level, forward, ...)`; return the levels that exist.

    Blocks are modules that are repeated in a list: two or more of one class, which have layers of their own.
    """
    blocks: list[tuple[str, nn.Module]] = []
    for prefix, group in network.named_modules():
        if isinstance(group, (nn.ModuleList, nn.Sequential)):
            kinds = Counter(type(child) for child in group if any(True for _ in child.children()))
            blocks += [(f"{prefix}.{name}", each) for name, each in group.named_children() if kinds[type(each)] > 1]
    names = [name for name, _ in blocks]
    levels = set()
    for name, block in blocks:
        level = INNER if any(name.startswith(f"{other}.") for other in names) else OUTER
        levels.add(level)
        block.forward = _bound(call, level, block.forward)
    return levels


def _bound(call: Callable[..., Any], level: int, forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: call(level, forward, *arguments, **options)


def _call_with_tensors(
    call: Callable[..., Any], forward: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Have `forward` called by `call(run, *tensors)`, with tensors of whole images for strips.

    Strips return strips of the same height, and are computed when these are read, as strips always are.
    """
    readers = [a.map(lambda strip: strip) if isinstance(a, Strips) else a for a in arguments]
    returns_strips = False

    def run(*tensors: Any) -> Any:
        nonlocal returns_strips
        given = (_one_strip(t) if isinstance(a, Strips) else t for a, t in zip(arguments, tensors, strict=True))
        result = forward(*given, **options)
        returns_strips = isinstance(result, Strips)
        return gather(result, StripPlan()) if isinstance(result, Strips) else result

    def compute() -> Any:
        return call(run, *(gather(a, StripPlan()) if isinstance(a, Strips) else a for a in readers))

    heights = [a.height for a in arguments if isinstance(a, Strips)]
    if heights:
        return Strips(heights[0], (compute() for _ in range(1)))
    result = compute()
    return _one_strip(result) if returns_strips else result


def _one_strip(features: Tensor) -> Strips:
    return split_rows(features, [0, features.shape[1]])
