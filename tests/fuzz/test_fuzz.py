"""Damaged files of every kind are opened or refused; and the fuzzer sees every fault that it looks for."""

from __future__ import annotations

import pickle
import random
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from supertile import UnreadableCheckpointError, UnsafeCheckpointError, load_model
from supertile.tests.fuzz.faulty_worker import FAULTS
from supertile.tests.fuzz.hostile import calls, canary, with_call
from supertile.tests.fuzz.run import Limits, fuzz
from supertile.tests.fuzz.seeds import HOSTILE, KINDS, make_seeds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

FILES = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def seeds(folder: Path) -> dict[str, list[Path]]:
    return make_seeds(folder)


def test_damaged_files_are_opened_or_refused(folder, seeds):
    counts = fuzz(folder, seeds, seed=17, files=FILES)
    assert not counts.findings
    assert counts.total == FILES
    assert all(counter["refused"] for counter in counts.by_kind.values())
    assert sum(counter["done"] for counter in counts.by_kind.values()) > FILES // 5


def test_the_seeds_are_valid(folder, seeds):
    """So every refusal is due to a change, except of hostile checkpoints."""
    valid = {kind: [path for path in paths if not path.name.startswith(HOSTILE)] for kind, paths in seeds.items()}
    counts = fuzz(folder, valid, seed=0, files=len(KINDS) * max(map(len, valid.values())), change=False)
    assert not counts.findings
    assert all(set(counter) == {"done"} for counter in counts.by_kind.values())


@pytest.mark.parametrize("kind", FAULTS)
def test_the_fuzzer_sees(kind, tmp_path):
    outcome = kind.partition(":")[0]
    file = tmp_path / "any.pkl"
    file.write_bytes(with_call(pickle.dumps(None, 2), calls(tmp_path)["reduce"], random.Random(0)))
    counts = fuzz(
        tmp_path, {kind: [file]}, seed=0, files=2, kinds=(kind,), change=False,
        limits=Limits(seconds=1 if outcome == "hang" else 60, memory=200 << 20),
        worker="supertile.tests.fuzz.faulty_worker",
    )  # fmt: skip
    assert counts.by_kind == {kind: {outcome: 2}}
    assert len(counts.findings) == (0 if outcome in ("done", "refused") else 2)
    assert all(finding.path.read_bytes() == file.read_bytes() for finding in counts.findings)
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("name", calls(Path("anywhere")))
def test_a_hostile_call_would_run_but_does_not(name, tmp_path):
    state = {"params_ema": {"weight": torch.zeros(4, 4)}}
    torch.save(state, tmp_path / "weights.pth")
    with zipfile.ZipFile(tmp_path / "weights.pth") as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    pickled = next(member for member in members if member.endswith("data.pkl"))
    members[pickled] = with_call(members[pickled], calls(tmp_path)[name], random.Random(0))
    with zipfile.ZipFile(tmp_path / "hostile.pth", "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)

    with pytest.raises((UnsafeCheckpointError, UnreadableCheckpointError)):
        load_model(tmp_path / "hostile.pth")
    assert not canary(tmp_path).exists()
    pickle.loads(with_call(pickle.dumps(None, 4), calls(tmp_path)[name], random.Random(0)))
    assert canary(tmp_path).is_dir()
