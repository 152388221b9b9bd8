"""The sheets of crops in the docs, and the errors at the edges, as commands make them."""

from __future__ import annotations

import numpy as np
from PIL import Image
from supertile.images.imresize import imresize
from supertile.tests.training.test_command import run
from supertile.training.sheet import CASES, COLUMNS


def test_a_sheet_has_a_row_for_each_case(tmp_path):
    for case in CASES:
        if isinstance(case.source, str):
            Image.new("RGB", (300, 280), (200, 120, 40)).save(tmp_path / case.source)
    result = run("sheet", str(tmp_path), str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    for line in result.stdout.splitlines():
        with Image.open(line) as sheet:
            assert sheet.width > 190 * len(COLUMNS)
            assert sheet.height > 190 * len(CASES)


def test_a_missing_photograph_is_one_sentence(tmp_path):
    result = run("sheet", str(tmp_path), str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "There is no photograph" in result.stderr


def test_the_errors_of_the_edges_are_printed_with_and_without_what_continues_them(tmp_path):
    import torch

    folder = tmp_path / "Flat" / "x2"
    folder.mkdir(parents=True)
    large = torch.tensor([0.1, 0.3, 1.0])[:, None, None].expand(3, 48, 40)
    small = imresize(large, (20, 24))
    for image, name in ((large, "HR"), (small, "LR")):
        codes = (image * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(np.ascontiguousarray(codes)).save(folder / f"001_{name}.png")
    result = run("edges", "supertile-2x", str(folder))
    assert result.exit_code == 0, result.output
    network, extended = result.stdout.splitlines()[2:]
    assert float(network.split("|")[2]) > 2 * float(extended.split("|")[2])
