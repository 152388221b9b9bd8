"""A few lines of text as a small image, for places that show images only."""

from __future__ import annotations

import textwrap

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

LETTERS = 56  # a line
SIZE, MARGIN, SPACING = 28, 28, 14  # pixels
PAPER, INK = (30, 32, 36), (228, 228, 224)


def draw(text: str) -> Tensor:
    """An IMAGE (1, H, W, 3), as large as the text needs."""
    lines = [part for line in text.splitlines() for part in textwrap.wrap(line, LETTERS, subsequent_indent="    ")]
    wrapped = "\n".join(lines)
    font = ImageFont.load_default(SIZE)
    _, _, right, bottom = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox(
        (0, 0), wrapped, font, spacing=SPACING
    )
    card = Image.new("RGB", (int(right) + 2 * MARGIN, int(bottom) + 2 * MARGIN), PAPER)
    ImageDraw.Draw(card).multiline_text((MARGIN, MARGIN), wrapped, INK, font, spacing=SPACING)
    return torch.from_numpy(np.array(card, dtype=np.float32) / 255)[None]
