"""A small picture of a frame of planes, for a look at a job that is running."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .color.yuv import to_rgb
from .frame_upscaler import wait_for
from .frames import Frame, FrameFormat


def thumbnail(frame: Frame, form: FrameFormat, side: int) -> Tensor:
    """Return a frame as RGB, or gray, of at most `side` pixels: single pixels, taken at equal distances.

    Args:
        frame: as an upscaler or a reader made it.
        form: size, layout and color of its planes. The color of the frame itself counts more.
        side: of the longer side.

    Returns:
        (3 or 1, H, W) in [0, 1], float32, on the device of the planes. Rotation and alpha are left out.
    """
    wait_for(frame)
    step = max(1, -(-max(form.width, form.height) // side))
    rows, columns = torch.arange(0, form.height, step), torch.arange(0, form.width, step)
    planes = []
    for index, plane in enumerate(frame.planes):
        x, y = form.layout.subsampling if form.layout.model == "yuv" and index in (1, 2) else (0, 0)
        planes.append(plane[(rows >> y).to(plane.device)][:, (columns >> x).to(plane.device)])
    layout = replace(form.layout, subsampling=(0, 0))
    color, _ = to_rgb(planes, layout, frame.color or form.color, width=len(columns), height=len(rows))
    return color.clamp_(0, 1)
