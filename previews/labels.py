"""The words that stand beside crops, on the sheet and on the page."""

from __future__ import annotations

from fractions import Fraction

from .result import Crop, Method, Preview


def headline(preview: Preview) -> str:
    """Return "photo.jpg, 640x480" or "film.mp4, 640x480, 1,200 frames"."""
    frames = "" if preview.frames is None else f", {preview.frames:,} frame{'s' * (preview.frames != 1)}"
    return f"{preview.source.name}, {_shape(preview.source_size)}{frames}"


def job_of(method: Method) -> str:
    """Return "2560x1920, about 4 min, about 35 MB": the whole job with a model."""
    estimate = str(method.estimate)
    return f"{_shape(method.target_size)}, {estimate}" if estimate else _shape(method.target_size)


def place_of(crop: Crop) -> str:
    """Return "at 320,240" (its center), with the time of a frame before it."""
    box = crop.box
    where = f"at {(box.left + box.right) // 2},{(box.top + box.bottom) // 2}"
    return where if crop.seconds is None else f"{_clock(crop.seconds)}, {where}"


def bicubic_name(preview: Preview, method: Method) -> str:
    """Return "bicubic", with the size of the result where the models' results differ in size."""
    sizes = {each.target_size for each in preview.methods}
    return "bicubic" if len(sizes) == 1 else f"bicubic to {_shape(method.target_size)}"


def _shape(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _clock(seconds: Fraction) -> str:
    """Return a time as `--start` takes it: "0:12.5", "1:02:07"."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    whole, tenth = divmod(rest, 10)
    text = f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"
    return f"{text}.{tenth}" if tenth else text
