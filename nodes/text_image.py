"""A few lines of text as a small image, for nodes that take only images. Needs no ComfyUI."""

from __future__ import annotations

import textwrap

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

LINE_LENGTH = 56
FONT_SIZE, MARGIN, SPACING = 28, 28, 14  # pixels
BACKGROUND, TEXT_COLOR = (30, 32, 36), (228, 228, 224)


def draw(text: str) -> Tensor:
    """Draw text as an IMAGE (1, H, W, 3), as large as the text needs."""
    lines = [row for line in text.splitlines() for row in textwrap.wrap(line, LINE_LENGTH, subsequent_indent="    ")]
    wrapped = "\n".join(lines)
    font = ImageFont.load_default(FONT_SIZE)
    _, _, right, bottom = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox(
        (0, 0), wrapped, font, spacing=SPACING
    )
    card = Image.new("RGB", (int(right) + 2 * MARGIN, int(bottom) + 2 * MARGIN), BACKGROUND)
    ImageDraw.Draw(card).multiline_text((MARGIN, MARGIN), wrapped, TEXT_COLOR, font, spacing=SPACING)
    return torch.from_numpy(np.array(card, dtype=np.float32) / 255)[None]
