"""When graphs are made, kept and dropped. Those here are played; tests/inference/test_cuda.py makes real ones."""

from __future__ import annotations

import logging

import pytest
import torch
from supertile.inference.accelerator.cuda_graphs import MIN_BATCHES, Recorder
from supertile.inference.accelerator.passes import Passes
from torch import Tensor

CPU = torch.device("cpu")


class Recordings:
    """Stands for cuda.Graph: replays by calling the network again. wrong: what it adds to each result."""

    def __init__(self, wrong: float = 0.0, error: Exception | None = None) -> None:
        self.wrong, self.error = wrong, error
        self.made: list[tuple[int, ...]] = []
        self.replays = 0

    def __call__(self, network, like: Tensor):
        self.made.append(tuple(like.shape))
        if self.error is not None:
            raise self.error
        network(like)

        def replay(batch: Tensor) -> Tensor:
            assert batch.shape == like.shape
            self.replays += 1
            return network(batch) + self.wrong

        return replay


def batch(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_a_graph_is_made_where_many_batches_are_known():
    recorder = Recorder(Recordings())
    assert not recorder.wants(torch.Size((2, 3, 8, 8)), MIN_BATCHES - 1)
    assert recorder.wants(torch.Size((2, 3, 8, 8)), MIN_BATCHES)
    assert not Recorder(None).wants(torch.Size((2, 3, 8, 8)), 1000), "only where there are graphs"


def test_no_graph_is_made_under_gradients():
    assert torch.is_grad_enabled()
    assert not Recorder(Recordings()).wants(torch.Size((2, 3, 8, 8)), 1000)


@torch.inference_mode()
def test_the_first_batch_is_computed_without_and_the_others_with_it():
    recordings = Recordings()
    recorder = Recorder(recordings)
    for i in range(5):
        given = batch(2, 3, 8, 8, seed=i)
        assert torch.equal(recorder(torch.sqrt, given), given.sqrt())
    assert recordings.made == [(2, 3, 8, 8)]
    assert recordings.replays == 5, "one of them to be held against the first"


@torch.inference_mode()
@pytest.mark.parametrize(
    ("recordings", "reason"),
    [
        (Recordings(wrong=0.2), "its result differs"),
        (Recordings(wrong=float("nan")), "its result differs"),
        (Recordings(error=RuntimeError("operation not permitted when stream is capturing\nmore")), "operation not p"),
        (Recordings(error=torch.OutOfMemoryError("CUDA out of memory")), "out of memory"),
    ],
)
def test_where_a_graph_cannot_be_had_the_network_runs_without(recordings, reason, caplog):
    recorder = Recorder(recordings)
    for i in range(3):
        given = batch(2, 3, 8, 8, seed=i)
        run = recorder if recorder.wants(given.shape, 1000) else lambda network, given: network(given)
        assert torch.equal(run(torch.sqrt, given), given.sqrt())
    assert len(recordings.made) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert reason in caplog.text
    assert "\n" not in caplog.records[0].getMessage()


@torch.inference_mode()
def test_a_graph_that_reads_no_input_is_found_out(caplog):
    class Frozen(Recordings):
        def __call__(self, network, like: Tensor):
            output = network(like)
            return lambda batch: output

    recorder, given = Recorder(Frozen()), batch(2, 3, 8, 8)
    assert torch.equal(recorder(torch.sqrt, given), given.sqrt())
    assert not recorder.wants(given.shape, 1000)


@torch.inference_mode()
def test_what_is_not_finite_decides_nothing():
    recorder = Recorder(Recordings())
    recorder(torch.sqrt, batch(1, 3, 8, 8) - 2)
    assert recorder.shapes() == []
    recorder(torch.sqrt, batch(1, 3, 8, 8))
    assert recorder.shapes() == [(1, 3, 8, 8)]


@torch.inference_mode()
def test_graphs_of_other_tiles_are_dropped():
    recorder = Recorder(Recordings())
    for shape, kept in (
        ((4, 3, 8, 12), [(4, 3, 8, 12)]),
        ((4, 3, 12, 8), [(4, 3, 8, 12), (4, 3, 12, 8)]),  # the same tile, turned
        ((2, 3, 8, 12), [(4, 3, 12, 8), (2, 3, 8, 12)]),
        ((2, 3, 9, 9), [(2, 3, 9, 9)]),
    ):
        recorder(torch.sqrt, batch(*shape))
        assert recorder.shapes() == kept
    recorder.drop()
    assert recorder.shapes() == []


# --- in passes of a network --------------------------------------------------------------------------------------


@pytest.fixture
def passes(vapsr):
    """As on CUDA, with played graphs and no compiler."""
    made = Passes(vapsr, "off", CPU)
    made.recorder, made.active = Recorder(Recordings()), True
    made.begin()
    return made


def test_batches_of_one_shape_are_recorded_once_it_is_common(vapsr, passes):
    for i in range(MIN_BATCHES + 2):
        given = batch(4, 3, 16, 16, seed=i)
        with torch.inference_mode():
            torch.testing.assert_close(passes(given), vapsr.model(given), atol=1e-6, rtol=0)
        assert bool(passes.recorder.shapes()) == (i + 1 >= MIN_BATCHES)
    passes.drop()
    assert passes.recorder.shapes() == []


def test_what_is_known_to_come_counts(passes):
    passes(batch(4, 3, 16, 16), coming=MIN_BATCHES - 1)
    assert passes.recorder.shapes() == [(4, 3, 16, 16)]


@pytest.mark.parametrize(("rest", "filled"), [(3, True), (2, True), (1, False)])
def test_a_rest_is_filled_up_if_it_is_half_a_batch(vapsr, passes, rest, filled):
    passes(batch(4, 3, 16, 16), coming=100)
    before = passes.recorder._record.replays
    given = batch(rest, 3, 16, 16, seed=1)
    with torch.inference_mode():
        result = passes(given)
        torch.testing.assert_close(result, vapsr.model(given), atol=1e-6, rtol=0)
    assert (passes.recorder._record.replays > before) == filled


def test_other_weights_need_other_graphs(vapsr, passes, caplog):
    passes(batch(4, 3, 16, 16), coming=100)
    passes.begin()
    assert passes.recorder.shapes() == [(4, 3, 16, 16)]
    weight = vapsr.model.conv_first.weight
    before = weight.data.clone()
    with torch.no_grad():
        weight.copy_(before)
    passes.begin()
    assert passes.recorder.shapes() == []


def test_running_out_of_memory_drops_graphs(vapsr, caplog):
    from supertile.inference import Upscaler

    upscaler = Upscaler(vapsr, device="cpu", precision="fp32", tile=48, overlap=16, batch=2)
    passes = upscaler._stage.engine.passes
    passes.recorder, passes.active = Recorder(Recordings()), True
    images = [batch(3, 16, 16, seed=i) for i in range(60)]
    expected = [vapsr.model(image[None])[0].clamp(0, 1) for image in images]
    with caplog.at_level(logging.WARNING):
        results = list(upscaler.stream(images))
    for result, exact in zip(results, expected, strict=True):
        torch.testing.assert_close(result, exact, atol=1e-5, rtol=0)
    assert passes.recorder.shapes() == [(2, 3, 16, 16)]

    def run_out_once(*call: object) -> None:
        hook.remove()
        raise torch.OutOfMemoryError

    hook = vapsr.model.register_forward_pre_hook(run_out_once)
    for result, exact in zip(upscaler.stream(images[:2]), expected[:2], strict=True):
        torch.testing.assert_close(result, exact, atol=1e-5, rtol=0)
    assert passes.recorder.shapes() == []
