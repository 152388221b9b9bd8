"""Pass the warnings about image files on as sentences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import ImageFileWarning


@contextmanager
def warned(tell: Callable[[str], None]) -> Iterator[None]:
    """Within the block, call `tell` once with each sentence of an ImageFileWarning, also from other threads.

    Other warnings are shown as before.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", ImageFileWarning)
        told: set[str] = set()
        show_others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
            sentence = str(message)
            if not issubclass(category, ImageFileWarning):
                show_others(message, category, *where, **options)
            elif sentence not in told:
                told.add(sentence)
                tell(sentence)

        warnings.showwarning = show
        yield
