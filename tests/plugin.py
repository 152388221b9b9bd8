"""The repository root is a package, which pytest would import under the folder's name, whatever that is.

The number of threads is fixed, because sums of floats depend on it, and tests compare bits. Where pytest-xdist runs
several processes, they share the cores, and threads that wait sleep: some tests have more threads than cores.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // PROCESSES)))  # before PyTorch is imported
if PROCESSES > 1:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take the root as a plain folder: a name with a dot in it is none that can be imported."""
    return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None
