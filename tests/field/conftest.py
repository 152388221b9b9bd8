"""Fixtures that the tests of files from the field share."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from supertile.arch.vapsr import VapSR, VapSRConfig


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    net = VapSR(VapSRConfig(scale=2, num_feat=16, num_blocks=1, attention_dim=16))
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_file(net.state_dict(), path)
    return str(path)
