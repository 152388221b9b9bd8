"""A file appears whole or not at all, and never over a source."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch
from supertile.images.io.atomic import atomic_file
from supertile.images.io.errors import ImageFileError
from supertile.images.io.files import write_image
from supertile.images.io.picture import Picture

PICTURE = Picture(torch.from_numpy(np.random.default_rng(0).random((3, 64, 64), dtype=np.float32)))


def test_nothing_is_left_of_a_write_that_fails(tmp_path):
    target = tmp_path / "a.png"
    target.write_text("old")

    def write_half():
        with atomic_file(target, overwrite=True) as file:
            file.write(b"half a pict")
            file.flush()
            assert target.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_text() == "old"


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes to set")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_full_disk_leaves_nothing(tmp_path, suffix):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(ImageFileError, match=r"a\.\w+ cannot be written"):
            write_image(tmp_path / f"a{suffix}", PICTURE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_replaced_only_on_request(tmp_path):
    target = tmp_path / "a.png"
    target.write_text("old")
    with pytest.raises(ImageFileError, match="exists already"):
        write_image(target, PICTURE)
    assert target.read_text() == "old"
    write_image(target, PICTURE, overwrite=True)
    assert target.read_bytes()[1:4] == b"PNG"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    target = tmp_path / "a.png"
    with pytest.raises(ImageFileError, match="exists already"), atomic_file(target, overwrite=False):
        target.write_text("somebody else's")
    assert target.read_text() == "somebody else's"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("kind", ["itself", "symlink", "hardlink", "dotted"])
def test_a_source_is_never_written_even_through_links(tmp_path, kind):
    source = tmp_path / "source.png"
    source.write_text("source")
    target = tmp_path / "target.png"
    if kind == "itself":
        target = source
    elif kind == "symlink":
        target.symlink_to(source)
    elif kind == "hardlink":
        os.link(source, target)
    else:
        (tmp_path / "folder").mkdir()
        target = tmp_path / "folder" / ".." / "source.png"
    with pytest.raises(ImageFileError, match="source itself"):
        write_image(target, PICTURE, overwrite=True, sources=[source])
    assert source.read_text() == "source"


def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    write_image(tmp_path / "a.png", PICTURE)
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_missing_folders_and_folders_in_the_way(tmp_path):
    with pytest.raises(ImageFileError, match=r"folder .* does not exist"):
        write_image(tmp_path / "none" / "a.png", PICTURE)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(ImageFileError, match="is a folder"):
        write_image(tmp_path / "b.png", PICTURE, overwrite=True)


def test_the_longest_name_a_file_system_takes(tmp_path):
    write_image(tmp_path / ("n" * 251 + ".png"), PICTURE)
    assert len(list(tmp_path.iterdir())) == 1
