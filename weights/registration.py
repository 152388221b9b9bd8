"""Make our networks known to spandrel as soon as a program that imports this package uses spandrel.

Other programs (ComfyUI's own loader nodes, chaiNNer) load models through spandrel's registry. `import supertile` is
enough for them to open VapSR and HiT-SR too, and to get our network for HAT files. But importing spandrel, and
torchvision with it, takes most of a second, which `supertile --help` and a host that starts with many plugins should
not pay. So if spandrel is not imported yet, a hook on `sys.meta_path` waits for its import, registers our families
right after it, and removes itself.
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
    """Finds nothing itself; extends the loading of spandrel by our registration."""

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
