"""The sheet and the page of a preview, the page in a real browser where there is one."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image
from supertile.images.io.errors import ImageFileError
from supertile.images.region import Box
from supertile.previews.estimates import JobEstimate
from supertile.previews.page import page_of, write_page
from supertile.previews.result import Crop, Method, Preview
from supertile.previews.sheet import draw_sheet, write_sheet
from supertile.tests.previews.browser import Browser, chromium

RED, GREEN, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
CODES = {color: tuple(int(255 * value) for value in color) for color in (RED, GREEN, BLUE)}
HOSTILE = "<img src=x onerror=alert(1)></script><!--DATA-->&.jpg"


def plane(color: tuple[float, ...], side: int) -> torch.Tensor:
    return torch.tensor(color)[:, None, None].expand(3, side, side).clone()


def made(*, sides: tuple[int, int] = (200, 200), seconds: Fraction | None = None, name: str = "photo.jpg") -> Preview:
    """Two crops, bicubic red; the first model is blue, the second green."""
    targets = [(2 * side, side) for side in sides]
    methods = (
        Method("model-a", targets[0], JobEstimate(250.0, 4_200_000)),
        Method("model-b", targets[1], JobEstimate(problem="a.jpg cannot be written.")),
    )
    before = plane(RED, sides[0]), plane(RED, sides[1])
    after = plane(BLUE, sides[0]), plane(GREEN, sides[1])
    crops = tuple(Crop(Box(left, 10, left + 20, 30), seconds, 0, before, after) for left in (0, 60))
    return Preview(Path(name), (100, 50), 7, methods, crops, (torch.rand(3, 50, 100),), None, ("A note.",))


# --- the sheet ---------------------------------------------------------------------------------------------------


def colors(image: Image.Image) -> list[tuple[int, int, int]]:
    """The colors of the large areas from left to right, in the middle of the first row."""
    row = [image.getpixel((x, 220)) for x in range(image.width)]
    return [color for color, before in zip(row[1:], row, strict=False) if color != before and color in CODES.values()]


def test_a_sheet_has_bicubic_first_and_a_row_for_each_crop(tmp_path):
    write_sheet(made(), tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png")
    assert colors(sheet) == [CODES[RED], CODES[BLUE], CODES[GREEN]]
    assert sheet.width > 3 * 400, "pixels are doubled"
    assert sheet.height > 2 * 400


def test_each_size_has_its_own_bicubic_on_the_sheet(tmp_path):
    write_sheet(made(sides=(400, 200)), tmp_path / "sheet.png")
    assert colors(Image.open(tmp_path / "sheet.png")) == [CODES[RED], CODES[BLUE], CODES[RED], CODES[GREEN]]


def test_the_title_grows_with_the_models():
    one = made()
    fewer = Preview(one.source, one.source_size, 7, one.methods[:1], one.crops, one.thumbnails, None, ())
    assert draw_sheet(one).height == draw_sheet(fewer).height + 2 * 24  # a model and a note less


# --- the page ----------------------------------------------------------------------------------------------------


def test_a_page_names_everything_and_loads_nothing():
    page = page_of(made(seconds=Fraction(125, 2)))
    for words in ("photo.jpg, 100x50, 7 frames", "about 4 min, about 4.2 MB", "1:02.5, at 10,20", "A note.", "model-b"):
        assert words in page
    assert re.findall(r"(?:https?:)?//\w+\.\w+", page) == []
    assert "default-src 'none'" in page


def test_a_page_is_never_half_written_or_replaced(tmp_path):
    write_page(made(), tmp_path / "a.html")
    with pytest.raises(ImageFileError, match="exists already"):
        write_page(made(), tmp_path / "a.html")
    write_page(made(name="other.jpg"), tmp_path / "a.html", overwrite=True)
    assert "other.jpg" in (tmp_path / "a.html").read_text(encoding="utf-8")
    with pytest.raises(ImageFileError, match="cannot be written"):
        write_page(made(), tmp_path / "none" / "a.html")
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = chromium()
    if program is None:
        pytest.skip("there is no Chromium")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(tmp_path) -> Path:
    write_page(made(), tmp_path / "a.html")
    return tmp_path / "a.html"


def sides(browser: Browser) -> tuple[tuple[int, ...], tuple[int, ...], float]:
    """The colors at the left and the right edge of the crop, and the share of the left one, as seen."""
    left, top, width = browser.value("(({x, y, width}) => [x, y, width])(pair.getBoundingClientRect())")
    shot, y = browser.screenshot(), round(top) + 20
    row = [shot.getpixel((round(left) + x, y)) for x in range(2, round(width) - 2)]
    return row[0], row[-1], row.count(row[0]) / len(row)


def test_the_slider_moves_by_mouse_and_by_keys(browser, page):
    browser.open(page, 1200, 800)
    assert sides(browser) == (CODES[RED], CODES[BLUE], pytest.approx(0.5, abs=0.03))
    x, y = browser.center("#handle")
    browser.mouse("mousePressed", x, y)
    browser.mouse("mouseMoved", x - 120, y)
    browser.mouse("mouseReleased", x - 120, y)
    assert sides(browser)[2] == pytest.approx(0.2, abs=0.03)
    browser.press("ArrowRight", 39)
    assert browser.value("split.value") == "22"
    browser.press("End", 35)
    assert sides(browser)[:2] == (CODES[RED], CODES[RED])
    browser.value("split.focus()")
    browser.press("Home", 36)
    assert sides(browser)[:2] == (CODES[BLUE], CODES[BLUE])
    assert browser.value("document.activeElement.getAttribute('aria-valuetext')") == "0 % bicubic"
    assert (browser.requests(), browser.problems()) == ([page.as_uri()], [])


def test_models_crops_and_zoom_are_chosen_by_menu_and_by_keys(browser, page):
    browser.open(page, 1200, 800)
    width = "pair.getBoundingClientRect().width"
    assert browser.value(width) == 400, "small crops are doubled"
    browser.press("1", 49)
    assert browser.value(width) == 200
    browser.press("2", 50)
    assert browser.value(width) == 400
    browser.press("m", 77)
    assert sides(browser)[:2] == (CODES[RED], CODES[GREEN])
    assert browser.value("document.getElementById('after-name').textContent") == "model-b"
    browser.press("c", 67)
    assert browser.value("[model.value, crop.value]") == ["1", "1"]
    x, y = browser.center("#whole button")  # the first crop, in the overview
    browser.mouse("mousePressed", x, y)
    browser.mouse("mouseReleased", x, y)
    assert browser.value("crop.value") == "0"
    browser.value("model.focus(), model.value = 0, model.dispatchEvent(new Event('change'))")
    assert sides(browser)[:2] == (CODES[RED], CODES[BLUE])
    assert browser.problems() == []


def test_a_phone_shows_all_of_it_and_a_finger_moves_the_slider(browser, tmp_path):
    write_page(made(sides=(512, 512)), tmp_path / "a.html")
    browser.open(tmp_path / "a.html", 390, 844, touch=True)
    assert browser.value("document.documentElement.scrollWidth") == 390
    assert browser.value("pair.getBoundingClientRect().width") <= 390 - 32
    x, y = browser.center("#handle")
    browser.touch("touchStart", (x, y))
    browser.touch("touchMove", (x + 90, y))
    browser.touch("touchEnd")
    assert sides(browser)[2] == pytest.approx(0.75, abs=0.04)
    browser.value("setZoom('2')")
    assert browser.value("document.documentElement.scrollWidth") == 390
    assert browser.value("[stage.scrollWidth, stage.scrollLeft > 0]") == [1024, True]


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_in_light_and_dark(browser, page, dark):
    browser.open(page, 1200, 800, dark=dark)
    for selector in ("h1", "#before-name", "dd", "#controls span", "aside p"):
        ink = browser.value(f"getComputedStyle(document.querySelector('{selector}')).color")
        paper = browser.value("getComputedStyle(document.body).backgroundColor")
        assert contrast(ink, paper) > 4.5, selector  # WCAG 2, AA
        assert browser.value(f"parseFloat(getComputedStyle(document.querySelector('{selector}')).fontSize)") >= 14


def contrast(one: str, other: str) -> float:
    def light(color: str) -> float:
        values = [int(code) / 255 for code in re.findall(r"\d+", color)[:3]]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_a_hostile_name_is_text(browser, tmp_path):
    write_page(made(name=HOSTILE), tmp_path / "a.html")
    browser.open(tmp_path / "a.html", 1200, 800)
    assert browser.value("document.querySelector('h1').textContent").startswith(f"{HOSTILE.rpartition('/')[2]}, 100x50")
    assert browser.value("document.querySelectorAll('img').length") == 3
    assert browser.problems() == []
