"""Which files become which, decided before any work."""

from __future__ import annotations

import os

import pytest
from supertile.images.io.errors import ImageFileWarning
from supertile.images.io.formats import ImageFormat
from supertile.images.jobs import FileJob, PlanError, plan_jobs


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


def test_several_sources_keep_the_folders_names(folder, make_image):
    make_image(folder / "more" / "a.png")
    jobs = plan_jobs([folder / "in", folder / "more", folder / "in" / "b.jpg"], folder / "out", format="tif")
    assert [target for _, target in names(jobs, folder)] == [
        "out/in/a.tif",
        "out/in/b.tif",
        "out/in/deep/er/c.tif",
        "out/more/a.tif",
        "out/b.tif",
    ]


def test_results_inside_the_source_folder_are_not_sources_of_the_next_run(folder, make_image):
    make_image(folder / "in" / "large" / "a.png")
    jobs = plan_jobs([folder / "in"], folder / "in" / "large")
    assert [source for source, _ in names(jobs, folder)] == ["in/a.png", "in/b.jpg", "in/deep/er/c.bmp"]


def test_subfolders_may_be_left_out(folder):
    jobs = plan_jobs([folder / "in"], folder / "out", subfolders=False)
    assert [source for source, _ in names(jobs, folder)] == ["in/a.png", "in/b.jpg"]


def test_links_out_of_a_confined_folder_are_left_out_and_named(folder, make_image):
    make_image(folder / "secret" / "a.png")
    links = {"inner": "deep", "out": folder / "secret", "out.png": folder / "secret" / "a.png", "up.png": "../absent"}
    for name, target in links.items():
        (folder / "in" / name).symlink_to(target)
    with pytest.warns(ImageFileWarning, match="3 files are left out, as the link leads out of the folder: .*out.*up"):
        jobs = plan_jobs([folder / "in"], folder / "out", confined=True)
    sources = ["in/a.png", "in/b.jpg", "in/deep/er/c.bmp", "in/inner/er/c.bmp"]
    assert [source for source, _ in names(jobs, folder)] == sources
    assert len(plan_jobs([folder / "in"], folder / "out")) == len(sources) + 3


def test_what_does_not_go_together_is_refused_before_any_work(folder, make_image):
    def refused(sources, target, match, **options):
        with pytest.raises(PlanError, match=match):
            plan_jobs([folder / source for source in sources], target, **options)

    make_image(folder / "deep" / "a.png")
    refused(
        ["in/a.png", "deep/a.png"], folder / "out", r"a\.png and .*a\.png would both become .*a\.webp", format="webp"
    )
    refused(["in/a.png", "in/a.png"], folder / "out", "would both become")
    refused(["none.png"], folder / "out", "does not exist")
    (folder / "empty").mkdir()
    refused(["empty"], folder / "out", "holds no image")
    refused(["in/a.png", "in/b.jpg"], make_image(folder / "in" / "a.jpg"), "is a file")
    refused(["in/a.png"], folder / "out.bmp", "png, jpg, webp, tiff, avif or jxl")
    refused(["in/a.png"], folder / "out", "no suffix")
    refused(["in/a.png"], folder / "out.png", r"ends in '\.png'", format="jpg")
    refused(["in/a.png"], folder / "out/", "cannot be written", format="bmp")
    refused(["in/a.png"], folder / "in", "overwrite the source")
    os.link(folder / "in" / "a.png", folder / "link.png")
    refused(["in/a.png"], folder / "link.png", "overwrite the source")
