"""Pages are scans of the text that they are said to show, and mistakes are counted."""

from __future__ import annotations

import numpy as np
import pytest
from supertile.training.errors import TrainingError
from supertile.training.letters import TEXT, mistakes, printed, scanned


def test_mistakes_are_changes_to_what_was_printed():
    text = " ".join(TEXT)
    assert mistakes(text) == 0
    assert mistakes("") == len(text)
    assert mistakes(text.replace("Vogel", "Voge1")) == 1
    assert mistakes("  " + text[:-3]) == 5


def test_a_scan_is_the_page_made_small():
    page = printed(36)
    scan = scanned(page, 4, seed=0)
    assert (4 * scan.shape[0], 4 * scan.shape[1]) == page.shape[:2]
    assert scan.min() < 90
    assert scan.max() > 235
    assert np.array_equal(scan, scanned(page, 4, seed=0))
    assert not np.array_equal(scan, scanned(page, 4, seed=1))


def test_a_typeface_that_cannot_be_read_is_said(tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no typeface")
    with pytest.raises(TrainingError, match=r"broken\.ttf cannot be read as a typeface"):
        printed(12, tmp_path / "broken.ttf")
