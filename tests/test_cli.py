"""The command line, in process and as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from supertile import __version__
from supertile.cli import app
from supertile.images.journal import JOURNAL_NAME
from supertile.tests.conftest import hear_interrupts, write_small_vapsr
from supertile.weights import bundle
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_small_vapsr(tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder: a.png, in/b.png, in/deep/c.jpg."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "in/b.png", "in/deep/c.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        codes = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
        Image.fromarray(codes).save(name)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, arguments)


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


def test_one_file(folder, model):
    result = run("upscale", "a.png", "b.webp", "--model", model, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("a.png 10x8 -> b.webp 20x16 (")
    assert result.stderr == ""
    assert size_of("b.webp") == (20, 16)


def test_every_option_reaches_its_place(folder, model):
    options = (
        "--size stretch:33x20 --tile 8 --overlap 2 --batch 2 --precision fp32 --device cpu --seamless x --self-ensemble"
    )
    options += " --compile off"
    result = run("upscale", "a.png", "out/", "-m", model, *options.split(), "--format", "jpg", "--quality", "50", "-q")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert size_of("out/a.jpg") == (33, 20)


def test_a_folder_with_a_corrupt_file(folder, model):
    Path("in/bad.png").write_bytes(Path("a.png").read_bytes()[:60])
    result = run("upscale", "in", "out", "--model", model, "--device", "cpu")
    assert result.exit_code == 1
    assert [line.split(" ")[0] for line in result.stdout.splitlines()] == ["in/b.png", "in/deep/c.jpg"]
    assert size_of("out/b.png") == size_of("out/deep/c.jpg") == (20, 16)
    assert "in/bad.png" in result.stderr.splitlines()[0]
    assert result.stderr.splitlines()[-1] == "2 files done, 1 failed."
    assert not Path("out/bad.png").exists()


def one_sentence(result, exit_code: int) -> str:
    assert result.exit_code == exit_code, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.stderr
    return result.stderr


def test_failures_are_one_sentence_and_exit_1(folder, model):
    os.link("a.png", "same.png")
    Path("text.png").write_text("text")
    Path("clip.mp4").write_bytes(bytes(100))
    for arguments, words in [
        (["text.png", "b.png", "--model", model], "text.png is not an image"),
        (["clip.mp4", "b.png", "--model", model], "clip.mp4 cannot be opened as a video"),
        (["a.png", "in/b.png", "--model", model], "in/b.png exists already; pass --overwrite"),
        (["a.png", "b.png", "--model", "none.safetensors"], "none.safetensors"),
        (["a.png", "b.png", "--model", "text.png"], "text.png"),
        (["a.png", "b.webp", "--model", model, "--size", "stretch:20000x10"], "16383"),
    ]:
        assert words in one_sentence(run("upscale", *arguments, "--device", "cpu"), 1)
    assert not Path("b.png").exists()


def test_wrong_usage_exits_2(folder, model):
    os.link("a.png", "same.png")
    for arguments, words in [
        (["a.png", "a.png", "--overwrite"], "overwrite the source"),
        (["a.png", "same.png", "--overwrite"], "overwrite the source"),
        (["none.png", "b.png"], "none.png does not exist"),
        (["a.png", "b.bmp"], "png, jpg, webp, tiff, avif or jxl"),
        (["a.png", "in/b.png", "a.png", "out"], "would both become"),
    ]:
        assert words in one_sentence(run("upscale", *arguments, "--model", model), 2)
    wrong = "--size=huge --size=0x --tile=-1 --tile=big --overlap=none --batch=0 --mean=1,2,3 --quality=101"
    for option in wrong.split():
        result = run("upscale", "a.png", "b.png", "--model", model, option)
        assert result.exit_code == 2, option
        assert option.split("=")[0] in result.stderr


def test_without_a_model_the_bundled_ones_serve(folder):
    assert run("upscale", "a.png", "b.png", "--device", "cpu").exit_code == 0
    assert Image.open("b.png").size == (40, 32)
    result = run("upscale", "a.png", "c.png", "--model", "supertile-2x", "--device", "cpu")
    assert Image.open("c.png").size == (20, 16), result.output
    info = json.loads(run("info", "supertile-4x", "--json").stdout)
    assert (info["variant"], info["scale"]) == ("VapSR (32 channels, 16 blocks)", 4)
    assert info["metadata"]["license"] == "Apache-2.0"


@pytest.mark.parametrize(
    ("size", "model"), [("2x", "2x"), ("1.5x", "2x"), ("2.1x", "4x"), ("stretch:40x32", "4x"), ("4x", "4x")]
)
def test_the_size_chooses_among_the_bundled_models(folder, monkeypatch, size, model):
    asked = []
    monkeypatch.setattr("supertile.weights.loader.resolve", lambda path: asked.append(path) or bundle.resolve(path))
    assert run("upscale", "a.png", "b.png", "--size", size, "--device", "cpu").exit_code == 0
    assert asked == [f"supertile-{model}"]


def test_demo(folder):
    result = run("demo", "shown", "--device", "cpu")
    assert result.exit_code == 0, result.output
    paths = [Path(line) for line in result.stdout.splitlines()]
    assert [path.name for path in paths] == ["image.png", "image_beside_bicubic.png", "clip.mp4"]
    assert Image.open(paths[0]).size == (640, 480)
    assert Image.open(paths[1]).size == (1284, 480)
    with av.open(str(paths[2])) as clip:
        stream = clip.streams.video[0]
        assert (stream.width, stream.height, sum(1 for _ in clip.decode(stream))) == (512, 384, 50)
    assert "ropped" not in result.stderr


def test_a_warning_is_said_once(folder, model):
    for name in ("x.png", "y.png"):
        Image.new("RGBA", (4, 4), (255, 0, 0, 100)).save(name)
    result = run("upscale", "x.png", "y.png", "out", "--format", "jpg", "--model", model, "--device", "cpu")
    assert result.exit_code == 0
    warning = "Warning: JPEG has no transparency; the image is composited onto white."
    assert result.stderr.splitlines() == [warning, "2 files done."]


def test_debug_shows_the_traceback(folder, model, monkeypatch):
    for arguments, variable in ((["--debug"], "0"), ([], "1")):
        monkeypatch.setenv("SUPERTILE_DEBUG", variable)
        result = run("upscale", "in/none.png", "b.png", "--model", model, *arguments)
        assert type(result.exception).__name__ == "PlanError"


def test_info_and_convert(folder, model):
    result = run("info", model, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["scale"] == 2
    assert found["input_channels"] == found["output_channels"] == 3
    assert "vapsr" in found["family"].lower()
    assert found["path"] == model

    table = run("info", model)
    assert table.exit_code == 0
    assert "2x" in table.stdout

    converted = run("convert", model, "half.safetensors", "--dtype", "fp16")
    assert converted.exit_code == 0, converted.stderr
    assert Path("half.safetensors").stat().st_size < 0.7 * Path(model).stat().st_size
    assert run("upscale", "a.png", "b.png", "-m", "half.safetensors", "--device", "cpu").exit_code == 0
    one_sentence(run("convert", model, "half.safetensors"), 1)
    assert run("convert", model, "half.safetensors", "--overwrite").exit_code == 0
    assert "a.png" in one_sentence(run("info", "a.png"), 1)


def process(*arguments: str, **options) -> subprocess.Popen:
    import supertile

    environment = os.environ | {"PYTHONPATH": str(Path(supertile.__file__).parents[1])}
    if Path(supertile.__file__).parent.name != "supertile":  # imported through a link to the folder
        environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    command = [sys.executable, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=hear_interrupts,
        **options,
    )  # fmt: skip


def test_help_and_version_do_not_wait_for_torch(folder):
    check = "import sys; sys.argv = ['supertile', {!r}]\nfrom supertile.__main__ import main\ntry: main()\n"
    check += "finally: assert 'torch' not in sys.modules"
    for option, words in (("--help", "upscale"), ("--version", f"supertile {__version__}")):
        started = process("-c", check.format(option))
        out, error = started.communicate(timeout=300)
        assert started.returncode == 0, error
        assert words in out


def test_neither_do_wrong_arguments(folder):
    check = "import sys; sys.argv = ['supertile', 'upscale', *{!r}]\nfrom supertile.__main__ import main\ntry: main()\n"
    check += "finally: assert 'torch' not in sys.modules"
    for arguments, words in [
        (["none.png", "b.png", "--size", "4k"], "none.png does not exist"),
        (["a.png", "b.png", "--size", "2"], "did you mean 2x?"),
        (["a.png", "{stam}.png"], "unknown placeholder {stam}"),
    ]:
        started = process("-c", check.format(arguments))
        error = started.communicate(timeout=300)[1]
        assert started.returncode == 2, error
        assert words in error


def test_without_typer_one_sentence_says_what_to_install(folder):
    started = process("-c", "import sys; sys.modules['typer'] = None\nfrom supertile.__main__ import main\nmain()")
    error = started.communicate(timeout=300)[1]
    assert started.returncode == 1
    assert error.splitlines() == ["The supertile command needs typer and rich: pip install supertile[cli]"]


def test_as_a_process(folder, model):
    started = process("-m", "supertile", "upscale", "a.png", "b.png", "--model", model, "--device", "cpu")
    out, error = started.communicate(timeout=300)
    assert started.returncode == 0, error
    assert out.startswith("a.png 10x8 -> b.png 20x16 (")
    assert error == ""
    assert size_of("b.png") == (20, 16)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another matter there")
def test_interrupting_leaves_finished_files_and_no_half_ones(folder, model):
    for number in range(300):
        Image.new("RGB", (64, 64), (number % 256, 0, 0)).save(f"in/{number:03}.png")
    started = process("-m", "supertile", "upscale", "in", "out", "--model", model, "--device", "cpu")
    deadline = time.monotonic() + 300
    while len(list(Path("out").glob("*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    started.send_signal(signal.SIGINT)
    error = started.communicate(timeout=300)[1]
    assert started.returncode == 130
    assert error.splitlines() == ["Interrupted; finished files are kept."]
    finished = [path for path in Path("out").iterdir() if path.name != JOURNAL_NAME]
    assert 3 <= len(finished) < 300
    for path in finished:
        assert path.suffix == ".png"  # and not .part
        assert size_of(str(path)) == (128, 128)
