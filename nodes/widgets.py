"""Widgets that several nodes share, and their values as arguments of the library."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..inference import precision as precisions
from .folders import quoted
from .size import EXACT, FACTOR, LONGEST_SIDE, MEGAPIXELS, MODEL_SCALE

LARGEST_SIDE = 100_000
WHOLE = "whole image"
FINISHING = ("keep_colors", "strength")
SWITCH = ["no", "yes"]
UPLOAD = "image"  # what workflows that were saved before these widgets have in the place of the first
FORMER_WHOLE = "whole picture"  # in workflows that were saved with an earlier version
TILES = ["auto", WHOLE, *(str(side) for side in (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048))]
OVERLAPS = ["auto", "0", "8", "16", "24", "32", "48", "64", "96", "128"]
BATCHES = ["auto", "1", "2", "4", "8", "16", "32", "64"]
COMPUTING = ("tile", "overlap", "batch", "precision")
PRECISIONS = ["auto", *precisions.PRECISIONS]


class TiledNode(io.ComfyNode):
    """Base class of the nodes with the widgets of `computing`."""

    @classmethod
    def validate_inputs(
        cls, tile: str | None = None, keep_colors: str | None = None, size: object = None, format: object = None
    ) -> bool | str:
        """Check `tile` and `keep_colors` for ComfyUI, which passes the groups `size` and `format` in any case."""
        if tile not in (None, FORMER_WHOLE, *TILES):  # None: linked, or left at its default
            return f"Value not in list: tile: {quoted(tile)} is not offered; choose {', '.join(TILES)}."
        if keep_colors not in (None, UPLOAD, *SWITCH):
            return f"Value not in list: keep_colors: {quoted(keep_colors)} is not offered; choose {', '.join(SWITCH)}."
        return True


def advanced(name: str, choices: list[str], tooltip: str) -> Any:
    """Return an advanced, optional combo; its first choice is the default."""
    return io.Combo.Input(name, options=choices, default=choices[0], advanced=True, optional=True, tooltip=tooltip)


def size() -> Any:
    """Return the size of the result, as `size.chosen_size` takes it."""
    whole = {"min": 1, "max": LARGEST_SIDE, "step": 1}
    stretched = "In pixels. The image is stretched if the aspect ratio differs."
    options = [
        io.DynamicCombo.Option(MODEL_SCALE, []),
        io.DynamicCombo.Option(FACTOR, [
            io.Float.Input("factor", default=2.0, min=0.05, max=16.0, step=0.05,
                           tooltip="Scale factor: 2 doubles width and height."),
        ]),
        io.DynamicCombo.Option(MEGAPIXELS, [
            io.Float.Input("megapixels", default=8.0, min=0.01, max=1000.0, step=0.1,
                           tooltip="Size in million pixels; the aspect ratio is kept."),
        ]),
        io.DynamicCombo.Option(LONGEST_SIDE, [
            io.Int.Input("longest_side", default=3840, min=32, max=LARGEST_SIDE, step=1,
                         tooltip="Longer side in pixels; the aspect ratio is kept."),
        ]),
        io.DynamicCombo.Option(EXACT, [
            io.Int.Input("width", default=3840, **whole, tooltip=stretched),
            io.Int.Input("height", default=2160, **whole, tooltip=stretched),
        ]),
    ]  # fmt: skip
    return io.DynamicCombo.Input("size", options=options, tooltip="Size of the result.")


def computing() -> list[Any]:
    """Return the widgets for tiles and precision, as `computing_options` takes them."""
    return [
        advanced("tile", TILES, "Longest side of a tile, in pixels of the source. auto: the whole image if it fits in "
                 "memory (videos always use tiles), otherwise the largest suitable tile."),
        advanced("overlap", OVERLAPS, "Width that neighboring tiles share, in pixels of the source. auto: as much as "
                 "the architecture needs to hide the seams."),
        advanced("batch", BATCHES, "Tiles computed at once. auto: depends on the free memory."),
        advanced("precision", PRECISIONS, "auto: as chosen in the loader; if that is auto too, half precision where a "
                 "measurement shows no visible difference, otherwise fp32."),
    ]  # fmt: skip


def finishing() -> list[Any]:
    """Return the widgets for what is done to the result of the model, as `finishing_options` takes them."""
    return [
        advanced("keep_colors", SWITCH, "Keep the colors of the source: reduced to its size, the result equals it. "
                 "For clean sources; noise is kept as well."),
        io.Float.Input(
            "strength", default=1.0, min=0.0, max=1.0, step=0.05, round=0.001, display_mode=io.NumberDisplay.slider,
            advanced=True, optional=True,
            tooltip="Mix in the source, resampled (bicubic). 1: only the result of the model. 0: only the source.",
        ),
    ]  # fmt: skip


def finishing_options(keep_colors: str = "no", strength: float = 1.0) -> dict[str, Any]:
    """Return the values of these widgets as arguments of an Upscaler."""
    return {"keep_colors": keep_colors == "yes", "strength": strength}


def computing_options(
    tile: str = "auto", overlap: str = "auto", batch: str = "auto", precision: str = "auto"
) -> dict[str, Any]:
    """Return the values of these widgets as arguments of an Upscaler."""
    return {
        "tile": "whole" if tile in (WHOLE, FORMER_WHOLE) else _number(tile),
        "overlap": _number(overlap),
        "batch": _number(batch),
        "precision": precision,
    }


def _number(choice: str) -> int | str:
    return choice if choice == "auto" else int(choice)
