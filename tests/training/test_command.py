"""`python -m supertile.training`: from nothing to a file that load_model opens, and what is said when that fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from supertile.training.__main__ import app
from supertile.training.trainer import read_state
from supertile.weights.loader import inspect_checkpoint, load_model
from typer.testing import CliRunner

SMALL = ["network.num_feat=16", "network.num_blocks=1", "network.attention_dim=16", "batch=2", "patch=12", "warmup=2"]


def run(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def small(*changes: str) -> list[str]:
    return [word for each in (*SMALL, *changes) for word in ("--set", each)]


def one_sentence(result, code: int = 1) -> str:
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].endswith(".")
    return lines[0]


def test_from_nothing_to_a_network(tmp_path):
    folder, images = tmp_path / "run", tmp_path / "images"
    assert run("generate", tmp_path / "corpus", "--count", 2, "--size", 64, "--workers", 1).exit_code == 0
    images.mkdir()
    from PIL import Image
    from supertile.training.images import make_image

    Image.fromarray(make_image(9, 0, 65)).save(images / "odd.png")
    options = ["train", folder, "--corpus", tmp_path / "corpus", "--device", "cpu", "--validate", images]
    result = run(*options, "--every", 3, *small("steps=6"))
    assert result.exit_code == 0, result.output
    assert [re.match(r"step (\d+) loss [\d.]+ .*PSNR [\d.]+$", line)[1] for line in result.stdout.splitlines()] == [
        "3",
        "6",
    ]
    assert (folder / "log.txt").read_text() == result.stdout

    longer = run(*options, "--every", 3, *small("steps=9"))
    assert "Going on from step 6 of 9." in longer.stderr
    assert longer.stdout.startswith("step 9 ")

    result = run(
        "export", folder, tmp_path / "out.safetensors", "--fact", "license=Apache-2.0", "--fact", "title=small"
    )
    assert result.exit_code == 0, result.output
    info = inspect_checkpoint(tmp_path / "out.safetensors")
    assert (info.family, info.scale, info.dtype, info.metadata["license"]) == ("VapSR", 2, "fp16", "Apache-2.0")
    assert info.metadata["trained"] == "9 steps"
    _, _, averaged = read_state(folder / "state.pt")
    for name, tensor in load_model(tmp_path / "out.safetensors").model.state_dict().items():
        assert torch.equal(tensor, averaged[name].half().float())

    begun = run("train", tmp_path / "x4", *options[2:6], "--scale", 4, "--begin", tmp_path / "out.safetensors",
                *small("steps=1"))  # fmt: skip
    assert "4 tensors of the network are new" in begun.stderr


def test_a_photo_training_mixes_corpora_and_is_measured(tmp_path, corpus_folder):
    folder, out = tmp_path / "run", tmp_path / "out.safetensors"
    other = tmp_path / "other"
    generate = ["generate", other, "--count", 1, "--size", 96, "--seed", 5, "--workers", 1, "--only"]
    assert "There are no scenes 'maps'" in one_sentence(run(*generate, "maps"))
    assert run(*generate, "graphics").exit_code == 0
    result = run("train", folder, "--corpus", corpus_folder, "--mix", f"{other}=0.5", "--config", "photo",
                 "--device", "cpu", "--every", 2, *small("steps=2"))  # fmt: skip
    assert result.exit_code == 0, result.output
    config, _, _ = read_state(folder / "state.pt")
    assert 0.7 < config.degraded_share < 0.8
    assert run("export", folder, out).exit_code == 0

    benchmark = tmp_path / "bench" / "x2"
    benchmark.mkdir(parents=True)
    from PIL import Image
    from supertile.training.corpus import reduced
    from supertile.training.images import make_image

    large = make_image(9, 0, 64)
    Image.fromarray(large).save(benchmark / "001_HR.png")
    Image.fromarray(reduced(large, 2)).save(benchmark / "001_LR.png")
    result = run("measure", out, benchmark)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "| bench x2 | bicubic | out |"
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert names == ["clean", "JPEG 90", "JPEG 75", "JPEG 60", "JPEG 40", "noise 5", "noise 10"]
    bicubic = [float(line.split("|")[2].split("/")[0]) for line in lines[2:]]
    assert bicubic[0] > bicubic[2] > bicubic[4]
    assert bicubic[0] > bicubic[5] > bicubic[6]


def test_what_is_wrong_is_one_sentence(tmp_path, corpus_folder):
    train = ["train", tmp_path / "run", "--device", "cpu"]
    good = [*train, "--corpus", corpus_folder]
    (tmp_path / "text.txt").write_text("no network")
    for arguments, words in [
        ([*train, "--corpus", tmp_path / "none"], "no corpus that can be read"),
        ([*good, "--network", "EDSR"], "no network 'EDSR'; there are VapSR-S,"),
        ([*good, "--config", "quick"], "no config 'quick'; there are pretrain, finetune"),
        ([*good, "--set", "steps"], "'steps' is not NAME=VALUE"),
        ([*good, "--set", "stepz=3"], "no value 'stepz'; it has seed, steps,"),
        ([*good, "--set", "steps=many"], "steps is a number such as 40000, not 'many'"),
        ([*good, "--set", "loss=l3"], "no loss 'l3'; there are l1, l2"),
        ([*good, "--set", "network.width=3"], "VapSR has no hyper-parameter 'width'"),
        ([*good, "--set", "network.num_feat=-3"], "No VapSR network can be built so"),
        ([*good, "--set", "patch=1000"], "A patch of 1000 pixels does not fit"),
        ([*good, "--scale", "5"], "which 5 does not divide"),
        ([*good, "--mix", f"{corpus_folder}=half"], "A share of the crops is a number from 0 to 1"),
        ([*good, "--mix", f"{corpus_folder}=1.5"], "Shares of crops are from 0 to 1 and add up to 1, not -0.5, 1.5"),
        (["measure", "supertile-2x", tmp_path], "There are no pairs NNN_HR.png and NNN_LR.png in"),
        ([*good, "--begin", tmp_path / "text.txt"], "text.txt"),
        ([*good, "--validate", tmp_path / "none"], "There are no images in"),
        (["export", tmp_path / "none", tmp_path / "out.safetensors"], "no checkpoint that a training can go on from"),
        (["generate", tmp_path / "corpus", "--typefaces", tmp_path], "There are no .ttf or .otf files in"),
        (["collect", tmp_path / "corpus", tmp_path / "text.txt"], "text.txt cannot be read as an image"),
    ]:
        assert words in one_sentence(run(*arguments))
    assert run("train", tmp_path / "run").exit_code == 2
    question = run("measure", "supertile-photo-3x", tmp_path).stderr
    assert re.search(r"did you mean supertile-photo-\dx.*\?$", question.strip()), question


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_checkpoint(tmp_path, corpus_folder, number):
    folder = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "supertile.training",
        "train",
        folder,
        "--corpus",
        corpus_folder,
        "--device",
        "cpu",
    ]
    started = subprocess.Popen(
        [str(c) for c in (*command, "--every", 2, *small("steps=1000000"))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert started.stdout.readline().startswith("step 2 ")
        time.sleep(0.2)
        started.send_signal(number)
        _, errors = started.communicate(timeout=300)
    finally:
        started.kill()
    assert started.returncode == 130, errors
    assert "Interrupted; the same command goes on from here." in errors
    assert "Traceback" not in errors
    _, step, _ = read_state(folder / "state.pt")
    assert step >= 2
    assert Path(folder / "log.txt").read_text().startswith("step 2 ")
