"""Many files: one that fails does not stop the others."""

from __future__ import annotations

import pytest
from PIL import Image
from supertile.images import batch
from supertile.images.batch import upscale_image_files
from supertile.images.io.errors import ImageFileError
from supertile.images.jobs import plan_jobs
from supertile.images.journal import Journal


def test_a_corrupt_file_does_not_stop_the_others(folder, make_image, upscaler):
    (folder / "in" / "b.jpg").write_bytes((folder / "in" / "b.jpg").read_bytes()[:300])
    make_image(folder / "out" / "deep" / "er" / "c.png")  # and one is there already
    make_image(folder / "in" / "z.png", (7, 5))
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


def test_files_that_another_process_makes_meanwhile_are_skipped(folder, upscaler, monkeypatch):
    jobs = plan_jobs([folder / "in"], folder / "out")

    def run():
        journal = Journal(folder / "out", jobs, sources=[folder / "in"], version="1")
        return list(upscale_image_files(jobs, upscaler, journal=journal))

    def slow(job, *arguments, **options):
        monkeypatch.undo()
        assert [outcome.skipped for outcome in run()] == ["", "", ""]
        batch.write_result(job, *arguments, **options)

    monkeypatch.setattr(batch, "write_result", slow)
    outcomes = run()
    assert [outcome.error for outcome in outcomes] == [None, None, None]
    assert [outcome.skipped for outcome in outcomes] == ["done before"] * 3


def test_results_are_those_of_the_files_one_by_one(folder, upscaler):
    from supertile.images.upscale import upscale_image_file

    list(upscale_image_files(plan_jobs([folder / "in"], folder / "out"), upscaler, size="3x"))
    upscale_image_file(folder / "in" / "a.png", folder / "alone.png", upscaler, size="3x")
    assert (folder / "alone.png").read_bytes() == (folder / "out" / "a.png").read_bytes()


def test_an_error_of_any_kind_is_an_outcome(folder, upscaler):
    calls = []

    class Broken:
        scale, input_channels, seamless = upscaler.scale, upscaler.input_channels, upscaler.seamless
        finish = upscaler.finish

        def for_depth(self, bits):
            return self

        def network(self, images, **host):
            calls.append(1)
            if len(calls) == 2:
                raise ZeroDivisionError
            return upscaler.network(images, **host)

    outcomes = list(upscale_image_files(plan_jobs([folder / "in"], folder / "out"), Broken()))
    assert [type(outcome.error) for outcome in outcomes] == [type(None), ZeroDivisionError, type(None)]
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "deep"]


def test_an_error_of_the_callers_ends_the_work_but_not_the_file_being_written(folder, upscaler):
    calls = []

    def progress(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(upscale_image_files(plan_jobs([folder / "in"], folder / "out"), upscaler, progress=progress))
    assert [path.name for path in (folder / "out").iterdir()] == ["a.png"]
    with Image.open(folder / "out" / "a.png") as image:
        image.load()
