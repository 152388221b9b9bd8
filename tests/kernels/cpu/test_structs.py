"""The structs of Python and of C are the same, field by field: a C compiler compares them."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import pytest
from supertile.kernels.cpu import (
    attention,
    bands,
    build,
    convolution,
    correlation,
    depthwise_gradient,
    dual_features,
    layer_norm,
    mlp,
    ngrams,
    vab,
    vab_gradients,
)

STRUCTS = [
    ("attention", "strides", attention.Strides),
    ("attention", "shape", attention.Shape),
    ("convolution", "arguments", convolution.Arguments),
    ("correlation", "shape", correlation.Shape),
    ("correlation", "strip", correlation.Strip),
    ("correlation", "weights", correlation.Pointers),
    ("depthwise_gradient", "shape", depthwise_gradient.Shape),
    ("dual_features", "weights", dual_features.Pointers),
    ("layer_norm", "arguments", layer_norm.Arguments),
    ("layer_norm", "numbers", layer_norm.Numbers),
    ("mlp", "weights", mlp.Pointers),
    ("ngrams", "shape", ngrams.Shape),
    ("vab", "weights", vab.Pointers),
    ("vab_gradients", "kept", vab_gradients.Kept),
    ("vab_gradients", "shape", vab_gradients.Shape),
    ("vab_gradients", "weights", vab_gradients.Weights),
    *[(kernel, "shape", bands.Shape) for kernel in ("dual_features", "mlp", "vab")],
]


def compile_assertions(source: str, assertions: list[str]) -> subprocess.CompletedProcess[str]:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    code = [
        f'#include "{source}.c"',
        "#include <stddef.h>",
        *(f'_Static_assert({each}, "{each}");' for each in assertions),
    ]
    return subprocess.run(
        [compiler, "-std=gnu11", "-mavx2", "-mfma", "-fsyntax-only", "-I", str(build.CSRC), "-x", "c", "-"],
        input="\n".join(code), capture_output=True, text=True,
    )  # fmt: skip


def assertions_of(name: str, struct: type[build.Struct]) -> list[str]:
    """Places and sizes of all fields; the size of the whole shows a field that only C has."""
    found = [f"sizeof({name}) == {ctypes.sizeof(struct)}"]
    for field, _ in struct._fields_:
        place = getattr(struct, field)
        found += [f"offsetof({name}, {field}) == {place.offset}", f"sizeof((({name}*)0)->{field}) == {place.size}"]
    return found


@pytest.mark.parametrize(("source", "name", "struct"), STRUCTS)
def test_python_and_c_agree(source: str, name: str, struct: type[build.Struct]) -> None:
    compiled = compile_assertions(source, assertions_of(name, struct))
    assert compiled.returncode == 0, compiled.stderr


def test_a_difference_is_seen() -> None:
    class Swapped(build.Struct):
        _fields_ = build.fields(ctypes.c_int64, "row", "batch", "column")

    class Short(build.Struct):
        _fields_ = build.fields(ctypes.c_int64, "batch", "row")

    for struct in (Swapped, Short):
        assert "static assertion failed" in compile_assertions("attention", assertions_of("strides", struct)).stderr


def test_every_field_is_given_and_no_other() -> None:
    attention.Strides(batch=1, row=2, column=3)
    with pytest.raises(TypeError, match="column"):
        attention.Strides(batch=1, row=2)
    with pytest.raises(TypeError, match="columns"):
        attention.Strides(batch=1, row=2, columns=3)
