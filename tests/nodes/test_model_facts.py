"""A model in words, and the words as an image."""

from __future__ import annotations

import torch
from supertile.nodes.model_facts import describe
from supertile.nodes.text_image import draw


def test_what_the_metadata_says_is_told_once(enlarger):
    metadata = {
        "modelspec.license": "MIT",
        "License": "other",
        "author": "A\nB",
        "source": "",
        "description": "d" * 999,
    }
    lines = describe(enlarger(), "fp32", "x.pth", metadata).splitlines()
    assert lines[0] == "file: x.pth"
    assert {"license: MIT", "author: A B", "scale: x2", "parameters: 1"} <= set(lines)
    assert not any(line.startswith("origin") for line in lines)
    assert max(map(len, lines)) < 330


def test_without_a_file_there_is_what_the_model_tells(enlarger):
    text = describe(enlarger(scale=4), "bf16")
    assert "family: RealESRGAN Compact" in text
    assert "precision: bf16" in text
    assert "file" not in text


def test_a_card_holds_all_of_its_text():
    """Longer text makes it higher, long lines do not make it wider without end, and nothing is cut at its edges."""
    short, long = draw("family: HAT\nscale: x2"), draw("family: HAT\nscale: x2\ndescription: " + "word " * 60)
    assert short.shape[1] < long.shape[1] < 600
    assert short.shape[2] < long.shape[2] < 1200
    for card in (short, long):
        assert card.dtype == torch.float32
        assert card.shape[::3] == (1, 3)
        assert 0 <= card.min() < card.max() <= 1
        paper = card[0, 0, 0]
        for edge in (card[0, :8], card[0, -8:], card[0, :, :8], card[0, :, -8:]):
            assert edge.sub(paper).abs().max() == 0
