"""The folders that are written to, as people have them."""

from __future__ import annotations

import os
import sys

import pytest
from supertile.diagnostics.system import folders


def cache():
    return folders()[0]


def test_a_folder_that_does_not_exist_yet_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    assert cache().problem == ""
    assert (tmp_path / "new" / "supertile").is_dir()
    assert cache().free_bytes > 0


def test_one_that_is_a_file_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "supertile").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "it cannot be written" in cache().problem


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of Windows are other ones")
def test_one_that_others_write_to_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "supertile").mkdir()
    os.chmod(tmp_path / "supertile", 0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "others may write to it" in cache().problem
