"""Call functions between the layers of a network that is not ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from ..arch.network import Network
from ..arch.other_families import is_one_layer

MOST_HOOKS = 64
"""Layers that are hooked: adding hooks takes a microsecond each, for each batch."""


@contextmanager
def between_layers(model: nn.Module, *hooks: Callable[[], None]) -> Iterator[None]:
    """Call `hooks` before some layers that this thread computes while the context lasts; their errors go through.

    The outermost layers, which are the stages of a network, are taken first, then evenly spread ones within them. Our
    own networks have `between_steps` for that and are left alone.
    """
    thread = threading.get_ident()

    def call(*_: object) -> None:
        if threading.get_ident() == thread:
            for hook in hooks:
                hook()

    layers = [] if isinstance(model, Network) else _outermost(model)
    handles = [each.register_forward_pre_hook(call) for each in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _outermost(model: nn.Module) -> list[nn.Module]:
    chosen: dict[nn.Module, None] = {}
    level = [*model.children()]
    while level and (left := MOST_HOOKS - len(chosen)):
        chosen |= dict.fromkeys(level[:: -(-len(level) // left)])
        level = [child for each in level if not is_one_layer(each) for child in each.children()]
    return [*chosen]
