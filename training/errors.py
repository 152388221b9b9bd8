"""Errors of a training."""

from __future__ import annotations

from ..errors import SupertileError


class TrainingError(SupertileError):
    """A training that cannot start or go on. `str()` is one sentence: what is wrong and what to do."""
