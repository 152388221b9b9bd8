"""The base class of modules that stand in the place of spandrel's."""

from __future__ import annotations

from torch import nn


class Replacement(nn.Module):
    """Computes itself what the modules in it are for; few of them are called."""
