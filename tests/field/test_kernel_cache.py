"""A cache of compiled kernels as years, full disks and other people leave it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from supertile.kernels.cpu import attention as kernel
from supertile.kernels.cpu import build

pytestmark = pytest.mark.skipif(not kernel.can_run(torch.zeros(1)), reason="no kernel can be compiled here")

SIGNATURES: build.Signatures = {"twice": (build.ctypes.c_int, [build.ctypes.c_int])}
SOURCE = "int twice(int x) { return 2 * x; }\n"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a small library through a cache of its own, as a new process would."""
    (tmp_path / "csrc").mkdir()
    (tmp_path / "csrc" / "twice.c").write_text(SOURCE)
    monkeypatch.setattr(build, "CSRC", tmp_path / "csrc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def load(name: str = "twice"):
        build._loaded.clear()
        return build.load(name, SIGNATURES)

    yield load
    build._loaded.clear()


def only_file(tmp_path: Path) -> Path:
    [path] = (tmp_path / "supertile").iterdir()
    return path


def test_the_name_ends_with_the_digest_of_the_content(load, tmp_path):
    assert load().twice(21) == 42
    path = only_file(tmp_path)
    assert path.stem.rpartition("-")[2] == hashlib.sha256(path.read_bytes()).hexdigest()[:24]
    assert path.stat().st_mode & 0o077 == 0
    before = path.stat().st_mtime_ns
    assert load().twice(21) == 42
    assert only_file(tmp_path).stat().st_mtime_ns == before


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.unlink()  # it is mapped into this process
    if how == "a link":
        path.with_name("elsewhere").write_bytes(content)
        path.symlink_to("elsewhere")
    else:
        halves = {"empty": b"", "cut": content[: len(content) // 2], "noise": content[:-9] + b"\x01" + content[-8:]}
        path.write_bytes(halves[how])
    if not path.is_symlink():
        path.chmod(0o700)


@pytest.mark.parametrize("how", ["empty", "cut", "noise", "a link"])
def test_a_damaged_library_is_compiled_again(load, tmp_path, how):
    assert load() is not None
    path = only_file(tmp_path)
    content = path.read_bytes()
    damage(path, how)
    assert load().twice(21) == 42
    assert path.read_bytes() == content
    assert not path.is_symlink()


def test_another_library_under_the_name_is_not_loaded(load, tmp_path):
    assert load() is not None
    path = only_file(tmp_path)
    content = path.read_bytes()
    (tmp_path / "csrc" / "other.c").write_text("int thrice(int x) { return 3 * x; }\n")
    build._loaded.clear()
    build.load("other", {})
    [other] = (tmp_path / "supertile").glob("other-*.so")
    path.unlink()
    shutil.copy(other, path)
    assert load().twice(21) == 42
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o722, 0o770, 0o707])
def test_a_library_that_others_can_write_is_compiled_again(load, tmp_path, mode):
    load()
    path = only_file(tmp_path)
    path.chmod(mode)
    assert load().twice(21) == 42
    assert only_file(tmp_path).stat().st_mode & 0o022 == 0


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_somebody_else_is_not_loaded(load, tmp_path):
    load()
    path = only_file(tmp_path)
    os.chown(path, 12345, -1)
    assert load().twice(21) == 42
    assert only_file(tmp_path).stat().st_uid == 0
    os.chown(tmp_path, 12345, -1)  # who could rename the folder inside
    shutil.rmtree(tmp_path / "supertile")
    assert load().twice(21) == 42
    assert not list((tmp_path / "supertile").iterdir())


def test_a_cache_below_a_folder_that_others_can_write_to_is_not_used(load, tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    (shared / "mine").mkdir(parents=True)
    shared.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared / "mine"))
    assert load().twice(21) == 42
    assert not list((shared / "mine" / "supertile").iterdir())
    shared.chmod(0o1777)  # like /tmp
    assert load().twice(21) == 42
    assert len(list((shared / "mine" / "supertile").iterdir())) == 1


def test_a_library_without_the_functions_is_no_kernel_and_not_kept(load, tmp_path):
    (tmp_path / "csrc" / "twice.c").write_text("int thrice(int x) { return 3 * x; }\n")
    assert load() is None
    assert not list((tmp_path / "supertile").iterdir())


def fake_compiler(tmp_path: Path, monkeypatch, script: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "cc").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_compiler_may_print_any_bytes(load, tmp_path, monkeypatch, caplog):
    fake_compiler(tmp_path, monkeypatch, "printf 'erreur \\351\\377\\n' >&2; exit 1")
    caplog.set_level("INFO")
    assert load() is None
    assert "erreur" in caplog.text
    assert not list((tmp_path / "supertile").iterdir())


def test_a_compiler_that_warns_in_any_bytes_still_compiles(load, tmp_path, monkeypatch):
    real = shutil.which("cc") or shutil.which("gcc")
    fake_compiler(tmp_path, monkeypatch, f"printf '\\351\\377' >&2; exec {real} \"$@\"")
    assert load().twice(21) == 42


@pytest.mark.parametrize("script", ["exit 0", 'echo text >"$(echo "$@" | grep -o "[^ ]*unfinished[^ ]*")"'])
def test_a_compiler_that_writes_no_library_leaves_nothing(load, tmp_path, monkeypatch, script):
    fake_compiler(tmp_path, monkeypatch, script)
    assert load() is None
    assert not list((tmp_path / "supertile").iterdir())


def test_what_killed_compilers_left_is_deleted(load, tmp_path):
    (tmp_path / "supertile").mkdir(mode=0o700)
    for name, age in (("unfinished-old.so", 10_000), ("unfinished-new.so", 0)):
        path = tmp_path / "supertile" / name
        path.touch()
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    load()
    assert sorted(path.name.partition("-")[2][:3] for path in (tmp_path / "supertile").glob("unf*")) == ["new"]


def test_libraries_whose_paths_are_not_utf_8_do_not_matter(load, tmp_path):
    code = (
        "import ctypes, os, torch, sys\n"
        "ctypes.CDLL(os.fsencode(sys.argv[1]))\n"
        "from supertile.kernels.cpu import attention\n"
        "print(attention.can_run(torch.zeros(1)))"
    )
    load()
    odd = os.path.join(os.fsencode(tmp_path), b"caf\xe9.so")
    shutil.copy(only_file(tmp_path), odd)
    ran = subprocess.run([sys.executable, "-c", code, odd], capture_output=True, text=True, check=False)
    assert ran.stdout == "True\n", ran.stderr
