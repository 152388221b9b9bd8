"""Pages are scans of the text that they are said to show, and mistakes are counted."""

from __future__ import annotations

from supertile.benchmarks.letters import TEXT, drawn, mistakes, scanned


def test_mistakes_are_changes_to_what_was_printed():
    printed = " ".join(TEXT)
    assert mistakes(printed) == 0
    assert mistakes("") == len(printed)
    assert mistakes(printed.replace("Vogel", "Voge1")) == 1
    assert mistakes("  " + printed[:-3]) == 5


def test_a_scan_is_the_page_made_small():
    page = drawn(36)
    scan = scanned(page, 4, seed=0)
    assert (4 * scan.width, 4 * scan.height) == page.size
    dark, light = scan.convert("L").getextrema()
    assert dark < 90
    assert light > 235
    assert scan.tobytes() == scanned(page, 4, seed=0).tobytes() != scanned(page, 4, seed=1).tobytes()
