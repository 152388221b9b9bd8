"""What must not load does not: each broken, hostile or mistaken file gives its own error, and nothing is run.

The files are really made: by torch and safetensors, then cut, edited or written by hand.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from supertile.weights.errors import CheckpointError, NotAModelError, UnreadableCheckpointError, UnsafeCheckpointError
from supertile.weights.files import read_checkpoint, read_header

STATE = {"conv_first.weight": torch.arange(216.0).reshape(8, 3, 3, 3), "conv_first.bias": torch.arange(8.0)}


def saved(obj: object, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(obj, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def assert_refused(path: Path, error: type[CheckpointError], words: str) -> None:
    """Both doors refuse, with exactly this class and a sentence that names the file."""
    for read in (read_header, read_checkpoint):
        with pytest.raises(error, match=words) as caught:
            read(path)
        assert type(caught.value) is error
        assert caught.value.path == path
        message = str(caught.value)
        assert str(path) in message
        assert "\n" not in message
        assert len(message) < len(str(path)) + 400


# ---- mistaken files


NOT_CHECKPOINTS = {
    "empty": (b"", "empty"),
    "web page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>" * 50, "web page: the download failed"),
    "xml": (b'<?xml version="1.0"?><Error>AccessDenied</Error>' * 50, "web page"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 85137601\n", "git-LFS pointer"),
    "100 bytes": (bytes(range(100, 200)), "only 100 bytes"),
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(range(256)) * 4, "GGUF"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:" + bytes(range(256)) * 4, "ONNX"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, "PNG image"),
    "gzip": (b"\x1f\x8b\x08" + bytes(range(256)) * 4, "gzip archive: unpack"),
    "json": (json.dumps({"upscale": 4, "depths": [6] * 200}).encode(), "text file"),
    "zeros": (bytes(5000), "nothing but zeros"),
    "noise": (bytes(range(255, -1, -1)) * 8, "neither a safetensors nor a PyTorch"),
}


@pytest.mark.parametrize("kind", list(NOT_CHECKPOINTS))
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_files_that_are_no_checkpoints(tmp_path: Path, kind: str, name: str):
    content, words = NOT_CHECKPOINTS[kind]
    (tmp_path / name).write_bytes(content)
    assert_refused(tmp_path / name, UnreadableCheckpointError, words)


def test_no_file_a_folder_and_a_pipe(tmp_path: Path):
    assert_refused(tmp_path / "missing.pth", UnreadableCheckpointError, "no such file")
    assert_refused(tmp_path, UnreadableCheckpointError, "folder")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pth")  # reading it would wait for ever
        assert_refused(tmp_path / "pipe.pth", UnreadableCheckpointError, "not a regular file")


def test_zips_of_others(tmp_path: Path):
    path = tmp_path / "model.pth"
    for member, words in (
        ("readme.txt", "not one that PyTorch"),
        ("HAT/HAT_x4.pth", "around 'HAT/HAT_x4.pth'; unpack"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, b"x" * 500)
        assert_refused(path, UnreadableCheckpointError, words)


NOT_MODELS = {
    "basicsr state": (
        {"epoch": 1, "optimizers": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}], "schedulers": []},
        "training state",
    ),
    "optimizer": ({"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-4}]}, "training state"),
    "named optimizer": ({"optimizer": {"conv": {"exp_avg": torch.ones(3)}}}, "training state"),
    "optimizer tensors": ({"a.exp_avg": torch.ones(3), "a.exp_avg_sq": torch.ones(3)}, "optimizer"),
    "lora": (
        {"lora_unet_a.lora_up.weight": torch.ones(4, 2), "lora_unet_a.lora_down.weight": torch.ones(2, 4)},
        "LoRA",
    ),
    "no tensors": ({"epoch": 3, "names": ["a"]}, "no tensors"),
    "empty dict": ({}, "no tensors"),
    "a list": ([torch.ones(3)], "no tensors"),
    "indices only": ({"index": torch.arange(500)}, "no floating-point"),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", list(NOT_MODELS))
def test_checkpoints_without_a_network(tmp_path: Path, kind: str, legacy: bool):
    obj, words = NOT_MODELS[kind]
    (tmp_path / "1000.state").write_bytes(saved(obj, legacy))
    assert_refused(tmp_path / "1000.state", NotAModelError, words)


def test_a_real_optimizer_is_no_model(tmp_path: Path):
    layer = torch.nn.Conv2d(3, 8, 3)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [5, 10])
    state = {"epoch": 1, "optimizers": [optimizer.state_dict()], "schedulers": [schedule.state_dict()]}
    (tmp_path / "1.state").write_bytes(saved(state))
    assert_refused(tmp_path / "1.state", NotAModelError, "training state")


def test_an_empty_safetensors_is_no_model(tmp_path: Path):
    save_file({}, tmp_path / "a.safetensors")
    assert_refused(tmp_path / "a.safetensors", NotAModelError, "no tensors")


# ---- files that run code


class Command:
    """Unpickling it runs a shell command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self.command,)


HOSTILE: dict[str, Callable[[object], bytes]] = {
    "zip": lambda evil: saved({"params": STATE, "note": evil}),
    "legacy": lambda evil: saved({"params": STATE, "note": evil}, legacy=True),
    "pickle 0": lambda evil: pickle.dumps(evil, protocol=0) + b" " * 500,
    "pickle 2": lambda evil: pickle.dumps({"params": evil}, protocol=2) + b" " * 500,
    "pickle 5": lambda evil: pickle.dumps({"params": evil}, protocol=5) + b" " * 500,
}


@pytest.mark.parametrize("kind", list(HOSTILE))
def test_code_is_refused_and_not_run(tmp_path: Path, kind: str):
    path, trace = tmp_path / "model.pth", tmp_path / "trace"
    path.write_bytes(HOSTILE[kind](Command(f"touch '{trace}'")))
    assert_refused(path, UnsafeCheckpointError, r"(posix|nt)\.system")
    assert not trace.exists()
    pickle.loads(pickle.dumps(Command(f"touch '{trace}'")))  # the trap works
    assert trace.exists()


def test_a_whole_module_and_plain_pickles_of_tensors_are_refused(tmp_path: Path):
    path = tmp_path / "model.pth"
    path.write_bytes(saved(torch.nn.Conv2d(3, 8, 3)))
    assert_refused(path, UnsafeCheckpointError, r"torch\.nn\.modules\.conv\.Conv2d")
    path.write_bytes(pickle.dumps({"a": 1.0, "b": [2] * 300}, protocol=2))
    assert_refused(path, UnreadableCheckpointError, "not one of torch.save")


def test_torchscript_is_refused_with_advice(tmp_path: Path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:  # the members of torch.jit.save
        for name in ("data.pkl", "code/__torch__/net.py", "constants.pkl", "version"):
            archive.writestr(f"net/{name}", b"\x80\x02}.")
    assert_refused(path, UnsafeCheckpointError, r"TorchScript.*\.safetensors")


# ---- truncated and damaged files


FORMATS = {"safetensors": save(STATE), "zip": saved(STATE), "legacy": saved(STATE, legacy=True)}


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("part", [0.25, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, kind: str, part: float):
    path = tmp_path / "model"
    path.write_bytes(FORMATS[kind][: int(len(FORMATS[kind]) * part)])
    assert_refused(path, UnreadableCheckpointError, "truncated")


@pytest.mark.parametrize("kind", list(FORMATS))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_cut_and_no_damage_raises_anything_else(tmp_path: Path, kind: str, data: st.DataObject):
    """A cut file never loads; a damaged one gives the right names and shapes or one of our errors."""
    content = bytearray(FORMATS[kind])
    cut = data.draw(st.booleans())
    if cut:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        end = data.draw(st.sampled_from([120, 1500, len(content)]))  # where headers and pickles lie, or anywhere
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, min(end, len(content)) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "model"
    path.write_bytes(content)
    try:
        header, tensors = read_checkpoint(path)
    except CheckpointError as error:
        assert str(path) in str(error)  # noqa: PT017 - any of our errors will do, no error too
    else:
        assert not cut
        assert {name: (info.shape, info.dtype) for name, info in header.tensors.items()} == {
            name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()
        }


# ---- safetensors headers that lie


def safetensors_file(header: object, data_size: int = 400, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + bytes(data_size)


def one(dtype: object = "F32", shape: object = (100,), offsets: object = (0, 400), **more: object) -> dict[str, object]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}}


TWICE = b'{"a":{"dtype":"F32","shape":[50],"data_offsets":[0,200]},"a":{"dtype":"F32","shape":[50],'
TWICE += b'"data_offsets":[200,400]}}'
LIES = {
    "more than the file": (safetensors_file(one(shape=[200], offsets=[0, 800])), "truncated, or other bytes follow"),
    "absurd length": (safetensors_file(one(), length=2**63), "claims more than 1000 TB"),
    "length over 100 MB": (safetensors_file(one(), length=101 * 10**6), "claims 101.0 MB"),
    "length over the file": (safetensors_file(one(), length=5000), "header takes 5000 bytes"),
    "overlap": (
        safetensors_file({**one(), "b": {"dtype": "F32", "shape": [50], "data_offsets": [200, 400]}}),
        "overlap or leaves gaps",
    ),
    "gap": (safetensors_file(one(shape=[90], offsets=[40, 400])), "overlap or leaves gaps"),
    "bytes behind": (safetensors_file(one(), data_size=500), "follow the last tensor"),
    "size of another shape": (safetensors_file(one(shape=[99])), "invalid shape, data type, or offset"),
    "huge shape": (safetensors_file(one(shape=[2**20, 2**20, 2**20])), "overflow computing buffer size"),
    "huge empty shape": (safetensors_file(one(shape=[0, 2**62], offsets=[0, 0]), data_size=0), "beyond any tensor"),
    "many dimensions": (safetensors_file(one(shape=[1] * 60 + [100])), "beyond any tensor"),
    "negative side": (safetensors_file(one(shape=[-10, -10])), "integer `-10`, expected usize"),
    "fractional side": (safetensors_file(one(shape=[100.0])), "floating point `100.0`"),
    "boolean side": (safetensors_file(one(shape=[True, 100])), "boolean `true`"),
    "negative offset": (safetensors_file(one(offsets=[-400, 0])), "integer `-400`, expected usize"),
    "backward offsets": (safetensors_file(one(offsets=[400, 0])), "overlap or leaves gaps"),
    "three offsets": (safetensors_file(one(offsets=[0, 200, 400])), "header is damaged"),
    "no dtype": (safetensors_file({"a": {"shape": [100], "data_offsets": [0, 400]}}), "missing field `dtype`"),
    "unknown dtype": (safetensors_file(one(dtype="Q4_K")), "unknown variant `Q4_K`"),
    "list as dtype": (safetensors_file(one(dtype=["F32"])), "header is damaged"),
    "tensor no object": (safetensors_file({"a": 3}), "integer `3`"),
    "name no string": (safetensors_file(b'{1: {"dtype":"F32","shape":[100],"data_offsets":[0,400]}}'), "damaged"),
    "same name twice": (safetensors_file(TWICE), "overlap or leaves gaps"),
    "deep": (safetensors_file(b'{"a":' + b"[" * 200_000), "header is damaged"),
    "huge number": (safetensors_file(b'{"a":' + b"9" * 100_000 + b"}"), "damaged"),
    "not a number": (safetensors_file(b'{"a":{"shape":[NaN]}}'), "header is damaged"),
    "no utf-8": (safetensors_file(b'{"\xff\xfe":1}'), "header is damaged"),
    "metadata no object": (safetensors_file({"__metadata__": [1], **one()}), "header is damaged"),
    "float8": (safetensors_file(one(dtype="F8_E4M3", shape=[400])), "stored as float8"),
    "complex": (safetensors_file(one(dtype="C64", shape=[50])), "stored as complex64"),
}


@pytest.mark.parametrize("lie", list(LIES))
def test_safetensors_headers_that_lie(tmp_path: Path, lie: str):
    content, words = LIES[lie]
    (tmp_path / "a.safetensors").write_bytes(content)
    assert_refused(tmp_path / "a.safetensors", UnreadableCheckpointError, words)


def test_the_file_maker_of_the_lies_can_tell_the_truth(tmp_path: Path):
    (tmp_path / "a.safetensors").write_bytes(safetensors_file({"__metadata__": {"s": "t"}, **one()}))
    header, tensors = read_checkpoint(tmp_path / "a.safetensors")
    assert torch.equal(tensors["a"], torch.zeros(100))
    assert header.metadata == {"s": "t"}


# ---- PyTorch files that lie


def edited(content: bytes, edit: Callable[[bytes], bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of torch.save with another pickle in it."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(result, "w", compression) as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, edit(data) if name.endswith("data.pkl") else data)
    return result.getvalue()


LENGTH = 0x1234
VECTOR = {"conv_first.weight": torch.zeros(LENGTH)}
SHORT, LONG = b"M\x34\x12", b"J\x00\x00\x00\x40"  # as pickled: the length, and 2**30 (4 GB of float32)


def beyond_storage(pickled: bytes) -> bytes:
    """Leave the storage's length, the first of the two, and change the tensor's."""
    assert pickled.count(SHORT) == 2
    first = pickled.index(SHORT) + len(SHORT)
    return pickled[:first] + pickled[first:].replace(SHORT, LONG)


def legacy_with_length(length: bytes) -> bytes:
    content = saved(VECTOR, legacy=True)
    assert content.count(SHORT) == 2
    return content.replace(SHORT, length)


ZIP_LIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "tensor beyond its storage": (lambda: edited(saved(VECTOR), beyond_storage), "4.3 GB claims to lie in 18.6 kB"),
    "storage beyond its record": (lambda: edited(saved(VECTOR), lambda p: p.replace(SHORT, LONG)), "4.3 GB take 18.6"),
    "record missing": (
        lambda: edited(saved(VECTOR), lambda p: p.replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x007")),
        "'7' are missing",
    ),
    "expanded": (lambda: saved({"a": torch.zeros(1).expand(2**30)}), "4.3 GB claims to lie in 4 bytes"),
    "many views": (
        lambda: saved({f"{i}": torch.zeros(0).set_(BASE, i, (90_000,), (1,)) for i in range(20)}),
        "would take 7.2 MB from a file",
    ),
    "sparse": (lambda: saved({"a": torch.eye(90).to_sparse()}), "sparse tensors"),
    "quantized": (
        lambda: saved({"a": torch.quantize_per_tensor(torch.ones(90), 0.1, 0, torch.qint8)}),
        "quantized tensors",
    ),
    "complex": (lambda: saved({"a": torch.ones(90, dtype=torch.complex64)}), "stored as complex64"),
    "float8": (lambda: saved({"a": torch.ones(90).to(torch.float8_e4m3fn)}), "stored as float8"),
    "empty pickle": (lambda: edited(saved(STATE), lambda p: b""), "truncated or damaged"),
    "absurd pickle": (lambda: edited(saved(STATE), lambda p: b"\x80\x02" + b"N" * 5_100_000 + b"."), "more objects"),
    "deflate bomb": (
        lambda: edited(saved({"a": torch.zeros(500_000)}), lambda p: p, zipfile.ZIP_DEFLATED),
        "far more",
    ),
    "newer protocol": (
        lambda: edited(saved(STATE), lambda p: pickle.dumps({"a": 1}, protocol=4)),
        "pickle of protocol 4",
    ),
}
BASE = torch.zeros(100_000).untyped_storage()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lie", list(ZIP_LIES))
def test_zips_that_lie(tmp_path: Path, lie: str):
    make, words = ZIP_LIES[lie]
    (tmp_path / "a.pth").write_bytes(make())
    assert_refused(tmp_path / "a.pth", UnreadableCheckpointError, words)


def test_a_zip_packed_anew_with_compression_loads(tmp_path: Path):
    state = {"conv_first.weight": torch.randn(LENGTH)}
    (tmp_path / "a.pth").write_bytes(edited(saved(state), lambda p: p, zipfile.ZIP_DEFLATED))
    _, tensors = read_checkpoint(tmp_path / "a.pth")
    assert torch.equal(tensors["conv_first.weight"], state["conv_first.weight"])


def test_legacy_files_that_lie(tmp_path: Path):
    path = tmp_path / "a.pth"
    path.write_bytes(legacy_with_length(LONG))
    assert_refused(path, UnreadableCheckpointError, "truncated")
    path.write_bytes(legacy_with_length(b"M\x33\x12"))  # one less than the storages' own count says
    assert_refused(path, UnreadableCheckpointError, "two different sizes")


def calls(function: str, argument: bytes) -> bytes:
    """A pickle that calls a function of torch's own list of harmless ones."""
    module, _, name = function.rpartition(".")
    return b"\x80\x02}X\x01\x00\x00\x00ac" + f"{module}\n{name}\n".encode() + argument + b"\x85Rs."


@pytest.mark.parametrize(
    ("function", "argument"),
    [("torch.Tensor", LONG), ("builtins.bytearray", LONG), ("torch.FloatStorage", LONG), ("torch.Size", b"(")],
)
def test_harmless_functions_cannot_be_made_to_take_memory(tmp_path: Path, function: str, argument: bytes):
    path = tmp_path / "a.pth"
    path.write_bytes(edited(saved(STATE), lambda _: calls(function, argument)))
    with pytest.raises((UnreadableCheckpointError, UnsafeCheckpointError)):
        read_header(path)


def test_objects_that_take_memory_or_time_are_refused(tmp_path: Path):
    path = tmp_path / "a.pth"
    for pickled in (b"r\xff\xff\xff\x7f", b"B\xff\xff\xff\x7f", b"\x96" + b"\xff" * 7 + b"\x7f", b"\x95" + b"\xff" * 8):
        path.write_bytes(edited(saved(STATE), lambda _, p=pickled: b"\x80\x02}" + p + b"."))
        with pytest.raises((UnreadableCheckpointError, NotAModelError)):
            read_header(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"}", b"Ns."), (b"}U\x01acbuiltins\nset\n]", b"a\x85Rs."), (b"}U\x01accollections\nCounter\n]", b"a\x85Rs.")],
    ids=["dict", "set", "Counter"],
)
def test_hashing_a_dag_of_tuples_is_refused(tmp_path: Path, before: bytes, after: bytes):
    path = tmp_path / "a.pth"
    doubling = b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))  # t = (t, t), sixty times: 2**60 leaves
    path.write_bytes(edited(saved(STATE), lambda _: b"\x80\x02" + before + b")" + doubling + after))
    assert_refused(path, UnreadableCheckpointError, "keys that are no names|Counter of what")
