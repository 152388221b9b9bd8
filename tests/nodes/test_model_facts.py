"""The facts of a model as text, and the text as an image."""

from __future__ import annotations

import torch
from supertile.nodes.model_facts import describe
from supertile.nodes.text_image import draw


def test_each_fact_of_the_metadata_is_shown_once(enlarger):
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


def test_without_a_file_the_facts_of_the_model_are_shown(enlarger):
    text = describe(enlarger(scale=4), "bf16")
    assert "family: RealESRGAN Compact" in text
    assert "precision: bf16" in text
    assert "file" not in text


def test_an_image_holds_all_of_its_text():
    """Longer text makes it higher, long lines are wrapped, and nothing is cut off at its edges."""
    short, long = draw("family: HAT\nscale: x2"), draw("family: HAT\nscale: x2\ndescription: " + "word " * 60)
    assert short.shape[1] < long.shape[1] < 600
    assert short.shape[2] < long.shape[2] < 1200
    for image in (short, long):
        assert image.dtype == torch.float32
        assert image.shape[::3] == (1, 3)
        assert 0 <= image.min() < image.max() <= 1
        background = image[0, 0, 0]
        for edge in (image[0, :8], image[0, -8:], image[0, :, :8], image[0, :, -8:]):
            assert edge.sub(background).abs().max() == 0
