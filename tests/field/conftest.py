"""Fixtures that the tests of files from the field share."""

from __future__ import annotations

import pytest
from supertile.tests.conftest import write_small_vapsr


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_small_vapsr(tmp_path_factory.mktemp("model") / "small.safetensors")
