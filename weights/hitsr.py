"""Recognize HiT-SR and read its hyper-parameters from shapes; see `arch.hitsr` for what they mean.

The one thing that shapes hide is the window: the position bias comes from an MLP and the spatial correlation always
ends in the base window, so only the ratio of window to base shows (as the size of the patches). HiT-SNG's n-grams have
a kernel of the window's size; for the others the base window comes from a header, a config.json, the user, or the rule
that every known network follows: 8, but 16 and 24 in neosr's networks of 180 channels.
"""

from __future__ import annotations

from ..arch.hitsr import HiTSR
from ..arch.hitsr_config import HiTSRConfig
from ..arch.network import Network
from .errors import WrongTensorsError
from .shapes import KnownArguments, ShapeMap, exact_root, length, pixel_shuffle_scale, shape

NAME = "HiT-SR"
NETWORK: type[Network] = HiTSR
SIGNATURE: tuple[str, ...] = (
    ".correlation.qv.",
    ".correlation.spatial_linear.",
    ".correlation.pos.",
    ".correlation.proj.",
)
OPTIONS: frozenset[str] = frozenset({"mean", "base_window"})
IN_SPANDREL = False
SUPPORTS_HALF = False

_NGRAM = "correlation.ngram_window_partition.ngram_context.unigram_embed.weight"


def detect(shapes: ShapeMap) -> bool:
    return any(".correlation.spatial_linear." in name or ".correlation.qv." in name for name in shapes)


def read_config(shapes: ShapeMap, known: KnownArguments) -> HiTSRConfig:
    """Return the hyper-parameters.

    Raises:
        WrongTensorsError: the file is incomplete or inconsistent, or the base window does not fit it.
    """
    embed_dim, in_channels, _, _ = shape(shapes, "conv_first.weight", 4)
    layers = [f"layers.{i}.residual_group.blocks" for i in range(length(shapes, "layers"))]
    depths = tuple(length(shapes, layer) for layer in layers)
    if not depths or min(depths) == 0:
        raise WrongTensorsError(None, "the tensors of its first layer are missing; download it again")
    deepest = layers[depths.index(max(depths))]
    block = f"{layers[0]}.0"
    upsampler, scale, num_feat = _head(shapes, embed_dim, in_channels)
    ngrams = f"{block}.{_NGRAM}" in shapes
    base, ratios = _windows(shapes, deepest, max(depths), ngrams, known, _usual_base(embed_dim, upsampler, len(depths)))
    try:
        return HiTSRConfig(
            variant="SNG" if ngrams else "SRF" if f"{block}.mlp.dwconv.depthwise_conv.0.weight" in shapes else "SIR",
            scale=scale,
            in_channels=in_channels,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=tuple(shape(shapes, f"{layer}.0.correlation.pos.pos3.2.weight", 2)[0] for layer in layers),
            base_window=base,
            window_ratios=ratios,
            mlp_dim=shape(shapes, f"{block}.mlp.fc1.weight", 2)[0],
            num_feat=num_feat,
            patch_norm="patch_embed.norm.weight" in shapes,
            upsampler=upsampler,
            resi_connection="3conv" if "conv_after_body.0.weight" in shapes else "1conv",
            img_range=known.number("img_range", 1.0),
            mean=known.mean or known.numbers("mean"),
        )
    except ValueError as error:
        raise WrongTensorsError(
            None, f"it is a HiT-SR network, but its parts do not fit each other ({error})"
        ) from error


def _head(shapes: ShapeMap, embed_dim: int, in_channels: int) -> tuple[str, int, int]:
    """Return the kind of head, its scale and the width of its features (64 where it has none)."""
    if "conv_up1.weight" in shapes:
        return "nearest+conv", 4, shape(shapes, "conv_last.weight", 4)[1]
    if "conv_before_upsample.0.weight" in shapes:
        return "pixelshuffle", pixel_shuffle_scale(shapes, "upsample"), shape(shapes, "conv_last.weight", 4)[1]
    if "upsample.0.weight" in shapes:
        channels = shape(shapes, "upsample.0.weight", 4)[0]
        return "pixelshuffledirect", exact_root(channels // in_channels, "times as many channels before its end"), 64
    shape(shapes, "conv_last.weight", 4)
    return "", 1, 64


def _usual_base(embed_dim: int, upsampler: str, layers: int) -> int:
    """Return the base window that is usual: larger than the published one in neosr's medium and large networks."""
    if embed_dim == 180 and upsampler == "pixelshuffle":
        return 24 if layers >= 12 else 16
    return 8


def _windows(
    shapes: ShapeMap, layer: str, depth: int, ngrams: bool, known: KnownArguments, usual_base: int
) -> tuple[tuple[int, int], tuple[float, ...]]:
    """Return the base window and its ratios, block by block."""
    patches = [
        exact_root(shape(shapes, f"{layer}.{j}.correlation.spatial_linear.weight", 2)[1], "weights of a patch")
        for j in range(depth)
    ]
    if ngrams:
        windows = [shape(shapes, f"{layer}.{j}.{_NGRAM}", 4)[2:] for j in range(depth)]
        large = [(w[0] // r, w[1] // r) for w, r in zip(windows, patches, strict=True) if r > 1]
        base = large[0] if large else (max(w[0] for w in windows), max(w[1] for w in windows))
        if known.base_window not in (None, base):
            raise WrongTensorsError(
                None, f"its base window is {base[0]}x{base[1]}, as its weights tell; leave the base window out"
            )
        return base, tuple(w[0] / base[0] for w in windows)

    given = known.numbers("base_win_size") or known.numbers("base_window")
    base = known.base_window or ((int(given[0]), int(given[-1])) if given else (usual_base, usual_base))
    if min(base) < 1 or max(base) > 256:
        raise WrongTensorsError(None, f"a base window of {base[0]}x{base[1]} is not possible; it is 8 in most networks")
    ratios = known.numbers("hier_win_ratios") or known.numbers("window_ratios")
    if ratios is None or [max(int(r), 1) for r in ratios[:depth]] != patches:
        # A patch of one pixel is a window of the base or half of it; every known network begins with half.
        ratios = tuple(0.5 if j == 0 and patches[:2] == [1, 1] else float(r) for j, r in enumerate(patches))
    return base, ratios[:depth]


def not_inferable(config: HiTSRConfig) -> tuple[str, ...]:
    return ("mean", "img_range") if config.variant == "SNG" else ("mean", "img_range", "base_window")


def build(config: HiTSRConfig) -> HiTSR:
    return HiTSR(config)


def variant(config: HiTSRConfig) -> str:
    """Return the published name of these hyper-parameters, or the name with a description."""
    name = f"HiT-{config.variant}"
    published = (config.embed_dim, config.depths, config.base_window) == (60, (6,) * 4, (8, 8))
    return name if published else f"{name} ({config.embed_dim} channels, {sum(config.depths)} blocks)"


def header_metadata(config: HiTSRConfig) -> dict[str, object]:
    """Return what has to be written beside the weights, because shapes do not show it."""
    return {
        "img_range": config.img_range,
        "mean": config.mean,
        "base_window": config.base_window,
        "window_ratios": config.window_ratios,
    }
