"""Recognize VapSR and read its hyper-parameters from shapes; see `arch.vapsr` for what they mean."""

from __future__ import annotations

from ..arch.network import Network
from ..arch.vapsr import VapSR
from ..arch.vapsr_config import VapSRConfig
from .errors import WrongTensorsError
from .shapes import KnownArguments, ShapeMap, length, shape

NAME = "VapSR"
NETWORK: type[Network] = VapSR
SIGNATURE: tuple[str, ...] = (".atten_branch.", ".pixel_norm.", ".proj_1.weight", "conv_body.weight")
OPTIONS: frozenset[str] = frozenset()
IN_SPANDREL = False
SUPPORTS_HALF = True


def detect(shapes: ShapeMap) -> bool:
    return any(name.endswith(".atten_branch.depthwise_dilated.weight") for name in shapes)


def read_config(shapes: ShapeMap, known: KnownArguments) -> VapSRConfig:
    """Return the hyper-parameters, all of which show in the weights. Raises WrongTensorsError."""
    num_feat, in_channels, _, _ = shape(shapes, "conv_first.weight", 4)
    if "upsampler.3.weight" in shapes:
        scale, out_channels = 4, shape(shapes, "upsampler.3.weight", 4)[0] // 4
    else:
        scale, out_channels = _single_step(shape(shapes, "upsampler.2.weight", 4)[0], in_channels)
    return VapSRConfig(
        scale=scale,
        in_channels=in_channels,
        out_channels=out_channels,
        num_feat=num_feat,
        num_blocks=length(shapes, "body"),
        attention_dim=shape(shapes, "body.0.proj_1.weight", 4)[0],
        conv_groups=max(num_feat // shape(shapes, "conv_body.weight", 4)[1], 1),
    )


def _single_step(channels: int, in_channels: int) -> tuple[int, int]:
    """Return scale and output channels of a head with channels = out scale², preferring as many channels as come in."""
    for out in (in_channels, 3, 1, 4):
        scale = round((channels / out) ** 0.5)
        if out * scale**2 == channels and scale not in (0, 4):
            return scale, out
    raise WrongTensorsError(
        None, f"its last convolution has {channels} channels, which no scale of a {in_channels}-channel image needs"
    )


def not_inferable(config: VapSRConfig) -> tuple[str, ...]:
    return ()


def build(config: VapSRConfig) -> VapSR:
    return VapSR(config)


def variant(config: VapSRConfig) -> str:
    """Return the published name of these hyper-parameters, or a description."""
    size = (config.num_feat, config.num_blocks, config.attention_dim, config.conv_groups)
    if size == (48, 21 if config.scale == 4 else 20, 64, 1):
        return "VapSR"
    if size == (32, 11, 64, 2):
        return "VapSR-S"
    return f"VapSR ({config.num_feat} channels, {config.num_blocks} blocks)"


def header_metadata(config: VapSRConfig) -> dict[str, object]:
    """Return nothing: all hyper-parameters show in the shapes."""
    return {}
