"""What is known of published figures: complete where it says so, plausible, and found by the names of folders."""

from __future__ import annotations

import pytest
from supertile.analysis.published import SETS, benchmark_of, published


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_benchmark_has_figures(scale):
    for benchmark in SETS:
        found = published(benchmark, scale)
        assert len({each.network for each in found}) == len(found)
        names = {each.network for each in found}
        assert {"HiT-SIR", "HiT-SNG", "HiT-SRF", "HiT-SRF-DF2K"} <= names
        assert all(each.source and (each.benchmark, each.scale) == (benchmark, scale) for each in found)
    assert {"HAT-S", "HAT", "HAT-L"} <= {each.network for each in published("Urban100", scale)}


def test_figures_of_the_authors_are_as_they_wrote_them():
    x4 = {each.network: each for each in published("Set5", 4)}
    assert (x4["VapSR"].psnr_y, x4["VapSR"].ssim_y) == (32.38, 0.8978)
    assert (x4["HAT"].psnr_y, x4["HAT"].ssim_y, x4["HAT"].source) == (33.04, None, "README of XPixelGroup/HAT")
    assert (x4["bicubic"].psnr_y, x4["bicubic"].ssim_y) == (28.42, 0.8104)
    assert [each.psnr_y for each in published("Manga109", 2) if each.network == "HiT-SRF"] == [39.47]


def test_figures_have_the_order_that_all_papers_report():
    """A digit mistyped would most likely break it: x2 above x3 above x4, bicubic below every network."""
    for benchmark in SETS:
        by_scale = {scale: {each.network: each for each in published(benchmark, scale)} for scale in (2, 3, 4)}
        for network in by_scale[2].keys() & by_scale[3].keys() & by_scale[4].keys():
            figures = [by_scale[scale][network] for scale in (2, 3, 4)]
            assert sorted((f.psnr_y for f in figures), reverse=True) == [f.psnr_y for f in figures]
            ssims = [f.ssim_y for f in figures if f.ssim_y is not None]
            assert sorted(ssims, reverse=True) == ssims
        for found in by_scale.values():
            if bicubic := found.pop("bicubic", None):
                assert all(1.2 < each.psnr_y - bicubic.psnr_y < 8.5 for each in found.values())
            psnrs = [each.psnr_y for name, each in found.items() if name.startswith("HiT")]
            assert max(psnrs) - min(psnrs) < 0.5


def test_a_benchmark_is_known_by_the_name_of_its_folder(tmp_path):
    for names, images, benchmark in [
        ("Set5/x4", 5, "Set5"), ("Set14_HR", 14, "Set14"), ("BSDS100/HR", 100, "B100"), ("urban100", 100, "Urban100"),
        ("Set14/Set5", 5, "Set5"), ("manga109/GTmod4", 109, "Manga109"),
        ("Set5/x4", 4, None), ("Set500", 5, None), ("photos", 5, None),
    ]:  # fmt: skip
        assert benchmark_of(tmp_path / names, images) == benchmark
