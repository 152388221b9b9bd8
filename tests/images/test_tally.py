"""Counts of many files, as a sentence."""

from __future__ import annotations

from supertile.images.tally import Tally


def test_each_result_is_counted_by_its_reason():
    tally = Tally()
    assert tally.sentence() == "0 files done."
    tally.add(failed=False, skipped="")
    assert tally.sentence() == "1 file done."
    for _ in range(1197):
        tally.add(failed=False, skipped="")
    for reason in ("done before", "existed already", "done before"):
        tally.add(failed=False, skipped=reason)
    tally.add(failed=True, skipped="")
    assert tally.sentence() == "1,198 files done, 2 skipped (done before), 1 skipped (existed already), 1 failed."
    assert (tally.done, tally.skipped, tally.failed) == (1198, 3, 1)
