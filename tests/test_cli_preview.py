"""`supertile preview`: files, words, mistakes, and the browser that it opens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from supertile.cli import app
from supertile.tests.conftest import write_small_vapsr
from supertile.tests.video.conftest import smooth_planes, write_video
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_small_vapsr(tmp_path_factory.mktemp("model") / "small.safetensors", num_feat=8)


@pytest.fixture
def preview(tmp_path, monkeypatch, model):
    """`preview(...)` runs the command in a folder with photo.png, photo.jpg and film.mkv."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BROWSER", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for name in ("photo.png", "photo.jpg"):
        Image.fromarray(pixels).save(name)
    write_video("film.mkv", [smooth_planes("yuv420p", 48, 32, i) for i in range(20)], codec="mpeg4")
    return lambda *arguments: CliRunner().invoke(app, ["preview", *arguments, "-m", model, "--device", "cpu"])


def files() -> set[str]:
    return {path.name for path in Path().rglob("*")} - {"photo.png", "photo.jpg", "film.mkv"}


def test_a_sheet_is_written_and_the_whole_job_is_estimated(preview):
    result = preview("photo.png")
    assert result.exit_code == 0, result.output
    size, job, sheet = result.stdout.splitlines()
    assert (size, sheet) == ("photo.png, 50x40", "photo-preview.png")
    assert job.startswith("small: 100x80, about 1 s, about ")
    assert files() == {"photo-preview.png"}
    assert Image.open("photo-preview.png").width > 500


def test_a_page_too_and_both_where_they_are_wanted(preview):
    result = preview("film.mkv", "--out", "new/a.webp", "--page", "pages/b.html", "--no-estimate", "--crops", "2", "-q")
    assert (result.exit_code, result.output) == (0, "")
    assert files() == {"new", "a.webp", "pages", "b.html"}
    assert "film.mkv, 48x32, 20 frames" in Path("pages/b.html").read_text(encoding="utf-8")


def test_facts_for_programs(preview):
    result = preview("film.mkv", "--json", "--crops", "2", "--size", "3x")
    facts = json.loads(result.stdout)
    [method] = facts["models"]
    assert (method["name"], method["target_size"], method["problem"]) == ("small", [144, 96], None)
    assert method["seconds"] > 0
    assert method["bytes"] > 0
    assert [crop["seconds"] for crop in facts["crops"]] == [0.2, 0.6]
    assert (facts["frames"], facts["sheet"], facts["page"]) == (20, "film-preview.png", None)


def test_nothing_is_replaced_and_nothing_is_computed_for_that(preview):
    Path("photo-preview.png").write_text("mine")
    result = preview("photo.png", "--device", "no device")
    assert result.exit_code == 1
    assert result.stderr == "photo-preview.png exists already; pass --overwrite (overwrite=True) to replace it.\n"
    assert Path("photo-preview.png").read_text() == "mine"
    assert preview("photo.png", "--overwrite", "--no-estimate").exit_code == 0
    Image.open("photo-preview.png").load()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["foto.png"], 2, "foto.png does not exist; did you mean photo.png?"),
        (["."], 2, ". is a folder; name one image or video in it."),
        (["https://example.org/a.png"], 2, "is an address; download the file first"),
        (["photo.png", "--at", "50,3"], 2, "50,3 lies outside of photo.png, which has 50x40 pixels."),
        (["photo.png", "--at", "middle"], 2, "'middle' is not X,Y"),
        (["photo.png", "--crops", "0"], 2, "--crops"),
        (["photo.png", "--page", "a.png"], 2, "The page a.png needs a name that ends in .html."),
        (["photo.png", "--out", "a.xyz"], 1, "a.xyz ends in '.xyz', which cannot be written"),
        (["photo.png", "--out", "photo.png", "--overwrite"], 1, "photo.png is the source itself"),
        (["photo.png", "--denoise", "0.5"], 1, "for the bundled networks only"),
        (["photo.png", "-m", "nothing.pth"], 1, "nothing.pth"),
        (["film.mkv", "--start", "9"], 1, "film.mkv has no frame between 9 s"),
        (["%03d.png"], 1, "%03d.png"),
    ],
)
def test_mistakes_are_one_sentence(preview, arguments, code, sentence):
    result = preview(*arguments)
    assert result.exit_code == code, result.output
    assert sentence in result.stderr
    assert "Traceback" not in result.output
    assert files() == set()


def test_options_for_videos_have_no_effect_on_an_image(preview):
    result = preview("photo.jpg", "--start", "1", "--no-estimate")
    assert result.stderr == "Warning: --start and --end have no effect: photo.jpg is no video.\n"


def test_numbered_images_are_named_after_what_is_around_the_number(preview):
    Path("scans").mkdir()
    for number in range(3):
        Image.new("RGB", (20, 16), (80 * number, 9, 9)).save(f"scans/{number:03}.png")
        Image.new("RGB", (20, 16), (80 * number, 9, 9)).save(f"shot_{number}.png")
    assert preview("scans/%03d.png", "--no-estimate").stdout.splitlines()[-1] == "scans-preview.png"
    assert preview("shot_%d.png", "--no-estimate").stdout.splitlines()[-1] == "shot-preview.png"


@pytest.mark.skipif(sys.platform == "win32", reason="a script cannot be the browser")
def test_the_page_is_opened_in_the_browser_or_named(preview, model):
    result = preview("photo.png", "--open", "--no-estimate")
    page = Path("photo-preview.html").absolute()
    assert result.exit_code == 0
    assert result.stderr == f"No browser can be opened here; the page is {page}.\n"
    Path("browser").write_text('#!/bin/sh\necho "$1" > opened\n')
    Path("browser").chmod(0o755)
    command = [sys.executable, "-m", "supertile", "preview", "photo.png", "--open", "--overwrite", "--no-estimate"]
    environment = os.environ | {"BROWSER": str(Path("browser").absolute())}
    subprocess.run([*command, "-m", model, "--device", "cpu"], env=environment, check=True, capture_output=True)
    assert Path("opened").read_text().strip() == page.as_uri()
