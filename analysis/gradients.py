"""Gradients of a network's input, in bounded memory, for any network that can be loaded.

A network is copied with its weights shared, in fp32, so that gradients run down to the image and nowhere else, and
nothing of the caller's model changes. What a pass would keep for its way back is counted on a small image. Where that
is more than there is room for, blocks keep only what goes into them and compute the rest once more on the way back
(Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).
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
"""Bytes that one pass may keep on a CPU, where a larger batch gains nothing."""

PROBE = 64  # pixels: whole windows of every published network

OUTER, INNER = 0, 1
WAYS: tuple[tuple[int, ...], ...] = ((), (OUTER,), (INNER,), (OUTER, INNER))
"""Which blocks compute anew on the way back, the fastest first: 2, 3, 3 and 4 times the work of a forward pass."""


@dataclass
class _Call:
    """What one call of a block kept for its way back on the probe, in bytes; the calls inside of it apart."""

    level: int
    given: int = 0
    own: int = 0
    inside: list[_Call] = field(default_factory=list)

    def kept(self, way: tuple[int, ...]) -> int:
        """The most that is alive at once when the blocks of these levels compute anew."""
        own, anew = self.own, [0]
        for call in self.inside:
            if call.level in way:
                own += call.given
                anew.append(call.kept(way))
            else:
                own += call.kept(way)
        return own + max(anew)


class Differentiable:
    """A model whose output can be differentiated by its input.

    Args:
        model: an image model as `load_model` or spandrel gives it; it is left alone.
        device: as of an Upscaler.
        budget: bytes that one pass may keep; None takes half of what is free, on a CPU at most `LARGEST_BUDGET`.
        cancelled: asked in every block; when it returns True, `Cancelled` is raised. What it raises goes through.
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
            self._network = _twin(model.model).to(self.device).eval()
        self._budget = budget
        self._way: tuple[int, ...] = ()
        self._counting: list[_Call] = []
        self._probed: _Call | None = None
        self._anew: bool | None = None
        self._levels = _wrap_blocks(self._network, self._call_block)

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', sH, sW), unclamped; gradients are recorded where they are enabled."""
        height, width = images.shape[2:]
        wide, high = self._descriptor.size_requirements.get_padding(width, height)
        if wide or high:
            images = reflect_to(images.permute(0, 2, 3, 1), height + high, width + wide).permute(0, 3, 1, 2)
        larger = self._descriptor._call_fn(self._network, images)
        return larger[..., : height * self.scale, : width * self.scale]

    def gradient(self, image: Tensor, objective: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) and a function from outputs to one number each -> those numbers (B,) and their gradients."""
        with torch.inference_mode(False), torch.enable_grad():
            x = image.clone().requires_grad_()
            values = objective(self(x))
            (gradient,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), gradient

    def value(self, image: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
        """The numbers alone."""
        with torch.inference_mode(False), torch.no_grad():
            return objective(self(image.clone()))

    def check(self, image: Tensor) -> None:
        """Raise UpscaleError for what the model does not take."""
        if image.dim() != 3 or image.shape[0] != self.input_channels or min(image.shape) < 1:
            raise UpscaleError(
                f"this model takes images of the shape ({self.input_channels}, H, W), not {tuple(image.shape)}"
            )

    # --- memory --------------------------------------------------------------------------------------------------

    def plan(self, height: int, width: int) -> int:
        """Choose how images of this size are differentiated, and return how many of them at once."""
        if self._probed is None:
            self._probed = self._probe()
        share = height * width / PROBE**2
        budget = self._budget
        if budget is None:
            budget = memory.free_bytes(self.device) // 2
            budget = min(budget, LARGEST_BUDGET) if self.device.type == "cpu" else budget
        ways = WAYS if self._levels and self._same_anew() else WAYS[:1]
        kept = {way: max(int(self._probed.kept(way) * share), 1) for way in ways}
        self._way = next((way for way in ways if kept[way] <= budget), ways[-1])
        at_once = max(budget // kept[self._way], 1)
        log.debug("blocks that compute anew: %s; %d images at once", self._way, at_once)
        return at_once

    def _probe(self) -> _Call:
        """What a plain pass keeps. Nothing is kept while it is counted."""
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
            raise AssertionError("a probe has no way back")

        root = _Call(-1)
        self._counting = [root]
        try:
            with self._recording(()), torch.autograd.graph.saved_tensors_hooks(count, never):
                self(self._probe_image().requires_grad_())
        finally:
            self._counting = []
        return root

    def _same_anew(self) -> bool:
        """Whether blocks that compute anew give the same gradient: one that writes to its input does not.

        Known of our networks, measured of others.
        """
        if self._anew is None:
            self._anew = isinstance(self._network, Network) or self._measured_same_anew()
        return self._anew

    def _measured_same_anew(self) -> bool:
        small = self._probe_image()[..., : PROBE // 2, : PROBE // 2]
        gradients = []
        for way in (WAYS[0], WAYS[-1]):
            try:
                with self._recording(way):
                    gradients.append(self.gradient(small, lambda y: y.square().sum((1, 2, 3)))[1])
            except RuntimeError as error:
                log.debug("blocks cannot compute anew: %s", error)
        return len(gradients) == 2 and torch.allclose(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)

    @contextmanager
    def _recording(self, way: tuple[int, ...]) -> Iterator[None]:
        before, self._way = self._way, way
        try:
            with torch.inference_mode(False), torch.enable_grad():
                yield
        finally:
            self._way = before

    def _probe_image(self) -> Tensor:
        with torch.inference_mode(False):
            seed = torch.Generator().manual_seed(0)
            return torch.rand(1, self.input_channels, PROBE, PROBE, generator=seed).to(self.device)

    def _call_block(self, level: int, forward: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if self._counting:
            return _call_with_tensors(partial(self._count, level), forward, arguments, options)
        if level in self._way and torch.is_grad_enabled():
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


def _twin(network: nn.Module) -> nn.Module:
    """A copy whose weights are the same memory where they are fp32, and ask for no gradients.

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
    """Have the blocks of a network called by `call(level, forward, ...)`; the levels that there are.

    Blocks are what stands repeated in a list: two or more of one kind, which have layers of their own.
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
