"""Write a preview as one HTML page that needs nothing else: images, styles and script are inside."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..images.io.atomic import atomic_file, check_target
from ..images.io.errors import ImageFileError
from .labels import bicubic_name, headline, job_of, place_of
from .result import Preview

_TEMPLATE = Path(__file__).with_name("page.html")


def write_page(preview: Preview, path: str | Path, *, overwrite: bool = False) -> None:
    """Write `page_of` as a file, whose folder must exist. The source is never replaced.

    Raises:
        ImageFileError: the file cannot or must not be written.
    """
    path, text = Path(path), page_of(preview)
    check_target(path, overwrite=overwrite, sources=[preview.source])
    try:
        with atomic_file(path, overwrite=overwrite) as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        raise ImageFileError(f"{path} cannot be written: {error.strerror or error}.") from error


def page_of(preview: Preview) -> str:
    """Return the page: a slider between bicubic and each model, menus of models and crops, and the estimates.

    It loads nothing, and a policy in its head forbids it to. Crops are PNG without loss, with the color profile of the
    source.
    """
    images: list[str] = []

    def add(image: Tensor) -> int:
        images.append(_data_uri(image, preview.icc))
        return len(images) - 1

    wholes = [add(each) for each in preview.thumbnails]
    width, height = preview.source_size
    crops: list[dict[str, Any]] = []
    for number, crop in enumerate(preview.crops):
        by_size: dict[tuple[int, int], int] = {}
        for method, image in zip(preview.methods, crop.bicubic, strict=True):
            if method.target_size not in by_size:
                by_size[method.target_size] = add(image)
        box = crop.box
        crops.append({
            "label": f"{number + 1}: {place_of(crop)}",
            "whole": wholes[crop.whole],
            "box": [box.left / width, box.top / height, box.width / width, box.height / height],
            "bicubic": [by_size[method.target_size] for method in preview.methods],
            "results": [add(image) for image in crop.results],
            "sizes": [[image.shape[-1], image.shape[-2]] for image in crop.results],
        })  # fmt: skip
    methods = [
        {"name": each.name, "bicubic": bicubic_name(preview, each), "job": job_of(each)} for each in preview.methods
    ]
    data = json.dumps({"images": images, "crops": crops, "methods": methods}).replace("<", "\\u003c")
    fields = {
        "HEADLINE": html.escape(headline(preview)),
        "NOTES": html.escape(" ".join(preview.notes)),
        "DATA": data,
    }
    return re.sub("<!--([A-Z]+)-->", lambda match: fields[match[1]], _TEMPLATE.read_text(encoding="utf-8"))


def _data_uri(image: Tensor, icc: bytes | None) -> str:
    codes = (image.clamp(0, 1) * 255 + 0.5).to(torch.uint8).movedim(0, -1).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(codes).save(file, "PNG", icc_profile=icc)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
