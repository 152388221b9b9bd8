"""Targets with placeholders: what they become, and which braces are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from supertile.images.jobs import FileJob, PlanError, plan_jobs
from supertile.images.target_template import TargetTemplate


def targets(jobs: list[FileJob], base: Path) -> list[str]:
    return [job.target.relative_to(base).as_posix() for job in jobs]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("out/{stem}_4x{suffix}", ["out/a_4x.png", "out/b_4x.jpg", "out/deep/er/c_4x.png"]),
        ("out/{stem}_4x", ["out/a_4x.png", "out/b_4x.jpg", "out/deep/er/c_4x.png"]),
        ("out/4x-{name}", ["out/4x-a.png", "out/4x-b.jpg", "out/deep/er/4x-c.png"]),
        ("out/{stem}.webp", ["out/a.webp", "out/b.webp", "out/deep/er/c.webp"]),
        ("{stem}/x/", ["a/x/a.png", "b/x/b.jpg", "c/x/deep/er/c.png"]),
        ("out/{{{stem}}}.png", ["out/{a}.png", "out/{b}.png", "out/deep/er/{c}.png"]),
        ("out/{parent}/{stem}.png", ["out/in/a.png", "out/in/b.png", "out/in/deep/er/c.png"]),
        ("{parent}/{stem}@2.png", ["in/a@2.png", "in/b@2.png", "in/deep/er/c@2.png"]),
    ],
)
def test_a_folder(folder, monkeypatch, target, expected):
    monkeypatch.chdir(folder)
    assert targets(plan_jobs(["in"], target), Path()) == expected


def test_one_file_several_and_several_folders(folder, monkeypatch, make_image):
    monkeypatch.chdir(folder)
    make_image(Path("more/a.png"))
    assert targets(plan_jobs(["in/a.png"], "{stem}_4x"), Path()) == ["a_4x.png"]
    assert targets(plan_jobs(["in/a.png"], "{stem}_4x.jpg"), Path()) == ["a_4x.jpg"]
    assert targets(plan_jobs(["in/a.png", "in/b.jpg"], "o/{stem}", format="webp"), Path()) == ["o/a.webp", "o/b.webp"]
    made = targets(plan_jobs(["in", "more"], "o/{stem}_4x"), Path())
    assert made == ["o/in/a_4x.png", "o/in/b_4x.jpg", "o/in/deep/er/c_4x.png", "o/more/a_4x.png"]


def test_what_the_model_decides_is_asked_for_only_if_it_is_needed(folder, monkeypatch):
    monkeypatch.chdir(folder)
    asked = []

    def values_of(source: Path, result: Path) -> dict[str, str]:
        asked.append((source, result))
        return {"model": "m", "scale": "1.5", "width": "15", "height": "12"}

    plan_jobs(["in/b.jpg"], "{stem}", values_of=values_of)
    assert asked == []
    [job] = plan_jobs(["in/b.jpg"], "{model}-{scale}x/{stem}-{width}x{height}{suffix}", values_of=values_of)
    assert job.target == Path("m-1.5x/b-15x12.jpg")
    assert asked == [(Path("in/b.jpg"), Path("b.jpg"))]
    with pytest.raises(PlanError, match=r"unknown placeholder \{scale\}"):
        plan_jobs(["in/b.jpg"], "{stem}_{scale}x")


@pytest.mark.parametrize("target", ["out/{stam}.png", "out/{stam}_{width}", "{stam}/{stem}"])
def test_unknown_placeholders_are_refused_with_the_list(folder, target):
    with pytest.raises(PlanError) as refused:
        plan_jobs([folder / "in"], target)
    assert "unknown placeholder {stam}; there are {stem}, {suffix}, {name}, {parent}, {model}," in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("target", ["out/{{x}}{suffix}", "out/{model}.png", "out/{suffix}"])
def test_two_sources_of_one_target_are_refused(folder, target):
    with pytest.raises(PlanError, match="would both become"):
        plan_jobs([folder / "in/a.png", folder / "in/b.jpg"], target, format="png", values_of=lambda *_: {"model": "m"})


def test_a_source_is_never_the_target(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for sources in (["in"], ["in/a.png"]):
        with pytest.raises(PlanError, match="would overwrite the source"):
            plan_jobs(sources, "{parent}/{stem}{suffix}")


def test_results_beside_their_sources_are_no_sources_of_the_next_run(folder, monkeypatch, make_image):
    monkeypatch.chdir(folder)
    first = targets(plan_jobs(["in"], "in/{stem}_4x"), Path())
    for target in first:
        make_image(Path(target))
    assert targets(plan_jobs(["in"], "in/{stem}_4x"), Path()) == first
    assert targets(plan_jobs(["in"], "{parent}/{stem}_4x"), Path()) == first
    with pytest.raises(PlanError, match="would overwrite the source"):  # both were named
        plan_jobs(["in/a.png", "in/a_4x.png"], "in/{stem}_4x")


@pytest.mark.parametrize("target", ["a{b}.png", "{old}/x.png", "{stem}/x.png", "{stem}.png"])
def test_braces_of_files_and_folders_that_exist_are_their_own(folder, monkeypatch, make_image, target):
    monkeypatch.chdir(folder)
    make_image(Path(target))
    assert targets(plan_jobs(["in/a.png"], target), Path()) == [target]


@pytest.mark.parametrize("target", ["{}.png", "{1}.png", "{a b}.png", "{{stem}}.png", "x{.png", "}x{.png"])
def test_braces_around_no_name_are_their_own(folder, monkeypatch, target):
    monkeypatch.chdir(folder)
    assert targets(plan_jobs(["in/a.png"], target), Path()) == [target]


def test_below_a_folder_with_braces(folder, monkeypatch):
    monkeypatch.chdir(folder)
    Path("{stem}").mkdir()
    template = TargetTemplate.parse("{stem}/{stem}_4x")
    assert template.folder == "{stem}/"
    assert targets(plan_jobs(["in/a.png"], "{stem}/{stem}_4x"), Path()) == ["{stem}/a_4x.png"]


def test_a_source_with_braces_and_one_outside_stay_as_they_are(folder, monkeypatch, make_image):
    monkeypatch.chdir(folder / "in")
    make_image(Path("{width}.png"))
    make_image(Path("../beside/b.png"))
    assert targets(plan_jobs(["{width}.png"], "out/{stem}_4x"), Path()) == ["out/{width}_4x.png"]
    absolute = (folder / "beside/b.png").resolve()
    for source in ("../beside/b.png", absolute):  # nothing leads out of the target folder
        [job] = plan_jobs([source], "out/{parent}/{stem}_4x")
        assert Path(os.path.normpath(job.target)).parts[0] == "out"
        assert job.target.name == "b_4x.png"
    [job] = plan_jobs([absolute], "{parent}/{stem}_4x")
    assert job.target == absolute.with_name("b_4x.png")
