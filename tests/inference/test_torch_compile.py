"""torch.compile: when it is used, that results stay the same, and that nothing is lost where it fails."""

from __future__ import annotations

import logging
import shutil

import pytest
import torch
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from supertile.inference import Upscaler, precision
from supertile.inference.accelerator import torch_compile
from supertile.inference.accelerator.torch_compile import MAX_SHAPES, MIN_BATCHES_TIMED, MIN_SECONDS, Compiler
from supertile.weights.loader import load_model
from torch import Tensor

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TINY = {
    "SNG": lambda: HiTSR(HiTSRConfig(
        variant="SNG", scale=2, embed_dim=20, depths=(1,), num_heads=(2,), base_window=(4, 4), window_ratios=(1,),
        mlp_dim=8,
    )),
    "VapSR": lambda: VapSR(VapSRConfig(scale=2, num_feat=8, num_blocks=1, attention_dim=12)),
}  # fmt: skip
"""HAT is not among them: its smallest takes a C++ compiler some minutes."""

DEEP = {
    "HAT": lambda: HAT(HATConfig(
        scale=2, embed_dim=12, depths=(2,), num_heads=(2,), window_size=4, overlap_window=6, compress_dim=4,
        squeeze_dim=3, mlp_dim=16, oca_mlp_dim=20, num_feat=8,
    )),
    **{
        variant: lambda variant=variant: HiTSR(HiTSRConfig(
            variant=variant, scale=2, embed_dim=20, depths=(2,), num_heads=(2,), base_window=(4, 4),
            window_ratios=(1, 2), mlp_dim=8,
        ))
        for variant in ("SRF", "SNG")
    },
    "VapSR": lambda: VapSR(VapSRConfig(num_feat=8, num_blocks=21, attention_dim=8)),
}  # fmt: skip
compiler_needed = pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None, reason="there is no C++ compiler"
)


def pixels(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def forgetful():
    """What dynamo keeps of one test's networks counts against those of the next."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def model(saved, randomized):
    return lambda name, build=TINY: load_model(saved(randomized(build[name]()), f"{name}.safetensors"))


@compiler_needed
def test_a_compiled_network_gives_the_same_images(model, caplog):
    """In batches of one fixed shape; the last of them is filled up. HiT-SR's takes a C++ compiler minutes."""
    loaded = model("VapSR")
    images = [pixels(8, 8, seed=i) for i in range(7)]
    plain, compiled = (
        Upscaler(loaded, device="cpu", precision="fp32", batch=4, compile=choice) for choice in ("off", "on")
    )
    expected = list(plain.stream(images))
    with caplog.at_level(logging.WARNING):
        results = list(compiled.stream(images))
    for result, exact in zip(results, expected, strict=True):
        torch.testing.assert_close(result, exact, atol=1e-5, rtol=0)
    assert compiled._stage.engine.passes.compiler.shapes() == [(4, 3, 8, 8)], caplog.text


@pytest.mark.parametrize("name", list(DEEP))
def test_a_tracer_follows_a_network_without_a_break(model, monkeypatch, caplog, name):
    """VapSR's is as deep as the published one. No compiler runs: what was traced is computed step by step."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *of, **options: real(*of, **options, backend="aot_eager"))
    loaded = model(name, DEEP)
    compiler = Compiler(loaded, "on", CPU)
    for seed in (0, 1):  # the second in this thread, whose stack a tracer would not suit
        image = pixels(12, 20, seed)[None]
        torch.testing.assert_close(compiler(image), precision.run(loaded, image), atol=1e-5, rtol=0)
    assert compiler.shapes() == [(1, 3, 12, 20)], caplog.text


# --- when --------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to, with a compiler that changes nothing."""
    now = [0.0]
    monkeypatch.setattr(torch_compile.importlib.util, "find_spec", lambda name: object())
    return now


def wants(compiler: Compiler, now: list[float], seconds: float, batches: int, coming: int = 0) -> list[bool]:
    asked = []
    for _ in range(batches):
        asked.append(compiler.wants(torch.Size((4, 3, 64, 64)), coming))
        now[0] += seconds
    return asked


def test_auto_compiles_after_a_minute_of_one_shape(vapsr, clock):
    compiler = Compiler(vapsr, "auto", CUDA, clock=lambda: clock[0])
    asked = wants(compiler, clock, 1.0, 80)
    assert asked == [False] * int(MIN_SECONDS) + [True] * (80 - int(MIN_SECONDS))


def test_auto_compiles_for_what_is_known_to_take_a_minute(vapsr, clock):
    compiler = Compiler(vapsr, "auto", CUDA, clock=lambda: clock[0])
    asked = wants(compiler, clock, 0.1, 30, coming=1000)
    assert asked == [False] * MIN_BATCHES_TIMED + [True] * (30 - MIN_BATCHES_TIMED)


def test_auto_never_compiles_for_an_image_or_two(vapsr, clock):
    compiler = Compiler(vapsr, "auto", CUDA, clock=lambda: clock[0])
    for _ in range(50):
        compiler.begin()
        assert not any(wants(compiler, clock, 0.5, 2))
        clock[0] += 3600  # between images nothing is computed


def test_auto_leaves_alone_what_it_knows_nothing_of(vapsr, model, enlarger, clock, monkeypatch):
    def ever(network, device: torch.device) -> bool:
        return any(wants(Compiler(network, "auto", device, clock=lambda: clock[0]), clock, 10.0, 50))

    assert ever(vapsr, CUDA)
    assert ever(model("SNG"), CUDA)
    assert not ever(vapsr, CPU)
    assert not ever(model("HAT", DEEP), CUDA), "a compiler takes many minutes for its windows"
    assert not ever(enlarger(), CUDA)
    monkeypatch.setattr(torch_compile.importlib.util, "find_spec", lambda name: None)
    assert not ever(vapsr, CUDA), "without Triton there is nothing to compile with"


def test_off_never_compiles(vapsr, clock):
    assert not any(wants(Compiler(vapsr, "off", CUDA, clock=lambda: clock[0]), clock, 10.0, 50))


def test_only_so_many_shapes_are_compiled(vapsr, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    upscaler = Upscaler(vapsr, device="cpu", precision="fp32", compile="on")
    for size in range(8, 8 + MAX_SHAPES + 3):
        upscaler(pixels(size, size)[None])
    assert len(upscaler._stage.engine.passes.compiler.shapes()) == MAX_SHAPES


def test_networks_of_others_run_as_they_are(enlarger, caplog):
    result = Upscaler(enlarger(), device="cpu", compile="on")(pixels(8, 8)[None])
    assert torch.equal(result[0], pixels(8, 8).repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert "Only HAT, VapSR and HiT-SR can be compiled" in caplog.text


def test_other_words_are_refused(vapsr):
    with pytest.raises(ValueError, match="compile is one of off, auto, on, verified, not 'yes'"):
        Upscaler(vapsr, device="cpu", compile="yes")


# --- where it fails ----------------------------------------------------------------------------------------------


def raising(error: Exception):
    def compile(network, **_):
        def run(batch: Tensor) -> Tensor:
            raise error

        return run

    return compile


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (raising(RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nand more")), "No working C++"),
        (raising(RecursionError()), "RecursionError"),
        (lambda network, **_: lambda batch: network(batch) + 0.3, "its result differs"),
    ],
)
def test_one_warning_and_the_plain_network(vapsr, monkeypatch, caplog, broken, reason):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda *of, **options: calls.append(1) or broken(*of, **options))
    upscaler = Upscaler(vapsr, device="cpu", precision="fp32", compile="on", batch=2)
    images = [pixels(12, 12, seed=i) for i in range(6)]
    for image, result in zip(images, upscaler.stream(images), strict=True):
        torch.testing.assert_close(result, vapsr.model(image[None])[0].clamp(0, 1), atol=1e-5, rtol=0)
    assert len(calls) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert reason in caplog.text
    assert "\n" not in caplog.records[0].getMessage()


def test_memory_that_runs_out_is_not_the_compilers_fault(vapsr, monkeypatch, caplog):
    monkeypatch.setattr(torch, "compile", raising(torch.OutOfMemoryError("CUDA out of memory")))
    compiler = Compiler(vapsr, "on", CPU)
    with pytest.raises(torch.OutOfMemoryError):
        compiler(pixels(8, 8)[None])
    assert compiler.wants(torch.Size((1, 3, 8, 8)), 0), "it is tried again, with less"


def test_what_a_compiler_meets_later_is_computed_without_it(vapsr, monkeypatch, caplog):
    calls = 0

    def compile(network, **_):
        def run(batch: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise RuntimeError("recompiled once too often")
            return network(batch)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    compiler = Compiler(vapsr, "on", CPU)
    for i in range(5):
        image = pixels(8, 8, seed=i)[None]
        torch.testing.assert_close(compiler(image), vapsr.model(image), atol=1e-6, rtol=0)
    assert calls == 3
    assert "recompiled once too often" in caplog.text
