"""The authors' own implementations, from a checkout whose path is given.

None of the authors' code is part of this project. Their files are loaded one by one. They import a training framework
that is not needed to run a network, so stand-ins for its names are supplied here.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from .errors import BenchError, CheckoutError


class _Registry:
    def register(self) -> Callable[[type], type]:
        return lambda cls: cls


def _supply_imports() -> None:
    """Supply the names that the authors' files import from basicsr and from older versions of timm."""
    try:
        import timm.layers
    except ImportError:
        raise BenchError("the authors' code needs the package timm: pip install timm") from None

    def module(name: str, **names: object) -> None:
        if name not in sys.modules:
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__dict__.update(names)

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


def official(family: str, checkout: Path, config: Any) -> nn.Module:
    """Return the authors' network with our hyper-parameters.

    Their ratios are computed from our widths; those of all published networks are whole numbers.

    Raises:
        BenchError: their file or the package timm is missing.
    """
    file, name = source(family, checkout, getattr(config, "variant", ""))
    if family == "HAT":
        return _class(file, name)(
            img_size=64, in_chans=config.in_channels, embed_dim=config.embed_dim, depths=config.depths,
            num_heads=config.num_heads, window_size=config.window_size,
            compress_ratio=config.embed_dim // config.compress_dim,
            squeeze_factor=config.embed_dim // config.squeeze_dim,
            overlap_ratio=config.overlap_window / config.window_size - 1, mlp_ratio=config.mlp_dim / config.embed_dim,
            conv_scale=config.conv_scale, upscale=config.scale, img_range=config.img_range, upsampler="pixelshuffle",
            resi_connection=config.resi_connection,
        )  # fmt: skip
    if family == "VapSR":
        return _class(file, name)(
            num_in_ch=config.in_channels, num_out_ch=config.out_channels, scale=config.scale,
            num_feat=config.num_feat, num_block=config.num_blocks, d_atten=config.attention_dim,
            conv_groups=config.conv_groups,
        )  # fmt: skip
    return _class(file, name)(
        in_chans=config.in_channels, embed_dim=config.embed_dim, depths=list(config.depths),
        num_heads=list(config.num_heads), base_win_size=list(config.base_window),
        hier_win_ratios=list(config.window_ratios), mlp_ratio=config.mlp_dim / config.embed_dim, upscale=config.scale,
        img_range=config.img_range, upsampler=config.upsampler, resi_connection=config.resi_connection,
    )  # fmt: skip


def source(family: str, checkout: Path, variant: str = "SRF") -> tuple[Path, str]:
    """Return the file with the network in the authors' repository, and the name of its class. Raises CheckoutError."""
    file, name = {
        "HAT": (checkout / "hat" / "archs" / "hat_arch.py", "HAT"),
        "VapSR": (checkout / "code" / "vapsr.py", "vapsr"),
        "HiT-SR": (checkout / "basicsr" / "archs" / f"hit_{variant.lower()}_arch.py", f"HiT_{variant}"),
    }[family]
    if not file.is_file():
        raise CheckoutError(f"{checkout} is not a checkout of the authors' {family}: {file} is missing")
    return file, name


def _class(file: Path, name: str) -> Callable[..., nn.Module]:
    _supply_imports()
    spec = importlib.util.spec_from_file_location(f"official_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return getattr(loaded, name)
