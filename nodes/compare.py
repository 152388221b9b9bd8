"""The node that says and shows how much two images differ."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui
from torch import Tensor

from ..analysis.comparison import Comparison, compare
from ..analysis.comparison_sheet import draw_sheet
from ..analysis.fidelity import mean
from ..inference.errors import UpscaleError
from . import host
from .figures import paired, report

LARGEST_BORDER = 64


class CompareImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileCompareImages",
            display_name="Compare Images (PSNR, SSIM)",
            category="image",
            description="How much two images of one size differ: PSNR and SSIM as papers on super-resolution report "
            "them, both images beside their difference, and where it is largest.",
            search_aliases=["psnr", "ssim", "difference", "image quality", "metric", "side by side", "diff",
                            "fidelity", "supertile"],
            inputs=[
                io.Image.Input("image", tooltip="One image or a batch."),
                io.Image.Input("reference", tooltip="What it is held against, of the same size: as many images, or "
                                                    "one for all."),
                io.Int.Input(
                    "border", default=0, min=0, max=LARGEST_BORDER, step=1, advanced=True, optional=True,
                    tooltip="Pixels at each side that do not count. Papers take the scale of the model.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="report"),
                io.Float.Output(display_name="psnr_y", tooltip="Decibels; of a batch, the mean."),
                io.Float.Output(display_name="ssim_y", tooltip="At most 1; of a batch, the mean."),
                io.Float.Output(display_name="psnr_rgb", tooltip="Decibels; of a batch, the mean."),
                io.Float.Output(display_name="ssim_rgb", tooltip="At most 1; of a batch, the mean."),
                io.Image.Output(display_name="comparison", tooltip="Both, their difference, and where it is largest."),
                io.Image.Output(display_name="difference", tooltip="Of each channel, amplified."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, image: Tensor, reference: Tensor, border: int = 0) -> io.NodeOutput:
        count = paired(len(image), len(reference))
        bar = host.ProgressBar()
        found: list[Comparison] = []
        sheets: list[Tensor] = []
        for number in range(count):
            host.cancelled()
            a, b = (_color(images[number % len(images)]) for images in (image, reference))
            found.append(compare(a, b, border))
            sheets.append(draw_sheet(a, b, found[-1], ("image", "reference")))
            if number == 0:
                needed = 2 * 4 * count * (sheets[0].numel() + found[0].difference.numel())
                host.check_ram(needed, "the comparisons", "compare fewer images at a time")
            bar(number + 1, count)
        figures = mean([each.fidelity for each in found])
        tallest = max(sheet.shape[1] for sheet in sheets)  # one of equal images is lower
        comparison = _images([F.pad(each, (0, 0, 0, tallest - each.shape[1]), "replicate") for each in sheets])
        text = report([each.fidelity for each in found])
        shown = ui.PreviewText(text).as_dict() | ui.PreviewImage(comparison[:1], cls=cls).as_dict()
        return io.NodeOutput(
            text,
            figures.psnr_y,
            figures.ssim_y,
            figures.psnr_rgb,
            figures.ssim_rgb,
            comparison,
            _images([each.difference for each in found]),
            ui=shown,
        )


def _color(image: Tensor) -> Tensor:
    """One of an IMAGE (H, W, C) as color (1 or 3, H, W) on the CPU."""
    planes = image.movedim(-1, 0).to("cpu", torch.float32)
    if planes.shape[0] not in (1, 3, 4):
        raise UpscaleError(f"images have 1, 3 or 4 channels, not {planes.shape[0]}")
    if planes.shape[0] == 4 and bool((planes[3] < 1).any()):
        raise UpscaleError("transparent images cannot be compared; lay them on a background first")
    return planes[:3]


def _images(planes: list[Tensor]) -> Tensor:
    """(3, H, W) each -> an IMAGE."""
    height, width = planes[0].shape[1:]
    images = host.empty_images(len(planes), height, width, 3)
    for place, each in zip(images, planes, strict=True):
        place.copy_(each.movedim(0, -1))
    return images
