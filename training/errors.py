"""What can be wrong with a training."""

from __future__ import annotations


class TrainingError(Exception):
    """A training that cannot start or go on. `str()` is one sentence: what is wrong and what to do."""
