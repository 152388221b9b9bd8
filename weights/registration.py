"""Join spandrel's registry without importing spandrel.

spandrel imports torchvision, which takes most of a second. Where nobody has imported it yet, a finder waits for
somebody to do so, and registers our architectures right after.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def register_with_spandrel() -> None:
    """Register now if spandrel is loaded, else when it will be. Idempotent."""
    if "spandrel" in sys.modules:
        _register()
    elif not any(isinstance(finder, _WaitForSpandrel) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WaitForSpandrel())


def _register() -> None:
    importlib.import_module(".architectures", __package__)  # registers itself


class _WaitForSpandrel(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "spandrel":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
