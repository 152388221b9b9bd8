"""A worker of a cluster, without the cluster."""

from __future__ import annotations

import sys
import tempfile
import threading
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from supertile.arch.vapsr import VapSR, VapSRConfig
from supertile.inference.cluster.connection import connect, import_ray
from supertile.inference.cluster.files import FileStamp
from supertile.inference.cluster.worker import ClusterWorker, Job, WorkerSetup, versions
from supertile.inference.errors import Cancelled, UpscaleError
from supertile.inference.spec import UpscalerSpec
from supertile.weights.bundle import resolve


@pytest.fixture
def setup(tmp_path, monkeypatch, randomized) -> WorkerSetup:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = tmp_path / "model.safetensors"
    save_file(randomized(VapSR(VapSRConfig(scale=2, num_feat=8, num_blocks=1, attention_dim=8))).state_dict(), model)
    spec = UpscalerSpec(model)
    return WorkerSetup(spec, [FileStamp.of(model)], "cpu", 0, "node-2", versions(), "0" * 16, None, None)


def shape(upscaler, task, report, cancelled):
    report(task)
    return tuple(upscaler(torch.zeros(1, 3, task, task)).shape)


def wait_until_cancelled(upscaler, task, report, cancelled):
    while not cancelled():
        pass
    raise Cancelled("as it should be")


def fail(upscaler, task, report, cancelled):
    raise UpscaleError(f"{task} cannot be done")


def test_it_loads_the_model_computes_and_reports(setup):
    worker = ClusterWorker(setup)
    assert worker.start("fp32") == ("finished", "fp32")
    assert worker.run(Job(1, shape, 5)) == ("finished", (1, 3, 10, 10))
    assert worker.news(None) == (1, 5)
    kind, error = worker.run(Job(2, fail, 6))
    assert (kind, str(error)) == ("failed", "6 cannot be done")
    worker.close()


def test_only_the_job_that_is_meant_is_cancelled(setup):
    worker = ClusterWorker(setup)
    worker.start("fp32")
    worker.cancel(1)
    assert worker.run(Job(2, shape, 5))[0] == "finished"
    timer = threading.Timer(0.1, worker.cancel, [3])
    timer.start()
    kind, error = worker.run(Job(3, wait_until_cancelled, 0))
    assert kind == "failed"
    assert isinstance(error, Cancelled)


def test_other_versions_are_refused_with_their_names(setup):
    worker = ClusterWorker(replace(setup, versions={**versions(), "PyAV": "1.0"}))
    kind, error = worker.start("fp32")
    assert kind == "unusable"
    assert str(error).startswith("node-2 has PyAV ")
    assert "this machine 1.0; install the same version" in str(error)


def test_a_model_that_the_machine_does_not_see_is_sent(setup, tmp_path):
    hidden = tmp_path / "hidden.safetensors"
    setup.models[0].path.rename(hidden)
    worker = ClusterWorker(setup)
    worker._read = lambda path, offset, size: hidden.read_bytes()[offset : offset + size]
    assert worker.start("fp32") == ("finished", "fp32")
    worker.close()
    assert list(tmp_path.glob("supertile-*")) == []


def test_all_models_of_a_chain_and_a_blend_are_sent(setup, tmp_path):
    (name,) = (stamp.path for stamp in setup.models)
    spec = replace(setup.spec, blend=("supertile-2x", 0.5), then=("supertile-4x",))
    stamps = [FileStamp.of(resolve(model)) for model in spec.models]
    hidden = tmp_path / "hidden.safetensors"
    name.rename(hidden)
    worker = ClusterWorker(replace(setup, spec=spec, models=stamps))
    worker._read = lambda path, offset, size: hidden.read_bytes()[offset : offset + size]
    assert worker.start("fp32") == ("finished", "fp32")
    assert worker._upscaler is not None
    expected = replace(spec, model=hidden).build("cpu").identity()
    assert worker._upscaler.identity() == expected
    worker.close()


def test_without_ray_one_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UpscaleError, match=r"A cluster needs Ray; install it with: pip install 'supertile\[cluster\]'"):
        import_ray()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:1", r"No Ray cluster answers at 127.0.0.1:1"),
        ("ray://127.0.0.1:10001", r"give the cluster as HOST:PORT"),
        ("somewhere", r"'somewhere' is not the address of a cluster; give HOST:PORT, auto or local"),
    ],
)
def test_addresses_that_lead_nowhere_are_refused_at_once(address, sentence):
    class Ray:
        is_initialized = staticmethod(lambda: False)

    with pytest.raises(UpscaleError, match=sentence):
        connect(Ray, address)
