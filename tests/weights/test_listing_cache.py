"""The cache of the list of models: used while files are the same, and never believed when it is wrong."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from supertile.arch import VapSR, VapSRConfig
from supertile.weights import catalog
from supertile.weights.catalog import list_models
from supertile.weights.listing_cache import cache_file


def small_vapsr(scale: int) -> dict[str, torch.Tensor]:
    return VapSR(VapSRConfig(scale=scale, num_feat=8, num_blocks=1, attention_dim=8)).state_dict()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with a model and a file that is none, which were written a while ago."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("supertile.weights.listing_cache._SETTLED_NS", 0)
    models = tmp_path / "models"
    models.mkdir()
    torch.save(small_vapsr(2), models / "a.pth")
    (models / "broken.pth").write_bytes(b"<!DOCTYPE html>" + bytes(1000))
    return models


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The names of the files whose headers were read, without the bundled ones."""
    names: list[str] = []

    def counted(path: Path, read_header=catalog.read_header):
        names.append(path.name)
        return read_header(path)

    monkeypatch.setattr(catalog, "read_header", counted)
    return names


def test_what_is_known_is_not_read_again(folder, read):
    first = list_models([folder], cached=True)
    assert {"a.pth", "broken.pth"} <= set(read)
    read.clear()
    assert list_models([folder], cached=True) == first
    assert read == []
    assert list_models([folder]) == first
    assert {"a.pth", "broken.pth"} <= set(read)


@pytest.mark.skipif(sys.platform == "win32", reason="files that others may write are another matter there")
def test_the_cache_is_the_users_own(folder):
    list_models([folder], cached=True)
    assert cache_file().stat().st_mode & 0o077 == 0
    assert [path.name for path in cache_file().parent.iterdir()] == [cache_file().name]


def test_a_file_that_has_changed_is_read_again(folder, read):
    list_models([folder], cached=True)
    read.clear()
    old = (folder / "a.pth").stat()
    torch.save(small_vapsr(3), folder / "new.pth")
    os.truncate(folder / "new.pth", (folder / "new.pth").stat().st_size)
    os.replace(folder / "new.pth", folder / "a.pth")
    os.utime(folder / "a.pth", ns=(old.st_atime_ns, old.st_mtime_ns))  # as archives and `cp -p` do
    listing = {each.name: each for each in list_models([folder], cached=True)}
    assert read == ["a.pth"]
    assert listing["a.pth"].scale == 3


def test_a_name_with_a_scale_belongs_to_the_name_not_to_the_cache(folder):
    save_file({"layer.weight": torch.ones(64, 64)}, folder / "x4.safetensors")
    for _ in range(2):
        listing = {each.name: each for each in list_models([folder], cached=True)}
        assert (listing["x4.safetensors"].scale, bool(listing["x4.safetensors"].problem)) == (None, True)


def test_a_config_beside_the_file_may_change_it(folder, read):
    (folder / "config.json").write_text("{}")
    list_models([folder], cached=True)
    read.clear()
    list_models([folder], cached=True)
    assert read == ["a.pth", "broken.pth"]


def test_another_version_begins_anew(folder, read, monkeypatch):
    list_models([folder], cached=True)
    read.clear()
    monkeypatch.setattr("supertile.weights.listing_cache.version", lambda: "9.9")
    list_models([folder], cached=True)
    assert "a.pth" in read


def test_a_file_that_was_just_written_is_not_kept(folder, read, monkeypatch):
    monkeypatch.setattr("supertile.weights.listing_cache._SETTLED_NS", 10**12)
    list_models([folder], cached=True)
    read.clear()
    list_models([folder], cached=True)
    assert "a.pth" in read


@pytest.mark.parametrize(
    "change",
    [
        {"family": 1},
        {"family": "HAT\x1b[31m"},
        {"family": None},
        {"scale": True},
        {"scale": 10**9},
        {"scale": "2"},
        {"license": "a" * 10_000},
        {"license": ["MIT"]},
        {"problem": "It is broken."},
        {"more": 1},
    ],
)
def test_facts_that_cannot_be_are_not_believed(folder, change):
    first = list_models([folder], cached=True)
    content = json.loads(cache_file().read_text())
    content["files"][str(folder / "a.pth")]["facts"] |= change
    cache_file().write_text(json.dumps(content))
    assert list_models([folder], cached=True) == first


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", '{"files": 1}', "[" * 100_000, '{"version": "x", "files": {"a": 1}}', "\xff", "\x00"]
)
def test_a_damaged_cache_is_an_empty_one(folder, text):
    first = list_models([folder])
    cache_file().parent.mkdir(parents=True)
    cache_file().write_bytes(text.encode("latin1"))
    assert list_models([folder], cached=True) == first
    content = json.loads(cache_file().read_text())
    for entries in ({name: 1 for name in content["files"]}, {name: {"state": 1} for name in content["files"]}, []):
        cache_file().write_text(json.dumps(content | {"files": entries}))
        assert list_models([folder], cached=True) == first


@pytest.mark.skipif(sys.platform == "win32", reason="files that others may write are another matter there")
def test_a_cache_that_others_can_write_is_not_read(folder, read):
    list_models([folder], cached=True)
    read.clear()
    os.chmod(cache_file(), 0o666)
    list_models([folder], cached=True)
    assert "a.pth" in read
    cache_file().unlink()
    os.mkfifo(cache_file())
    assert len(list_models([folder], cached=True)) > 2


def test_without_a_place_to_write_the_list_is_made_all_the_same(folder, tmp_path, monkeypatch):
    first = list_models([folder])
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert list_models([folder], cached=True) == first
