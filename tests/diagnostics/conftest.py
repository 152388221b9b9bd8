"""Machines that are not as they should be: without a compiler, or with one that compiles something else."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from supertile.kernels.cpu import attention

WRAPPER = """#!{python}
import pathlib, subprocess, sys, tempfile
*options, name = sys.argv[1:]
changes = {changes!r}
source = pathlib.Path(name)
with tempfile.TemporaryDirectory() as folder:
    for file in source.parent.glob("*.[ch]"):
        text = file.read_text()
        if file.name == source.name and source.stem in changes:
            before, after = changes[source.stem]
            assert before in text
            text = text.replace(before, after)
        (pathlib.Path(folder) / file.name).write_text(text)
    sys.exit(subprocess.call([{compiler!r}, *options, str(pathlib.Path(folder) / source.name)]))
"""

WRONG_MLP = ("store(at, gelu(load(at)));", "store(at, load(at));")
"""A change of mlp.c that leaves out an activation."""
CRASHING_VAB = ("#define DILATION 3", "#define DILATION (__builtin_trap(), 3)")
"""A change of vab.c that ends the process."""


@pytest.fixture
def compiler_that_changes(tmp_path) -> Callable[..., dict[str, str]]:
    """The environment of a machine whose compiler makes something else of some sources, with a cache of its own."""
    if not attention.can_run(torch.zeros(1)):
        pytest.skip("no kernel can be compiled here")

    def environment(**changes: tuple[str, str]) -> dict[str, str]:
        folder = tmp_path / "compiler"
        folder.mkdir()
        compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
        program = folder / "cc"
        program.write_text(WRAPPER.format(python=sys.executable, changes=changes, compiler=compiler))
        program.chmod(0o755)
        return {"PATH": f"{folder}:{Path(compiler).parent}:/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path / "cache")}

    return environment


@pytest.fixture
def without_compiler(tmp_path) -> dict[str, str]:
    """The environment of a machine without a compiler."""
    (tmp_path / "nothing").mkdir()
    return {"PATH": str(tmp_path / "nothing"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
