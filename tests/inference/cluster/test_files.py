"""Files that travel between the machines of a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from supertile.inference.cluster import files
from supertile.inference.cluster.files import FileStamp, NodeFiles, deliver
from supertile.inference.errors import Cancelled, UpscaleError

POOL = "0123456789abcdef"


def read(path: Path, offset: int, size: int) -> bytes:
    return path.read_bytes()[offset : offset + size]


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def video(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(files, "CHUNK_BYTES", 1000)
    path = tmp_path / "film.mkv"
    path.write_bytes(os.urandom(10_500))
    return path


def test_a_file_that_the_machine_sees_is_used_in_place(temporary, video):
    node = NodeFiles(POOL, "node-2", read, None)
    assert node.locate(FileStamp.of(video), "run") == video
    node.close()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("there", ["nothing", "another file of the same size"])
def test_a_file_that_the_machine_does_not_see_is_copied_once(temporary, video, there, tmp_path):
    content, stamp = video.read_bytes(), FileStamp.of(video)
    if there == "nothing":
        video.unlink()
    else:
        video.write_bytes(content[::-1])
    calls = []

    def read_there(path: Path, offset: int, size: int) -> bytes:
        calls.append((path, offset))
        return content[offset : offset + size]

    first, second = (NodeFiles(POOL, "node-2", read_there, None) for _ in range(2))
    copy = first.locate(stamp, "run")
    assert copy.read_bytes() == content
    assert copy.suffix == ".mkv"
    assert second.locate(stamp, "run") == copy
    assert calls == [(video, offset) for offset in range(0, 10_500, 1000)]
    first.clear("run")
    assert not copy.exists()
    first.close()
    assert len(list(temporary.iterdir())) == 1  # the second is still there
    second.close()
    assert list(temporary.iterdir()) == []


def test_a_file_that_is_too_large_to_be_copied_says_what_to_do(temporary, video, monkeypatch):
    monkeypatch.setattr(files, "MAX_SENT_BYTES", 10_000)
    with pytest.raises(UpscaleError, match=r"film.mkv is not visible on node-2, .* use storage that"):
        NodeFiles(POOL, "node-2", read, False).locate(FileStamp.of(video), "run")


def test_copying_can_be_cancelled(temporary, video):
    node = NodeFiles(POOL, "node-2", read, False)
    with pytest.raises(Cancelled):
        node.locate(FileStamp.of(video), "run", lambda: True)


def test_a_file_that_shrinks_meanwhile_is_an_error(temporary, video):
    stamp = FileStamp.of(video)
    video.write_bytes(b"short")
    with pytest.raises(UpscaleError, match="changed while it was sent"):
        NodeFiles(POOL, "node-2", read, False).locate(stamp, "run")


def test_each_worker_has_a_place_of_its_own(temporary, tmp_path):
    job = tmp_path / "job"
    job.mkdir()
    first, second = (NodeFiles(POOL, "node-2", read, None) for _ in range(2))
    places = [first.place(job, seen=True), second.place(job, seen=True), second.place(job, seen=True)]
    assert places[1] == places[2] != places[0]
    assert {place.parent for place in places} == {job}
    unseen = NodeFiles(POOL, "node-2", read, None).place(job, seen=False)
    assert temporary in unseen.parents
    first.clear("run")
    assert not places[0].exists()
    assert places[1].exists()


def test_what_killed_workers_leave_is_deleted_by_the_next(temporary):
    code = f"""if True:
        import os, tempfile
        from supertile.inference.cluster.files import NodeFiles
        tempfile.tempdir = {str(temporary)!r}
        NodeFiles("{"a" * 16}", "node-2", None, None)
        os._exit(9)
    """
    subprocess.run([sys.executable, "-c", code], timeout=100)
    assert [path.name for path in temporary.iterdir()] == ["supertile-" + "a" * 16]
    others = temporary / "supertile-plan"
    others.mkdir()
    used = NodeFiles("b" * 16, "node-2", read, None)
    NodeFiles(POOL, "node-2", read, None)
    assert sorted(temporary.iterdir()) == sorted([temporary / f"supertile-{POOL}", used.root, others])


def test_results_are_moved_or_sent_and_then_published(tmp_path):
    job, place = tmp_path / "job", tmp_path / "job" / ".worker.00000000.part"
    place.mkdir(parents=True)
    (place / "00001.nut").write_bytes(b"moved")
    deliver(place / "00001.nut", job, lambda path: pytest.fail("it can be seen"))
    deliver(Path("elsewhere/00002.nut"), job, lambda path: b"sent")
    assert (job / "00001.nut").read_bytes() == b"moved"
    assert (job / "00002.nut").read_bytes() == b"sent"

    def fail(path: Path) -> bytes:
        raise RuntimeError("its machine is gone")

    with pytest.raises(RuntimeError):
        deliver(Path("elsewhere/00003.nut"), job, fail)
    assert sorted(path.name for path in job.iterdir()) == [place.name, "00001.nut", "00002.nut"]
