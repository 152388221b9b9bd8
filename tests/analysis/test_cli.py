"""`supertile eval` and `supertile compare`: tables, files, sentences and exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from supertile import Upscaler, load_model
from supertile.analysis.evaluate import Method, evaluate, mean_of, read_color
from supertile.analysis.fidelity import measure
from supertile.cli import app
from supertile.tests.conftest import write_small_vapsr
from supertile.weights.bundle import bundled_models
from supertile.weights.loader import inspect_checkpoint
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_small_vapsr(tmp_path_factory.mktemp("model") / "small.safetensors", num_feat=8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with five images in Set5, so that it passes for the benchmark."""
    monkeypatch.chdir(tmp_path)
    Path("Set5").mkdir()
    y, x = np.mgrid[:64, :72]
    for number, name in enumerate(("baby", "bird", "butterfly", "head", "woman")):
        waves = np.stack([np.sin(x / 5 + number), np.sin(y / 7), np.sin((x + y) / (6 + number))], -1)
        Image.fromarray((127 + 120 * waves).astype(np.uint8)).save(f"Set5/{name}.png")
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, [*arguments, "--device", "cpu"] if arguments[0] == "eval" else arguments)


def test_models_are_measured_beside_bicubic_and_what_is_published(folder, model):
    result = run("eval", "Set5", "--model", model, "-m", "supertile-2x")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["bicubic", "x2", "small", "x2", "supertile-2x", "x2"]
    assert [line[0] for line in lines[2:8]] == ["baby", "bird", "butterfly", "head", "woman", "mean"]
    files = {"bicubic": None, "small": model, "supertile-2x": bundled_models()["supertile-2x"]}
    for column, (name, file) in enumerate(files.items()):
        method = (
            Method.bicubic(2)
            if file is None
            else Method.of(name, Upscaler(load_model(file), precision="fp32", edges="network"))
        )
        found = mean_of(list(evaluate([method], Path("Set5"))))
        assert lines[7][1 + 2 * column : 3 + 2 * column] == [f"{found.psnr_y:.2f}", f"{found.ssim_y:.4f}"]
    standing = lines[lines.index(["Set5", "x2"]) + 2 :]
    decibels = [float(line[1]) for line in standing]
    assert decibels == sorted(decibels, reverse=True)
    assert [line[0] for line in standing if line[-2:] == ["measured", "here"]] == sorted(
        files, key=lambda name: -next(float(line[1]) for line in standing if line[0] == name and line[-1] == "here")
    )
    assert ["HiT-SRF", "38.26", "0.9615", "Zhang"] in [line[:4] for line in standing]


def test_the_bundled_model_serves_where_none_is_named(folder):
    result = run("eval", "Set5", "--benchmark", "none")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0].split() == ["bicubic", "x4", "supertile-4x", "x4"]
    assert "HAT" not in result.stdout


def test_all_figures_are_written(folder, model):
    result = run("eval", "Set5", "-m", model, "-m", "supertile-4x", "--csv", "all.csv", "--json", "all.json", "-q")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    lines = list(csv.DictReader(Path("all.csv").read_text().splitlines()))
    assert [(line["method"], line["scale"]) for line in lines[::6]] == [
        ("bicubic", "2"), ("bicubic", "4"), ("small", "2"), ("supertile-4x", "4"),
    ]  # fmt: skip
    written = json.loads(Path("all.json").read_text())
    assert written["benchmark"] == "Set5"
    small = written["methods"][2]
    assert (small["file"], small["precision"], small["device"]) == (model, "torch.float32", "cpu")
    assert {line["image"]: line["ssim_rgb"] for line in lines[12:17]} == {
        each["image"]: str(each["ssim_rgb"]) for each in small["images"]
    }
    assert {each["scale"] for each in written["published"]} == {2, 4}
    assert sorted(path.name for path in Path().iterdir()) == ["Set5", "all.csv", "all.json"]

    again = run("eval", "Set5", "-m", model, "--csv", "all.csv")
    assert again.exit_code == 1
    assert again.stderr.splitlines() == ["all.csv exists already; pass --overwrite (overwrite=True) to replace it."]
    assert list(csv.DictReader(Path("all.csv").read_text().splitlines())) == lines
    assert run("eval", "Set5", "-m", model, "--csv", "all.csv", "--overwrite").exit_code == 0
    assert len(Path("all.csv").read_text().splitlines()) == 1 + 2 * 6


def test_files_that_cannot_be_written_are_refused_before_any_work(folder, model):
    for arguments, words in [
        (["--csv", "none/a.csv"], "none/a.csv cannot be written: the folder none does not exist."),
        (["--json", model, "--overwrite"], "is the source itself"),
        (["--json", "Set5", "--overwrite"], "Set5 is a folder"),
    ]:
        result = run("eval", "Set5", "-m", model, *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert len(result.stderr.splitlines()) == 1
        assert words in result.stderr


def test_models_of_one_name_and_one_named_bicubic_are_told_apart(folder, model):
    Path("other").mkdir()
    for name in ("small.safetensors", "other/small.safetensors", "bicubic.safetensors"):
        Path(name).write_bytes(Path(model).read_bytes())
    files = ["small.safetensors", "other/small.safetensors", "bicubic.safetensors"]
    result = run("eval", "Set5", *(word for file in files for word in ("-m", file)), "--json", "all.json")
    assert result.exit_code == 0, result.stderr
    names = [method["name"] for method in json.loads(Path("all.json").read_text())["methods"]]
    assert names == ["bicubic", *files]


def test_rgb_stands_beside_y(folder, model):
    lines = run("eval", "Set5", "-m", model, "--rgb").stdout.splitlines()
    assert lines[1].split() == ["image", *["Y", "PSNR", "SSIM", "RGB", "PSNR", "SSIM"] * 2]
    found = next(evaluate([Method.bicubic(2)], Path("Set5"))).fidelity
    assert lines[2].split()[1:5] == [
        f"{found.psnr_y:.2f}", f"{found.ssim_y:.4f}", f"{found.psnr_rgb:.2f}", f"{found.ssim_rgb:.4f}",
    ]  # fmt: skip


def test_options_reach_the_upscaler(folder, model):
    """Tiles without overlap and half precision change a network's figures; so does the ensemble."""
    plain, *others = (
        run("eval", "Set5", "-m", model, *options.split(), "--json", f"{number}.json", "-q")
        for number, options in enumerate(("", "--tile 12 --overlap 0", "--precision bf16", "--self-ensemble"))
    )
    assert {each.exit_code for each in (plain, *others)} == {0}
    written = [json.loads(Path(f"{number}.json").read_text()) for number in range(4)]
    figures = [[method["mean"]["psnr_rgb"] for method in each["methods"]] for each in written]
    assert len({bicubic for bicubic, _ in figures}) == 1
    assert len({network for _, network in figures}) == 4
    assert written[2]["methods"][1]["precision"] == "torch.bfloat16"
    assert [each["self_ensemble"] for each in written] == [False, False, False, True]


def test_small_images_from_a_folder_and_what_is_missing(folder, model):
    Path("LR").mkdir()
    for path in Path("Set5").iterdir():
        Image.fromarray(np.full((32, 36, 3), 99, np.uint8)).save(f"LR/{path.stem}x2.png")
    Path("LR/headx2.png").rename("LR/dogx2.png")
    result = run("eval", "Set5", "LR", "-m", model)
    assert result.exit_code == 1
    missing = "there is no small image of head.png in LR (such as head.png, headx2.png, head_LR.png)."
    assert result.stderr.splitlines() == [
        "Warning: LR/dogx2.png is ignored: Set5 holds no large image of that name.",
        missing,
        f"small: {missing}",
        "2 of 10 measurements failed; the means are over the others.",
    ]
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[5] == ["head", "-", "-"]
    assert "measured here" not in result.stdout  # four images are not Set5
    found = measure(torch.full((3, 64, 72), 99 / 255), read_color(Path("Set5/baby.png")), 2)
    assert lines[2][1:3] == [f"{found.psnr_y:.2f}", f"{found.ssim_y:.4f}"]


def test_damage_stays_with_its_image(folder, model):
    Path("Set5/head.png").write_bytes(Path("Set5/head.png").read_bytes()[:90])
    result = run("eval", "Set5", "-m", model)
    assert result.exit_code == 1
    assert "Set5/head.png is damaged or incomplete" in result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines[2:8]] == ["baby", "bird", "butterfly", "head", "woman", "mean"]
    assert float(lines[7][1]) == pytest.approx(np.mean([float(lines[i][1]) for i in (2, 3, 4, 6)]), abs=0.01)


def test_what_a_header_tells_is_said_before_any_work(folder, model):
    Path("cut.safetensors").write_bytes(Path(model).read_bytes()[:-10])
    result = run("eval", "Set5", "-m", model, "-m", "cut.safetensors")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cut.safetensors" in result.stderr


def test_a_model_that_cannot_be_read_when_its_turn_comes_leaves_the_others_alone(folder, model, monkeypatch):
    Path("gone.safetensors").write_bytes(Path(model).read_bytes())

    def inspect_and_remove(file, **options):
        found = inspect_checkpoint(file, **options)
        if file != model:
            Path(file).unlink()
        return found

    monkeypatch.setattr("supertile.weights.loader.inspect_checkpoint", inspect_and_remove)
    result = run("eval", "Set5", "-m", "gone.safetensors", "-m", model)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "gone.safetensors" in result.stderr
    assert run("eval", "Set5", "-m", model).stdout == result.stdout


def test_wrong_usage_exits_2(folder, model):
    Path("empty").mkdir()
    for arguments, words in [
        (["none"], "none does not exist."),
        (["empty"], "empty holds no image files"),
        (["Set5", "empty"], "empty holds no image files"),
        (["Set5", "--benchmark", "Set6"], "Set6"),
        (["Set5", "--csv", "all", "--json", "all"], "all cannot be both CSV and JSON; give two names."),
    ]:
        result = run("eval", *arguments, "-m", model)
        assert result.exit_code == 2, arguments
        assert words in result.stderr


# --- compare -----------------------------------------------------------------------------------------------------


def test_two_images_are_compared_and_drawn(folder):
    a, b = Path("Set5/baby.png"), Path("Set5/bird.png")
    result = run("compare", str(a), str(b), "--out", "both.png", "--border", "2")
    assert result.exit_code == 0, result.stderr
    found = measure(read_color(a), read_color(b), 2)
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["PSNR", "SSIM"],
        ["Y", f"{found.psnr_y:.2f}", "dB", f"{found.ssim_y:.4f}"],
        ["RGB", f"{found.psnr_rgb:.2f}", "dB", f"{found.ssim_rgb:.4f}"],
    ]
    with Image.open("both.png") as drawn:
        assert drawn.width == 3 * 4 * 72 + 4 * 12
    assert json.loads(run("compare", str(a), str(b), "--border", "2", "--json").stdout) == {
        **vars(found),
        "identical": False,
    }


def test_equal_images_are_said_to_be_equal(folder):
    result = run("compare", "Set5/baby.png", "Set5/baby.png")
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["Y", "equal", "1.0000"],
        ["RGB", "equal", "1.0000"],
    ]
    found = json.loads(run("compare", "Set5/baby.png", "Set5/baby.png", "--json").stdout)
    assert (found["psnr_y"], found["identical"]) == (None, True)


def test_what_cannot_be_compared_is_one_sentence(folder):
    Image.new("RGB", (20, 20)).save("other.png")
    Image.new("RGBA", (72, 64), (0, 0, 0, 9)).save("clear.png")
    for arguments, words in [
        (["other.png"], "Set5/baby.png and other.png: images of 72x64 and 20x20 cannot be compared pixel by pixel."),
        (["clear.png"], "clear.png has transparency; composite it onto a background to measure its colors."),
        (["none.png"], "none.png does not exist."),
        (["Set5/bird.png", "--out", "other.png"], "other.png exists already; pass --overwrite (overwrite=True)"),
        (["Set5/bird.png", "--out", "Set5/bird.png", "--overwrite"], "Set5/bird.png is the source itself"),
        (["Set5/bird.png", "--out", "both.gif"], "both.gif ends in '.gif', which cannot be written"),
    ]:
        result = run("compare", "Set5/baby.png", *arguments)
        assert result.exit_code == 1, arguments
        assert len(result.stderr.splitlines()) == 1
        assert words in result.stderr
