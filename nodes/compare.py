"""The node that measures and shows how much two images differ."""

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
from .comparison_report import paired, report
from .finite import check_finite, numbered

LARGEST_BORDER = 64


class CompareImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileCompareImages",
            display_name="Compare Images (PSNR, SSIM)",
            category="image",
            description="Measure how much two images of the same size differ: PSNR and SSIM as reported in papers on "
            "super-resolution. Shows both images, their difference, and where it is largest.",
            search_aliases=["psnr", "ssim", "difference", "image quality", "metric", "side by side", "diff",
                            "fidelity", "supertile"],
            inputs=[
                io.Image.Input("image", tooltip="One image or a batch."),
                io.Image.Input("reference", tooltip="The image to compare with, of the same size: one for each "
                                                    "image, or one for all."),
                io.Int.Input(
                    "border", default=0, min=0, max=LARGEST_BORDER, step=1, advanced=True, optional=True,
                    tooltip="Pixels to ignore along each edge. Papers use the scale of the model.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="report"),
                io.Float.Output(display_name="psnr_y", tooltip="In decibels; the mean of a batch."),
                io.Float.Output(display_name="ssim_y", tooltip="At most 1; the mean of a batch."),
                io.Float.Output(display_name="psnr_rgb", tooltip="In decibels; the mean of a batch."),
                io.Float.Output(display_name="ssim_rgb", tooltip="At most 1; the mean of a batch."),
                io.Image.Output(display_name="comparison",
                                tooltip="Both images, their difference, and a close-up where it is largest."),
                io.Image.Output(display_name="difference", tooltip="Difference of each channel, amplified."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, image: Tensor, reference: Tensor, border: int = 0) -> io.NodeOutput:
        comparisons, sheets = _compared(image, reference, border)
        fidelities = [each.fidelity for each in comparisons]
        text, figures = report(fidelities), mean(fidelities)
        comparison = _stack(_of_one_height(sheets))
        difference = _stack([each.difference for each in comparisons])
        shown = ui.PreviewText(text).as_dict() | ui.PreviewImage(comparison[:1], cls=cls).as_dict()
        return io.NodeOutput(
            text,
            figures.psnr_y,
            figures.ssim_y,
            figures.psnr_rgb,
            figures.ssim_rgb,
            comparison,
            difference,
            ui=shown,
        )


def _compared(images: Tensor, references: Tensor, border: int) -> tuple[list[Comparison], list[Tensor]]:
    """Compare two batches; return the comparisons, and each drawn as a sheet (3, H, W)."""
    count = paired(len(images), len(references))
    bar = host.ProgressBar()
    comparisons: list[Comparison] = []
    sheets: list[Tensor] = []
    for index in range(count):
        host.cancelled()
        a, b = (
            _color(batch[index % len(batch)], numbered(kind, index % len(batch) + 1, len(batch)))
            for batch, kind in ((images, "image"), (references, "reference"))
        )
        comparison = compare(a, b, border)
        sheet = draw_sheet(a, b, comparison, ("image", "reference"))
        if index == 0:
            needed = 2 * 4 * count * (sheet.numel() + comparison.difference.numel())
            host.check_ram(needed, "The comparison images", "compare fewer images at a time")
        comparisons.append(comparison)
        sheets.append(sheet)
        bar(index + 1, count)
    return comparisons, sheets


def _of_one_height(sheets: list[Tensor]) -> list[Tensor]:
    """Extend lower sheets downwards: those of equal images have no close-up."""
    height = max(sheet.shape[1] for sheet in sheets)
    return [F.pad(sheet, (0, 0, 0, height - sheet.shape[1]), "replicate") for sheet in sheets]


def _color(image: Tensor, which: str) -> Tensor:
    """Return one image (H, W, C) as color (1 or 3, H, W) on the CPU; `which` one, for `check_finite`."""
    check_finite(image, which)
    planes = image.movedim(-1, 0).to("cpu", torch.float32)
    if planes.shape[0] not in (1, 3, 4):
        raise UpscaleError(f"An image needs 1, 3 or 4 channels; this one has {planes.shape[0]}.")
    if planes.shape[0] == 4 and bool((planes[3] < 1).any()):
        raise UpscaleError("Transparent images cannot be compared; put them on a background first.")
    return planes[:3]


def _stack(planes: list[Tensor]) -> Tensor:
    """Stack images (3, H, W) of one size into an IMAGE."""
    height, width = planes[0].shape[1:]
    images = host.empty_images(len(planes), height, width, 3)
    for place, each in zip(images, planes, strict=True):
        place.copy_(each.movedim(0, -1))
    return images
