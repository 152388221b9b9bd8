"""Widgets that several nodes have, and what their words mean to the library."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..inference import precision as precisions
from .size import EXACT, FACTOR, LONGEST_SIDE, MEGAPIXELS, MODEL_SCALE

LARGEST_SIDE = 100_000
WHOLE = "whole image"
TILES = ["auto", WHOLE, *(str(side) for side in (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048))]
OVERLAPS = ["auto", "0", "8", "16", "24", "32", "48", "64", "96", "128"]
BATCHES = ["auto", "1", "2", "4", "8", "16", "32", "64"]
COMPUTING = ("tile", "overlap", "batch", "precision")
PRECISIONS = ["auto", *precisions.PRECISIONS]


def advanced(name: str, choices: list[str], tooltip: str) -> Any:
    """A combo for those who look for it; the first choice is the default."""
    return io.Combo.Input(name, options=choices, default=choices[0], advanced=True, optional=True, tooltip=tooltip)


def size() -> Any:
    """How large the result is to be: see `size.chosen_size`."""
    whole = {"min": 1, "max": LARGEST_SIDE, "step": 1}
    stretched = "Pixels; stretched where the aspect ratio differs."
    options = [
        io.DynamicCombo.Option(MODEL_SCALE, []),
        io.DynamicCombo.Option(FACTOR, [
            io.Float.Input("factor", default=2.0, min=0.05, max=16.0, step=0.05, tooltip="Times larger."),
        ]),
        io.DynamicCombo.Option(MEGAPIXELS, [
            io.Float.Input("megapixels", default=8.0, min=0.01, max=1000.0, step=0.1,
                           tooltip="Million pixels; the aspect ratio is kept."),
        ]),
        io.DynamicCombo.Option(LONGEST_SIDE, [
            io.Int.Input("longest_side", default=3840, min=32, max=LARGEST_SIDE, step=1,
                         tooltip="Pixels of the longer side; the aspect ratio is kept."),
        ]),
        io.DynamicCombo.Option(EXACT, [
            io.Int.Input("width", default=3840, **whole, tooltip=stretched),
            io.Int.Input("height", default=2160, **whole, tooltip=stretched),
        ]),
    ]  # fmt: skip
    return io.DynamicCombo.Input("size", options=options, tooltip="How large the result is to be.")


def computing() -> list[Any]:
    """Tiles and precision, as `computing_options` takes them."""
    return [
        advanced("tile", TILES, "Longest side of a tile in pixels of the source. auto: the whole image where there "
                 "is memory for it, except of videos; else the largest sensible tile."),
        advanced("overlap", OVERLAPS, "What neighboring tiles share, in pixels of the source. auto: as much as the "
                 "architecture needs for tiles that cannot be seen."),
        advanced("batch", BATCHES, "Tiles computed at once. auto: from the memory."),
        advanced("precision", PRECISIONS, "auto: as the model was loaded, else half precision where it measures no "
                 "difference that could be seen."),
    ]  # fmt: skip


def computing_options(
    tile: str = "auto", overlap: str = "auto", batch: str = "auto", precision: str = "auto"
) -> dict[str, Any]:
    """What an Upscaler is told for these widgets."""
    return {
        "tile": "whole" if tile == WHOLE else _number(tile),
        "overlap": _number(overlap),
        "batch": _number(batch),
        "precision": precision,
    }


def _number(choice: str) -> int | str:
    return choice if choice == "auto" else int(choice)
