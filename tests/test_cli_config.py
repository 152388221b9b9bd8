"""Configuration files: which value wins, what is said, and what is refused."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image
from supertile.cli import app
from supertile.cli.config import user_file
from supertile.tests.conftest import write_small_vapsr
from typer.testing import CliRunner


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder with photo.png and a model x2, in which nothing but its own files sets anything."""
    monkeypatch.chdir(tmp_path)
    for name in ("SUPERTILE_CONFIG", "SUPERTILE_MODELS", "SUPERTILE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CONFIG_HOME", "APPDATA", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    Image.new("RGB", (8, 6), (200, 80, 40)).save("photo.png")
    write_small_vapsr(tmp_path / "tiny.safetensors", num_feat=8)
    return tmp_path


def write(text: str, path: Path = Path("supertile.toml")) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run(*arguments: str):
    return CliRunner().invoke(app, arguments)


def upscaled(*arguments: str) -> tuple[int, int]:
    """Return the size of large.png, which the command makes."""
    result = run("upscale", "photo.png", "large.png", *arguments)
    assert result.exit_code == 0, result.output
    with Image.open("large.png") as image:
        size = image.size
    Path("large.png").unlink()
    return size


BASE = 'device = "cpu"\nmodel = "tiny.safetensors"\n'


def test_a_file_sets_what_no_argument_sets(folder):
    write(BASE + '[upscale]\nsize = "3x"\n')
    assert upscaled() == (24, 18)
    assert upscaled("--size", "1.5x") == (12, 9)
    assert upscaled("--no-config", "-m", "tiny.safetensors", "--device", "cpu") == (16, 12)


def test_the_nearer_file_wins_and_each_is_named(folder):
    write(BASE + '[upscale]\nsize = "3x"\ntile = 64\n', user_file())
    write('size = "5x"\n')
    result = run("upscale", "photo.png", "large.png", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[:2] == [
        f"{user_file()} sets --device, --model, --tile.",
        "supertile.toml sets --size.",
    ]
    done = json.loads(result.stdout.splitlines()[-2])
    assert done["target_size"] == [40, 30]
    assert run("upscale", "photo.png", "quiet.png", "--quiet").stderr == ""
    assert "supertile.toml" not in run("upscale", "photo.png", "b.png", "--size", "2x").stderr


def test_a_table_wins_over_what_is_for_all_commands(folder):
    write('device = "nonsense"\nmodel = "tiny"\n[upscale]\ndevice = "cpu"\nmodel = "tiny.safetensors"\n')
    assert upscaled() == (16, 12)


def test_a_file_that_is_named_replaces_the_others(folder, monkeypatch):
    write("nonsense = 1\n")
    write("nonsense = 1\n", user_file())
    write(BASE + "size = '3x'\n", Path("other/mine.toml"))
    assert upscaled("--config", "other/mine.toml") == (24, 18)
    monkeypatch.setenv("SUPERTILE_CONFIG", "other/mine.toml")
    assert upscaled() == (24, 18)
    write(BASE + "size = '4x'\n", Path("third.toml"))
    assert upscaled("--config", "third.toml") == (32, 24)
    assert upscaled("--no-config", "-m", "tiny.safetensors") == (16, 12)


def test_the_environment_wins_over_files(folder, monkeypatch):
    for name, scale in (("env", 16), ("file", 8)):
        Path(name).mkdir()
        write_small_vapsr(Path(name, "same.safetensors"), num_feat=scale)
    monkeypatch.setenv("SUPERTILE_MODELS", "env")
    write('models = "file"\n')
    assert json.loads(run("info", "same", "--json").stdout)["path"] == "env/same.safetensors"
    monkeypatch.delenv("SUPERTILE_MODELS")
    assert json.loads(run("info", "same", "--json").stdout)["path"].endswith("file/same.safetensors")
    assert json.loads(run("info", "same", "--json", "--models", "env").stdout)["path"].endswith("env/same.safetensors")
    assert "SUPERTILE_MODELS" not in os.environ


def test_every_kind_of_value(folder):
    write(
        BASE + "[upscale]\ntile = 'whole'\noverlap = 4\nquality = 80\nself_ensemble = true\n"
        "keep-times = false\nprecision = 'fp32'\nstart = 1.5\nformat = 'jpg'\n[bench]\ncase = ['a', 'b']\n[eval]\n"
    )
    result = run("upscale", "photo.png", "out/")
    assert result.exit_code == 0, result.output
    assert Path("out/photo.jpg").is_file()


def test_options_of_other_commands_are_left_alone(folder):
    write("size = '3x'\nrounds = 3\n[upscale]\nsize = '2x'\n")
    assert run("models", ".", "--json").exit_code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("device = \n", "supertile.toml, line 1: Invalid value"),
        ("\n\ndevcie = 'cpu'\n", "supertile.toml, line 3: devcie: there is no option --devcie; did you mean device?"),
        ("[upscale]\nrounds = 3\n", "supertile.toml, line 2: rounds: supertile upscale has no option --rounds"),
        (
            "[upscal]\nsize = '2x'\n",
            "supertile.toml, line 1: upscal: there is no command of this name; did you mean ups",
        ),
        ("[upscale]\nsize = 2\n", "supertile.toml, line 2: size: Size '2' is not understood; did you mean 2x?"),
        ("size = true\n", "supertile.toml, line 1: size: this is a text in quotes, or a number."),
        ("size = ['2x']\n", "supertile.toml, line 1: size: this is a text in quotes, or a number."),
        ("[upscale]\n\nquality = 101\n", "supertile.toml, line 3: quality: "),
        ("quality = 90.5\n", "supertile.toml, line 1: quality: "),
        ("self-ensemble = 'yes'\n", "supertile.toml, line 1: self-ensemble: this is true or false, without quotes."),
        ("precision = 'half'\n", "'half' is not one of 'auto', 'fp32'"),
        ("size = 2024-01-01\n", "supertile.toml, line 1: size: this is a text in quotes, or a number."),
        ("version = true\n", "there is no option --version"),
        ("sources = 'a.png'\n", "there is no option --sources"),
        ("[upscale]\ncluster = 'host:1'\n", "supertile.toml, line 2: cluster: give it on the command line or in "),
        ("[eval]\njson = '~/.bashrc'\n", "supertile.toml, line 2: json: give it on the command line or in "),
        ("models = 'nowhere'\n", "supertile.toml, line 1: models: there is no folder nowhere."),
        ("overwrite = true\n", "supertile.toml, line 1: overwrite: give it on the command line or in "),
        ("a = " + "[" * 5000, "supertile.toml"),
        ("size = '\x00'\n", "supertile.toml, line 1: "),
    ],
)
def test_what_is_wrong_is_one_sentence(folder, text, words):
    write(text)
    result = run("upscale", "photo.png", "large.png")
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not Path("large.png").exists()
    assert run("upscale", "photo.png", "large.png", "--no-config", "-q").exit_code == 0
    assert run("upscale", "--help").exit_code == 0


def test_overwriting_may_be_set_in_a_file_of_ones_own(folder):
    write("overwrite = true\n" + BASE, user_file())
    for _ in range(2):
        assert run("upscale", "photo.png", "large.png").exit_code == 0


def test_files_that_cannot_be_read(folder):
    for name, words in (("missing.toml", "missing.toml is not a file of settings."), (".", ". is not a file")):
        result = run("upscale", "photo.png", "large.png", "--config", name)
        assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
    Path("bytes.toml").write_bytes(b"\xff\xfe")
    assert "is not a text in UTF-8" in run("models", ".", "--config", "bytes.toml").stderr
    Path("large.toml").write_bytes(b"#" * (2 << 20))
    assert "is too large" in run("models", ".", "--config", "large.toml").stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_a_pipe_is_no_file_of_settings(folder):
    os.mkfifo("supertile.toml")
    result = run("models", ".")
    assert (result.exit_code, result.stderr) == (2, "supertile.toml is not a file of settings.\n")


def test_every_command_reads_files(folder):
    for command in ("upscale", "join", "models", "info", "convert", "demo", "compare", "attribution", "eval", "bench"):
        assert "--no-config" in run(command, "--help").output, command
