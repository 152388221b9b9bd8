"""Several runs of a model, or several files, as one bar."""

from __future__ import annotations

import pytest
import torch
from supertile.images.io.picture import Picture
from supertile.images.upscale import upscale_image
from supertile.inference import Upscaler
from supertile.nodes.progress import FolderProgress, Progress


@pytest.fixture
def reports() -> list[tuple[int, int]]:
    return []


def test_runs_follow_one_another(reports):
    progress = Progress([2, 4, 1, 1], lambda *report: reports.append(report))
    for done, known in [(1, 2), (2, 2), (2, 4), (4, 4), (1, 1), (1, 1)]:
        progress(done, known)
    assert reports == [(1, 8), (2, 8), (4, 8), (6, 8), (7, 8), (8, 8)]


def test_more_tiles_than_expected_count_no_more(reports):
    progress = Progress([2, 2], lambda *report: reports.append(report))
    for done in (*range(1, 9), *range(1, 9)):
        progress(done, 8)
    assert reports[7] == (2, 4)
    assert reports[-1] == (4, 4)
    assert reports == sorted(reports)


def test_it_never_goes_back_nor_beyond(reports):
    progress = Progress([4], lambda *report: reports.append(report))
    for done, known in [(3, 4), (1, 16), (16, 16)]:  # after an out-of-memory error there are more tiles
        progress(done, known)
    assert reports == [(3, 4), (3, 4), (4, 4)]


def test_with_a_real_upscaler_every_tile_counts(enlarger, reports):
    upscaler = Upscaler(enlarger(), device="cpu", tile=96, overlap=32, batch=1)
    alpha = torch.linspace(0, 1, 150).expand(1, 100, 150)
    runs = [2 * len(upscaler.plan(100, 150)), 2 * len(upscaler.plan(200, 300))]  # color and transparency, twice
    progress = Progress(runs, lambda *report: reports.append(report))
    upscale_image(Picture(torch.rand(3, 100, 150), alpha), upscaler, size="4.0x", progress=progress)
    assert [done for done, _ in reports] == list(range(1, sum(runs) + 1))


def test_files_count_alike_and_so_does_what_is_within_them(reports):
    progress = FolderProgress(3, lambda *report: reports.append(report))
    progress.within(1, 2)
    progress.file_finished()
    progress.within(1, 4)
    progress.within(1, 8)  # of a second run of the model: never back
    progress.within(5, None)  # a video that does not state its length
    progress.file_finished()
    progress.within(12, 10)
    progress.file_finished()
    assert reports == [(50, 300), (100, 300), (125, 300), (125, 300), (200, 300), (300, 300), (300, 300)]
