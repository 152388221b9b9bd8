"""Describe what decides an upscaler's results, so that an interrupted job is continued only with the same."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_hash(network: nn.Module) -> str:
    """Return the SHA-256, in hexadecimal, of a network's class, its configuration, and the bits of its weights."""
    digest = hashlib.sha256(type(network).__name__.encode())
    digest.update(repr(getattr(network, "config", None)).encode())  # the mean and others that no weight shows
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
