"""Mistakes of new users: each is answered by a sentence that says what to do, and by the documented exit code."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image
from supertile.cli import app, mistakes
from supertile.images.io.errors import ImageFileError
from supertile.images.io.formats import format_of
from supertile.video.write.encoders import CODECS
from typer.testing import CliRunner

FAILED, USAGE = 1, 2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a few files, and without models but the bundled ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUPERTILE_MODELS", "")
    for name in ("photo.png", "scans/a.png", "scans/b.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 6), (200, 80, 40)).save(name)
    for name in ("empty.png", "empty.mp4", "empty.pth"):
        Path(name).touch()
    Path("notes.png").write_text("not an image", encoding="utf-8")
    Path("nothing").mkdir()
    return tmp_path


def run(command: str):
    return CliRunner().invoke(app, shlex.split(command))


MISTAKES = [
    ("upscal photo.png large.png", USAGE, "No such command 'upscal'. Did you mean 'upscale'?"),
    ("upscale photo.png", USAGE, "Missing argument"),
    ("upscale photo.png large.png --modle x.pth", USAGE, "No such option: --modle"),
    ("upscale foto.png large.png", USAGE, "foto.png does not exist; did you mean photo.png?"),
    ("upscale no/photo.png large.png", USAGE, "there is no folder no either"),
    ("upscale large.png photo.png", USAGE, "large.png does not exist, but photo.png does: the source comes first"),
    ("upscale https://example.org/a.png large.png", USAGE, "is an address; download the file first"),
    ("upscale photo.png https://example.org/a.png", USAGE, "is an address; name a file or a folder on this computer"),
    ("upscale https://example.org/%06d.png large.mp4", USAGE, "is an address; download the file first"),
    ("upscale scans large.png", USAGE, "The files of scans need a folder as target, and large.png is the name of a"),
    ("upscale photo.png scans/a.png large.mp4", USAGE, "Several files need a folder as target"),
    ("upscale photo.png scans/b.png", FAILED, "scans/b.png exists already; pass --overwrite"),
    ("upscale photo.png photo.png", USAGE, "photo.png would overwrite the source photo.png"),
    ("upscale photo.png large.bmp", USAGE, "ends in '.bmp', which cannot be written; use png, jpg"),
    ("upscale photo.png large.pgn", USAGE, "did you mean .png?"),
    ("upscale photo.png large", USAGE, "large has no suffix; end it in .png, .jpg, .webp or .tif"),
    ("upscale photo.png large.jpg --format png", USAGE, "ends in '.jpg', but the format given is png"),
    (
        "upscale photo.png {stam}_4x.png",
        USAGE,
        "unknown placeholder {stam}; there are {stem}, {suffix}, {name}, {paren",
    ),
    ("upscale scans large/{suffix}", USAGE, "scans/a.png and scans/b.png would both become large/.png"),
    ("upscale empty.png large.png", FAILED, "empty.png is empty (0 bytes), not an image."),
    ("upscale empty.mp4 large.mp4", FAILED, "empty.mp4 is empty."),
    ("upscale notes.png large.png", FAILED, "notes.png is not an image in a format that can be read"),
    ("upscale nothing large/", USAGE, "nothing holds no image or video files."),
    ("upscale photo.png large.png --model missing.pth", FAILED, "there is no such file; check the name and the folder"),
    ("upscale photo.png large.png --model supertle-4x", FAILED, "there is no such file; did you mean supertile-4x"),
    ("upscale photo.png large.png --model supertile", FAILED, "several models begin with this name: supertile-2x"),
    ("upscale photo.png large.png --model photo.png", FAILED, "it is a PNG image, not a PyTorch or safetensors"),
    ("upscale photo.png large.png --model scans", FAILED, "it is a folder; choose a checkpoint file inside it"),
    ("upscale photo.png large.png --model empty.pth", FAILED, "the file is empty (0 bytes); download it again"),
    ("upscale photo.png large.png --models missing", USAGE, "'missing' does not exist"),
    ("upscale photo.png large.png --size 2", USAGE, "Size '2' is not understood; did you mean 2x?"),
    ("upscale photo.png large.png --size 200%", USAGE, "Size '200%' is not understood; did you mean 2x?"),
    ("upscale photo.png large.png --size 1080", USAGE, "did you mean 1080p (to fit into 1920x1080), 1080x"),
    ("upscale photo.png large.png --size big", USAGE, "Size 'big' is not understood; give a factor (2x, 1.5x)"),
    ("upscale photo.png large.png --device mps", FAILED, "the device 'mps' cannot be used (it needs a Mac"),
    ("upscale photo.png large.png --device gpu", FAILED, "the device 'gpu' cannot be used (PyTorch calls it cuda)"),
    ("upscale photo.png large.png --precision half", USAGE, "'half' is not one of 'auto', 'fp32', 'fp16', 'bf16'"),
    ("upscale photo.png large.png --format bmp", USAGE, "'bmp' is not one of 'png', 'jpg'"),
    ("upscale photo.png large.png --quality 101", USAGE, "Invalid value for '--quality'"),
    ("upscale photo.png large.png --tile 0", USAGE, "'0' is not auto, whole, none or a whole number from 1"),
    ("upscale photo.png large.mp4 --codec h265", USAGE, "The codec 'h265' is unknown; did you mean hevc?"),
    ("upscale photo.png large.mp4 --codec hvec", USAGE, "The codec 'hvec' is unknown; did you mean hevc?"),
    ("upscale photo.png large.mp4 --codec divx", USAGE, "The codec 'divx' is unknown; the codecs are auto, h264"),
    ("upscale photo.png large.mp4 --preset slowest", USAGE, "The preset 'slowest' is unknown; did you mean veryslow?"),
    ("upscale photo.png large.png --overwrite --skip-existing", USAGE, "exclude each other"),
    ("info supertile-8x", FAILED, "there is no such file; did you mean supertile-"),
    ("models missing", USAGE, "'missing' does not exist"),
]


@pytest.mark.parametrize(("command", "exit_code", "words"), MISTAKES, ids=[command for command, _, _ in MISTAKES])
def test_a_mistake_is_answered(folder, command, exit_code, words):
    before = sorted(folder.rglob("*"))
    result = run(command)
    assert result.exit_code == exit_code, result.output
    said = " ".join(line for line in result.stderr.splitlines() if not line.startswith(("Usage:", "Try ")))
    assert words in said
    assert "Traceback" not in result.output
    assert sorted(folder.rglob("*")) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("option", ["--device cuda", "--device cuda:1", "--devices cuda:0,cuda:1"])
def test_cuda_where_there_is_none(folder, option):
    result = run(f"upscale photo.png large.png {option}")
    assert result.exit_code == FAILED
    assert "cannot be used (" in result.stderr
    assert "take auto or cpu" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        ("large.png --codec hevc", "--codec has no effect: there is no video among the files."),
        (
            "large.png --start 1 --preset slow",
            "--preset and --start have no effect: there is no video among the files.",
        ),
        ("large.png --quality 50", "--quality has no effect: PNG images are lossless."),
        ("large.tif --quality 50", "--quality has no effect: TIFF images are lossless."),
        ("large.jpg --quality 50", None),
        ("large.mp4 --codec hevc --preset ultrafast --quality 50 --pixel-format yuv420p", None),
    ],
)
def test_an_option_without_effect_is_named(folder, arguments, warning):
    result = run(f"upscale photo.png {arguments} --device cpu")
    assert result.exit_code == 0, result.output
    assert [line for line in result.stderr.splitlines() if "no effect" in line] == (
        [f"Warning: {warning}"] if warning else []
    )


def test_a_folder_may_be_named_like_a_file(folder):
    assert run("upscale scans large.png/ --device cpu -q").exit_code == 0
    assert sorted(path.name for path in Path("large.png").glob("*.png")) == ["a.png", "b.png"]
    assert run("upscale scans large.png --device cpu -q --overwrite").exit_code == 0


def test_a_folder_with_a_colon_is_no_address(folder):
    Path("scan:").mkdir()
    assert run("upscale photo.png scan:/large.png --device cpu").exit_code == 0
    assert Path("scan:/large.png").exists()


def test_every_codec_is_known():
    for codec in CODECS:
        mistakes.check_encoder_names(codec, None)
    help_text = " ".join(run("upscale --help").output.split())
    assert all(codec in help_text for codec in CODECS)


def test_a_suffix_like_none_gets_no_guess():
    with pytest.raises(ImageFileError, match=r"'\.docx', which cannot be written; use png"):
        format_of("large.docx")
