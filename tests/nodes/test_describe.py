"""A model in words."""

from __future__ import annotations

from supertile.nodes.describe import describe


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
    assert {"licence: MIT", "author: A B", "scale: x2", "parameters: 1"} <= set(lines)
    assert not any(line.startswith("origin") for line in lines)
    assert max(map(len, lines)) < 330


def test_without_a_file_there_is_what_the_model_tells(enlarger):
    text = describe(enlarger(scale=4), "bf16")
    assert "family: RealESRGAN Compact" in text
    assert "precision: bf16" in text
    assert "file" not in text
