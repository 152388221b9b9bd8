"""Which small image belongs to which large one, by the names that benchmarks have."""

from __future__ import annotations

from pathlib import Path

import pytest
from supertile.analysis.pairs import find_pairs, large_images, unpaired
from supertile.images.jobs import PlanError


@pytest.fixture
def folder(tmp_path):
    def make(name: str, *files: str) -> Path:
        path = tmp_path / name
        path.mkdir()
        for file in files:
            (path / file).touch()
        return path

    return make


@pytest.mark.parametrize(
    ("large", "small"),
    [
        ("baby.png", "baby.png"), ("baby.png", "babyx4.png"), ("baby.png", "babyX4.png"), ("baby.png", "baby_x4.bmp"),
        ("baby.png", "babyLRx4.png"), ("baby.png", "baby_LR.png"), ("baby.bmp", "baby_bicubic_x4.png"),
        ("001_HR.png", "001_LR.png"), ("001_GT.png", "001.png"), ("001_HR.png", "001_HR.png"),
        ("img_001_SRF_4_HR.png", "img_001_SRF_4_LR.png"), ("box2.png", "box2x4.png"), ("x4.png", "x4x4.png"),
    ],
)  # fmt: skip
def test_names_of_benchmarks_match(folder, large, small):
    (pair,) = find_pairs(folder("HR", large), folder("LR", small), 4)
    assert (pair.large.name, pair.small.name, pair.error) == (large, small, None)


def test_both_may_lie_in_one_folder(folder):
    marked = folder("marked", "001_HR.png", "001_LR.png", "002_HR.png", "002_LR.png", "notes.txt", ".hidden.png")
    pairs = find_pairs(marked, marked, 4)
    assert [(p.name, p.large.name, p.small.name) for p in pairs] == [
        ("001", "001_HR.png", "001_LR.png"),
        ("002", "002_HR.png", "002_LR.png"),
    ]
    beside = folder("beside", "baby.png", "babyx2.png", "babyx4.png", "head.png", "headx4.png", "x3.png")
    assert [path.name for path in large_images(beside)] == ["baby.png", "head.png", "x3.png"]
    pairs = find_pairs(beside, beside, 4)
    assert [p.small and p.small.name for p in pairs] == ["babyx4.png", "headx4.png", None]
    assert find_pairs(beside, beside, 2)[0].small.name == "babyx2.png"
    assert "no small image of head.png" in find_pairs(beside, beside, 2)[1].error


def test_what_is_marked_as_small_is_taken_first(folder):
    (pair,) = find_pairs(folder("HR", "baby.png"), folder("LR", "baby.png", "babyx2.png", "babyx4.png"), 4)
    assert pair.small.name == "babyx4.png"


def test_a_missing_or_ambiguous_small_image_is_said(folder):
    pairs = find_pairs(folder("HR", "baby.png", "bird.png"), folder("LR", "birdx4.png", "bird_LR.png"), 4)
    assert pairs[0].error.startswith("there is no small image of baby.png in ")
    assert pairs[0].error.endswith("(such as baby.png, babyx4.png, baby_LR.png)")
    assert "birdx4.png" in pairs[1].error
    assert "bird_LR.png" in pairs[1].error
    assert all(pair.small is None for pair in pairs)


def test_small_images_without_a_large_one_are_found(folder):
    large, small = folder("HR", "baby.png"), folder("LR", "babyx4.png", "headx4.png", "headx2.png", "baby_x2_LR.png")
    assert [p.name for p in unpaired(find_pairs(large, small, 4), small, 4)] == ["headx4.png"]


def test_two_images_of_one_name_keep_their_suffix(folder):
    assert [p.name for p in find_pairs(folder("HR", "a.jpg", "a.png", "b.png"), None, 4)] == ["a.jpg", "a.png", "b"]


def test_folders_that_hold_nothing_are_refused(folder, tmp_path):
    for path, words in [
        (tmp_path / "none", "none does not exist"),
        (folder("empty", "a.txt"), "empty holds no image files"),
        (folder("full", "a.png") / "a.png", "a.png is a file, not a folder"),
    ]:
        with pytest.raises(PlanError, match=words):
            find_pairs(path, None, 4)
