"""Many files: which becomes which, and one that fails does not stop the others."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image
from supertile.images.batch import upscale_image_files
from supertile.images.io.errors import ImageFileError
from supertile.images.io.formats import ImageFormat
from supertile.images.jobs import FileJob, PlanError, plan_jobs


def make(path, size=(10, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    codes = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(codes).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for name in ("in/b.jpg", "in/a.png", "in/deep/er/c.bmp", "in/.hidden.png", "in/.cache/d.png"):
        make(tmp_path / name)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path


def names(jobs: list[FileJob], base) -> list[tuple[str, str]]:
    return [(job.source.relative_to(base).as_posix(), job.target.relative_to(base).as_posix()) for job in jobs]


def test_one_file_to_a_file_or_into_a_folder(folder):
    source = folder / "in" / "a.png"
    assert plan_jobs([source], folder / "b.webp") == [FileJob(source, folder / "b.webp", ImageFormat.WEBP)]
    assert plan_jobs([source], f"{folder}/new/") == [FileJob(source, folder / "new" / "a.png", ImageFormat.PNG)]
    (folder / "out").mkdir()
    assert plan_jobs([source], folder / "out", format="jpg") == [
        FileJob(source, folder / "out" / "a.jpg", ImageFormat.JPEG)
    ]
    assert plan_jobs([folder / "in" / "b.jpg"], folder / "out", format="jpeg") == [
        FileJob(folder / "in" / "b.jpg", folder / "out" / "b.jpg", ImageFormat.JPEG)
    ]
    assert not (folder / "new").exists()


def test_a_folder_keeps_its_structure(folder):
    assert names(plan_jobs([folder / "in"], folder / "out"), folder) == [
        ("in/a.png", "out/a.png"),
        ("in/b.jpg", "out/b.jpg"),
        ("in/deep/er/c.bmp", "out/deep/er/c.png"),
    ]


def test_several_sources_keep_the_folders_names(folder):
    make(folder / "more" / "a.png")
    jobs = plan_jobs([folder / "in", folder / "more", folder / "in" / "b.jpg"], folder / "out", format="tif")
    assert [target for _, target in names(jobs, folder)] == [
        "out/in/a.tif",
        "out/in/b.tif",
        "out/in/deep/er/c.tif",
        "out/more/a.tif",
        "out/b.tif",
    ]


def test_results_inside_the_source_folder_are_not_sources_of_the_next_run(folder):
    make(folder / "in" / "large" / "a.png")
    jobs = plan_jobs([folder / "in"], folder / "in" / "large")
    assert [source for source, _ in names(jobs, folder)] == ["in/a.png", "in/b.jpg", "in/deep/er/c.bmp"]


def test_what_does_not_go_together_is_refused_before_any_work(folder):
    def refused(sources, target, match, **options):
        with pytest.raises(PlanError, match=match):
            plan_jobs([folder / source for source in sources], target, **options)

    make(folder / "in" / "a.jpg")
    refused(["in"], folder / "out", r"a\.jpg and .*a\.png would both become .*a\.webp", format="webp")
    make(folder / "in" / "deep" / "A.PNG")
    make(folder / "in" / "deep" / "a.png")
    refused(["in/deep"], folder / "out", "would both become")  # one file on Windows and macOS
    refused(["in/a.png", "in/a.png"], folder / "out", "would both become")
    refused(["none.png"], folder / "out", "does not exist")
    (folder / "empty").mkdir()
    refused(["empty"], folder / "out", "holds no image")
    refused(["in/a.png", "in/b.jpg"], folder / "in" / "a.jpg", "is a file")
    refused(["in/a.png"], folder / "out.bmp", "png, jpg, webp or tiff")
    refused(["in/a.png"], folder / "out", "no suffix")
    refused(["in/a.png"], folder / "out.png", r"ends in '\.png'", format="jpg")
    refused(["in/a.png"], folder / "out/", "cannot be written", format="bmp")
    refused(["in/a.png"], folder / "in", "overwrite the source")
    os.link(folder / "in" / "a.png", folder / "link.png")
    refused(["in/a.png"], folder / "link.png", "overwrite the source")


def test_a_corrupt_file_does_not_stop_the_others(folder, upscaler):
    (folder / "in" / "b.jpg").write_bytes((folder / "in" / "b.jpg").read_bytes()[:300])
    make(folder / "out" / "deep" / "er" / "c.png")  # and one is there already
    make(folder / "in" / "z.png", (7, 5))
    outcomes = list(upscale_image_files(plan_jobs([folder / "in"], folder / "out"), upscaler))
    good, corrupt, odd, existing = outcomes
    assert good.error is odd.error is None
    assert isinstance(corrupt.error, ImageFileError)
    assert "b.jpg" in str(corrupt.error)
    assert "exists already" in str(existing.error)
    assert (odd.source_size, odd.target_size) == ((7, 5), (14, 10))
    with Image.open(folder / "out" / "a.png") as a, Image.open(folder / "out" / "z.png") as z:
        assert (a.size, z.size) == ((20, 16), (14, 10))
    assert not (folder / "out" / "b.jpg").exists()


def test_results_are_those_of_the_files_one_by_one(folder, upscaler):
    from supertile.images.upscale import upscale_image_file

    list(upscale_image_files(plan_jobs([folder / "in"], folder / "out"), upscaler, size="3x"))
    upscale_image_file(folder / "in" / "a.png", folder / "alone.png", upscaler, size="3x")
    assert (folder / "alone.png").read_bytes() == (folder / "out" / "a.png").read_bytes()


def test_an_error_of_ours_ends_the_work_but_not_the_file_being_written(folder, upscaler):
    calls = []

    class Broken:
        scale, input_channels, seamless = upscaler.scale, upscaler.input_channels, upscaler.seamless

        def __call__(self, images):
            calls.append(1)
            if len(calls) == 2:
                raise ZeroDivisionError
            return upscaler(images)

    with pytest.raises(ZeroDivisionError):
        list(upscale_image_files(plan_jobs([folder / "in"], folder / "out"), Broken()))
    assert [path.name for path in (folder / "out").iterdir()] == ["a.png"]
    with Image.open(folder / "out" / "a.png") as image:
        image.load()
