"""The facts and functions by which the checkpoints of a family of networks load.

A fourth network is one file in `arch/` (the network and its hyper-parameters), one in this folder that fulfils
`Family`, and its name in `architectures.FAMILIES`. Recognition, loading, conversion, error messages and spandrel's
registry follow from that.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from ..arch.network import Network
from .shapes import KnownArguments, ShapeMap


class Family(Protocol):
    """A module such as `hat.py`.

    Attributes:
        NAME: the published name.
        NETWORK: the class of the network, which says the rest of what the package has to know of it.
        SIGNATURE: parts of tensor names that are typical of the family, to name the nearest one in an error.
        OPTIONS: which of `mean` and `base_window` mean something to it.
        IN_SPANDREL: spandrel has a class of its own for it, so ours is not registered there.
        SUPPORTS_HALF: its whole network may be cast to float16.
    """

    NAME: str
    NETWORK: type[Network]
    SIGNATURE: tuple[str, ...]
    OPTIONS: frozenset[str]
    IN_SPANDREL: bool
    SUPPORTS_HALF: bool

    def detect(self, shapes: ShapeMap) -> bool:
        """Return True if these are the tensors of such a network; at least nearly, so that errors can be precise."""

    def read_config(self, shapes: ShapeMap, known: KnownArguments) -> Any:
        """Return the hyper-parameters, a data class with at least `scale` and `in_channels`.

        Raises:
            WrongTensorsError: tensors are missing or do not fit each other.
            UnknownArchitectureError: a relative that computes something else.
        """

    def build(self, config: Any) -> nn.Module:
        """Return the network of these hyper-parameters, with weights of no meaning."""

    def variant(self, config: Any) -> str:
        """Return the published name of these hyper-parameters, or a description."""

    def not_inferable(self, config: Any) -> tuple[str, ...]:
        """Return the names of the hyper-parameters that weights do not show."""

    def header_metadata(self, config: Any) -> dict[str, object]:
        """Return what has to be written beside the weights, by the names under which `read_config` finds it."""
