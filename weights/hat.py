"""Recognize HAT and read its hyper-parameters from shapes; see `arch.hat` for what they mean."""

from __future__ import annotations

from ..arch.hat import HAT
from ..arch.hat_config import HATConfig
from ..arch.network import Network
from .errors import UnknownArchitectureError, WrongTensorsError
from .shapes import KnownArguments, ShapeMap, exact_root, length, pixel_shuffle_scale, shape

NAME = "HAT"
NETWORK: type[Network] = HAT
SIGNATURE: tuple[str, ...] = (
    ".overlap_attn.",
    ".conv_block.cab.",
    ".attn.relative_position_bias_table",
    "conv_before_upsample.0.weight",
)
OPTIONS: frozenset[str] = frozenset({"mean"})
IN_SPANDREL = True
SUPPORTS_HALF = False


def detect(shapes: ShapeMap) -> bool:
    """Overlapping cross-attention beside a channel attention block: both, or it is another of Swin's descendants."""
    return any(".overlap_attn." in name for name in shapes) and any(".conv_block.cab." in name for name in shapes)


def read_config(shapes: ShapeMap, known: KnownArguments) -> HATConfig:
    """Return the hyper-parameters.

    Raises:
        WrongTensorsError: the file is incomplete or inconsistent.
        UnknownArchitectureError: a relative of HAT that computes something else.
    """
    if "absolute_pos_embed" in shapes:
        raise UnknownArchitectureError(
            None, "it is a HAT with an absolute position embedding, which works for one size of image only"
        )
    arguments = known.arguments
    if "conv_scale" in arguments and "window_size" in arguments and "img_range" not in arguments:
        # traiNNer-redux's HAT_iLN has exactly HAT's tensors but normalizes over the whole image; among the
        # constructor arguments in its header the range is missing.
        raise UnknownArchitectureError(
            None, "it is HAT-iLN, which has the tensors of HAT but computes something else and is not supported"
        )

    embed_dim, in_channels, _, _ = shape(shapes, "conv_first.weight", 4)
    out_channels, num_feat, _, _ = shape(shapes, "conv_last.weight", 4)
    if out_channels != in_channels:
        raise WrongTensorsError(None, f"it takes {in_channels} channels and gives {out_channels}, which no HAT does")
    groups = [f"layers.{i}.residual_group" for i in range(length(shapes, "layers"))]
    if not groups:
        raise WrongTensorsError(None, "the tensors of its first layer are missing; download it again")
    block = f"{groups[0]}.blocks.0"
    rows, _ = shape(shapes, f"{block}.attn.relative_position_bias_table", 2)
    window = (exact_root(rows, "rows in its table of position biases") + 1) // 2
    rows, _ = shape(shapes, f"{groups[0]}.overlap_attn.relative_position_bias_table", 2)
    overlap_window = exact_root(rows, "rows in its table of overlapping position biases") + 1 - window
    qk_scale = known.number("qk_scale", 0.0)
    try:
        return HATConfig(
            scale=pixel_shuffle_scale(shapes, "upsample"),
            in_channels=in_channels,
            embed_dim=embed_dim,
            depths=tuple(length(shapes, f"{group}.blocks") for group in groups),
            num_heads=tuple(
                shape(shapes, f"{group}.overlap_attn.relative_position_bias_table", 2)[1] for group in groups
            ),
            window_size=window,
            overlap_window=overlap_window,
            compress_dim=shape(shapes, f"{block}.conv_block.cab.0.weight", 4)[0],
            squeeze_dim=shape(shapes, f"{block}.conv_block.cab.3.attention.1.weight", 4)[0],
            mlp_dim=shape(shapes, f"{block}.mlp.fc1.weight", 2)[0],
            oca_mlp_dim=shape(shapes, f"{groups[0]}.overlap_attn.mlp.fc1.weight", 2)[0],
            num_feat=num_feat,
            qkv_bias=f"{block}.attn.qkv.bias" in shapes,
            patch_norm="patch_embed.norm.weight" in shapes,
            resi_connection="1conv" if "conv_after_body.weight" in shapes else "identity",
            conv_scale=known.number("conv_scale", 0.01),
            qk_scale=qk_scale or None,
            img_range=known.number("img_range", 1.0),
            mean=known.mean or known.numbers("mean"),
            # The authors switch the shift off when their training size is not larger than a window.
            shifted=known.number("img_size", 64) > window,
        )
    except ValueError as error:
        raise WrongTensorsError(None, f"it is a HAT network, but its parts do not fit each other ({error})") from error


def not_inferable(config: HATConfig) -> tuple[str, ...]:
    return "mean", "img_range", "conv_scale", "qk_scale"


def build(config: HATConfig) -> HAT:
    return HAT(config)


def variant(config: HATConfig) -> str:
    """Return the published name of these hyper-parameters, or a description."""
    regular = config.window_size == 16 and set(config.depths) == {6} and config.resi_connection == "1conv"
    names = {(144, 6): "HAT-S", (180, 6): "HAT", (180, 12): "HAT-L"}
    if regular and (name := names.get((config.embed_dim, len(config.depths)))):
        return name
    return f"HAT ({config.embed_dim} channels, {sum(config.depths)} blocks, window {config.window_size})"


def header_metadata(config: HATConfig) -> dict[str, object]:
    """Return what has to be written beside the weights, because shapes do not show it."""
    return {
        "conv_scale": config.conv_scale,
        "qk_scale": config.qk_scale,
        "img_range": config.img_range,
        "mean": config.mean,
        "img_size": 64 if config.shifted else config.window_size,
    }
