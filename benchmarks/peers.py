"""What a user could run instead: the authors' own code, from a checkout whose path is given, and spandrel's networks.

Nothing of the authors' code is part of this project. Their files are loaded one by one; the training framework that
they import is not needed to run a network, so a few names of it are supplied here.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path

from torch import nn


class _Registry:
    def register(self) -> Callable[[type], type]:
        return lambda cls: cls


def _supply_imports() -> None:
    """The names that the authors' files import from basicsr and from older versions of timm."""
    import timm.layers

    def module(name: str, **names: object) -> None:
        if name not in sys.modules:
            made = types.ModuleType(name)
            made.__dict__.update(names)
            sys.modules[name] = made

    module("basicsr")
    module("basicsr.utils")
    module("basicsr.utils.registry", ARCH_REGISTRY=_Registry())
    module("basicsr.archs")
    module(
        "basicsr.archs.arch_util",
        to_2tuple=timm.layers.to_2tuple,
        trunc_normal_=timm.layers.trunc_normal_,
        default_init_weights=lambda *args, **kwargs: None,
    )
    module("timm.models.layers", **{n: getattr(timm.layers, n) for n in ("DropPath", "to_2tuple", "trunc_normal_")})
    sys.modules["timm.models.layers"].__dict__.setdefault("_assert", lambda condition, message: None)
    module("timm.models.fx_features", register_notrace_function=lambda f: f)


def official(file: Path, name: str) -> Callable[..., nn.Module]:
    """The class `name` from a file of the authors' repository. Needs the package timm."""
    if not file.is_file():
        raise SystemExit(f"{file} is missing: give the path of a checkout of the authors' repository")
    _supply_imports()
    spec = importlib.util.spec_from_file_location(f"official_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return getattr(loaded, name)


def official_hat(checkout: Path) -> Callable[..., nn.Module]:
    return official(checkout / "hat" / "archs" / "hat_arch.py", "HAT")


def official_vapsr(checkout: Path) -> Callable[..., nn.Module]:
    return official(checkout / "code" / "vapsr.py", "vapsr")


def official_hitsr(checkout: Path, variant: str) -> Callable[..., nn.Module]:
    return official(checkout / "basicsr" / "archs" / f"hit_{variant.lower()}_arch.py", f"HiT_{variant}")
