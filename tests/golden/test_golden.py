"""Every network computes what the authors' code computes: tiny cases that any clone of this repository has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from supertile.weights.loader import load_model

GOLDEN = Path(__file__).resolve().parent
NAMES = ("HAT", "HiT_SIR", "HiT_SNG", "HiT_SRF", "VapSR")


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_output_is_the_authors(name: str, tmp_path: Path) -> None:
    weights = load_file(GOLDEN / f"{name}.safetensors")
    codes, expected = weights.pop("golden.input"), weights.pop("golden.output")
    save_file({key: tensor.float() for key, tensor in weights.items()}, tmp_path / "network.safetensors")
    output = load_model(tmp_path / "network.safetensors").model(codes.float() / 255)
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(output, expected, atol=2e-5, rtol=0)
