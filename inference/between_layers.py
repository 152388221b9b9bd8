"""Do something between the layers of a network that is not ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from ..arch.network import Network
from ..arch.other_families import is_one_layer

MOST_HOOKS = 64
"""Layers that are hooked, spread over the network: adding hooks takes a microsecond each, for each batch."""


@contextmanager
def between_layers(model: nn.Module, hook: Callable[[], None]) -> Iterator[None]:
    """Call `hook` before some layers that this thread computes while the context lasts; its errors go through.

    Our own networks have `between_steps` for that and are left alone.
    """
    thread = threading.get_ident()

    def call(*_: object) -> None:
        if threading.get_ident() == thread:
            hook()

    layers = [] if isinstance(model, Network) else [*dict.fromkeys(_layers_in(model))]
    handles = [each.register_forward_pre_hook(call) for each in layers[:: len(layers) // MOST_HOOKS + 1]]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers_in(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        yield child
        if not is_one_layer(child):
            yield from _layers_in(child)
