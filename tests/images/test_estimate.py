"""Estimates of folders compared with what upscaling them makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from supertile import Upscaler
from supertile.images import estimate as estimates
from supertile.images.batch import upscale_image_files
from supertile.images.estimate import estimate_image_files, preview_image_files
from supertile.images.jobs import FileJob, plan_jobs


@pytest.fixture
def double(enlarger) -> Upscaler:
    """Repeats every pixel twice."""
    return Upscaler(enlarger(2), precision="fp32")


def folder_of(tmp_path: Path, count: int, suffixes: tuple[str, ...]) -> list[FileJob]:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(count):
        generator = np.random.default_rng(number)
        side = 20 + 3 * number
        smooth = np.kron(generator.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8), np.ones((4, 4, 1)))
        Image.fromarray(smooth.astype(np.uint8)).save(folder / f"{number:02}{suffixes[number % len(suffixes)]}")
    return plan_jobs([folder], tmp_path / "out")


@pytest.mark.parametrize("size", [None, "3x", "300x"])
def test_the_size_of_a_folder_is_foreseen(tmp_path, double, size):
    jobs = folder_of(tmp_path, 30, (".png", ".png", ".jpg"))
    outcomes = list(preview_image_files(jobs, double, size=size))
    estimate = estimate_image_files(outcomes, double, size=size)
    assert not (tmp_path / "out").exists()
    assert estimate.images == 30
    assert 2 <= estimate.computed <= 13
    made = list(upscale_image_files(jobs, double, size=size))
    assert [each.target_size for each in outcomes] == [each.target_size for each in made]
    assert estimate.target_pixels == sum(each.target_size[0] * each.target_size[1] for each in made)
    assert estimate.bytes == pytest.approx(sum(job.target.stat().st_size for job in jobs), rel=0.25)


def test_formats_count_apart(tmp_path, double):
    jobs = folder_of(tmp_path, 9, (".png", ".jpg", ".bmp"))
    order = estimates._spread(list(preview_image_files(jobs, double)))
    assert {outcome.job.source.suffix for outcome in order[:3]} == {".png", ".jpg", ".bmp"}
    assert len(order) == len({outcome.job.source for outcome in order}) == 9


def test_more_images_are_computed_only_if_the_first_was_fast(tmp_path, double):
    jobs = folder_of(tmp_path, 5, (".png",))
    outcomes = list(preview_image_files(jobs, double))
    assert estimate_image_files(outcomes, double, seconds=0.0).computed == 1
    assert estimate_image_files(outcomes, double, seconds=60.0).computed == 5


def test_images_that_fail_are_named(tmp_path, double):
    jobs = folder_of(tmp_path, 3, (".png",))
    whole = jobs[1].source.read_bytes()
    jobs[1].source.write_bytes(whole[: len(whole) // 2])
    outcomes = list(preview_image_files(jobs, double))
    assert [outcome.error for outcome in outcomes] == [None, None, None]  # the header is whole
    estimate = estimate_image_files(outcomes, double)
    assert [failure.job.source for failure in estimate.failures] == [jobs[1].source]
    assert (estimate.images, estimate.computed) == (2, 2)


def test_there_is_no_estimate_without_an_image(double):
    estimate = estimate_image_files([], double)
    assert (estimate.images, estimate.seconds, estimate.bytes, estimate.computed) == (0, None, None, 0)


def test_devices_share_the_images(tmp_path, double, monkeypatch):
    outcomes = list(preview_image_files(folder_of(tmp_path, 4, (".png",)), double))

    def compute_in_a_second(self, outcomes):
        self.seconds, self.work = 1.0, 100

    monkeypatch.setattr(estimates._Sample, "compute", compute_in_a_second)
    one, two, many = (estimate_image_files(outcomes, double, seconds=0.0, devices=n).seconds for n in (1, 2, 9))
    assert (one / two, one / many) == (2, 4)
