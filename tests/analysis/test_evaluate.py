"""Methods over folders: what small images are made, what is measured, and what becomes of images that cannot be."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from supertile.analysis.evaluate import Method, Row, evaluate, mean_of, read_color
from supertile.analysis.fidelity import Fidelity, measure
from supertile.analysis.tables import as_csv, as_json
from supertile.images.imresize import imresize
from supertile.images.io.errors import ImageFileWarning
from supertile.inference.upscaler import Upscaler


def codes(height: int, width: int, *channels: int, seed: int = 0) -> np.ndarray:
    rough = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, *channels), dtype=np.uint8)
    return np.kron(rough, np.ones((4, 4, *(1 for _ in channels)), dtype=np.uint8))[:height, :width]


@pytest.fixture
def large(tmp_path):
    """a.png is no multiple of two, b.png is gray."""
    folder = tmp_path / "HR"
    folder.mkdir()
    Image.fromarray(codes(41, 53, 3)).save(folder / "a.png")
    Image.fromarray(codes(40, 48)).save(folder / "b.png")
    return folder


def by_image(rows) -> dict[str, Row]:
    return {row.image: row for row in rows}


def test_the_small_image_is_made_from_the_large_one_cut_to_a_multiple(large):
    seen = []

    def enlarge(small):
        seen.append(small)
        return small.repeat_interleave(3, 1).repeat_interleave(3, 2)

    rows = by_image(evaluate([Method("nearest", 3, enlarge)], large))
    truth = read_color(large / "a.png")[:, :39, :51]
    assert torch.equal(seen[0], imresize(truth, (17, 13)))
    assert rows["a"].fidelity == measure(enlarge(seen[0]), truth, 3)
    assert seen[1].shape == (3, 13, 16)  # gray goes through the network as color


def test_an_upscaler_and_bicubic_are_methods(large, enlarger):
    upscaler = Upscaler(enlarger(2), device="cpu", tile=16, overlap=4)
    rows = list(evaluate([Method.bicubic(2), Method.of("network", upscaler)], large))
    assert [(row.method, row.image, row.error) for row in rows] == [
        ("bicubic", "a", None), ("bicubic", "b", None), ("network", "a", None), ("network", "b", None),
    ]  # fmt: skip
    truth = read_color(large / "a.png")[:, :40, :52]
    small = imresize(truth, (26, 20))
    nearest = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert rows[2].fidelity == measure(nearest, truth, 2)
    assert upscaler.stats.tiles_computed > 2
    assert rows[0].fidelity == measure(imresize(small, (52, 40)), truth, 2)


def test_methods_are_asked_for_one_after_the_other(large):
    events = []

    def methods():
        for name in ("one", "two"):
            events.append(name)
            yield Method(name, 2, lambda x: x.repeat_interleave(2, 1).repeat_interleave(2, 2))

    for row in evaluate(methods(), large):
        events.append(row.image)
    assert events == ["one", "a", "b", "two", "a", "b"]


def test_a_network_is_let_go_before_the_next_is_loaded(large, enlarger):
    networks = []

    def methods():
        for _ in range(3):
            assert all(network() is None for network in networks)
            upscaler = Upscaler(enlarger(2), device="cpu")
            networks.append(weakref.ref(upscaler))
            yield Method.of("network", upscaler)
            del upscaler

    assert len(list(evaluate(methods(), large))) == 6
    assert len(networks) == 3


def test_small_images_come_from_their_folder(large, tmp_path):
    small = tmp_path / "LR"
    small.mkdir()
    Image.fromarray(np.full((20, 26, 3), 90, np.uint8)).save(small / "ax2.png")
    Image.fromarray(np.full((20, 23), 90, np.uint8)).save(small / "bx2.png")
    Image.fromarray(np.full((20, 23), 90, np.uint8)).save(small / "cx2.png")
    with pytest.warns(ImageFileWarning, match=r"cx2.png is ignored: .* holds no large image of that name"):
        rows = by_image(evaluate([Method.bicubic(2)], large, small))
    gray = torch.full((3, 40, 52), 90 / 255)
    assert rows["a"].fidelity == measure(gray, read_color(large / "a.png")[:, :40, :52], 2)
    assert rows["b"].error.endswith("bx2.png is 23x20, but the small image of " + f"{large / 'b.png'} at x2 is 24x20.")


def test_images_that_cannot_be_measured_leave_the_others_alone(large, tmp_path):
    (large / "broken.png").write_bytes((large / "a.png").read_bytes()[:200])
    Image.fromarray(codes(40, 40, 4)).save(large / "clear.png")
    Image.fromarray(codes(3, 40, 3)).save(large / "flat.png")
    Image.fromarray(codes(16, 40, 3)).save(large / "narrow.png")
    opaque = codes(40, 40, 4)
    opaque[..., 3] = 255
    Image.fromarray(opaque).save(large / "opaque.png")
    rows = by_image(evaluate([Method.bicubic(4)], large))
    assert {name: row.error for name, row in rows.items() if row.error is None}.keys() == {"a", "b", "opaque"}
    for name, words in [
        ("broken", "broken.png is damaged or incomplete"),
        ("clear", "clear.png has transparency; composite it onto a background"),
        ("flat", "flat.png is 40x3, too small to shrink by 4."),
        (
            "narrow",
            "narrow.png cannot be measured: fewer than 11 pixels a side are left within a border of 4 pixels of an "
            "image of 40x16",
        ),
    ]:
        assert words in rows[name].error
        assert rows[name].fidelity is None
    assert mean_of([*rows.values()]) == mean_of([rows["a"], rows["b"], rows["opaque"]])


def test_sixteen_bits_are_measured_in_eight(large):
    Image.fromarray(codes(40, 48).astype(np.uint16) * 257 + 100).save(large / "b.png")
    with pytest.warns(ImageFileWarning, match=r"b.png has 16 bits"):
        found = read_color(large / "b.png")
    assert torch.equal(found, (found * 255).round() / 255)
    assert found[0].mul(255).round().numpy() == pytest.approx(codes(40, 48))


def test_the_mean_is_that_of_each_figure():
    rows = [
        Row("a", "m", 2, Fidelity(30, 0.8, 28, 0.7)),
        Row("b", "m", 2, error="broken."),
        Row("c", "m", 2, Fidelity(32, 0.9, 31, 0.8)),
    ]
    assert mean_of(rows) == Fidelity(31, pytest.approx(0.85), 29.5, pytest.approx(0.75))
    assert mean_of(rows[1:2]) is None


# --- CSV and JSON ------------------------------------------------------------------------------------------------


def test_figures_are_written_in_full(large):
    shutil.copy(large / "a.png", large / "same, but other.png")
    rows = [*evaluate([Method.bicubic(2)], large), Row("broken", "bicubic", 2, error="It is broken.")]
    rows += [Row("a", "exact", 2, Fidelity(math.inf, 1.0, math.inf, 1.0))]
    lines = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [line["image"] for line in lines] == ["a", "b", "same, but other", "broken", "mean", "a", "mean"]
    assert float(lines[0]["ssim_rgb"]) == rows[0].fidelity.ssim_rgb
    assert lines[3] == {**dict.fromkeys(lines[3], ""), "image": "broken", "method": "bicubic", "scale": "2", "error":
                        "It is broken."}  # fmt: skip
    assert float(lines[4]["psnr_y"]) == mean_of(rows[:3]).psnr_y
    assert lines[-1]["psnr_y"] == "inf"

    written = json.loads(as_json(rows, {"exact": {"file": large / "x.pth"}}, "Set5", images=large))
    assert written["images"] == str(large)
    bicubic, exact = written["methods"]
    assert bicubic["mean"]["psnr_y"] == mean_of(rows[:3]).psnr_y
    assert bicubic["images"][0] == {"image": "a", **vars(rows[0].fidelity), "error": None}
    assert bicubic["images"][3] == {"image": "broken", "error": "It is broken."}
    assert exact["file"] == str(large / "x.pth")
    assert exact["mean"]["psnr_y"] is None
    assert {each["scale"] for each in written["published"]} == {2}
    assert all(each["source"] for each in written["published"])
