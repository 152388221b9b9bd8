"""Which format a file is written in, and what each of them can hold."""

from __future__ import annotations

import pytest
from supertile.images.io.errors import ImageFileError
from supertile.images.io.formats import READABLE_SUFFIXES, TARGET_SUFFIXES, WRITABLE_SUFFIXES, ImageFormat, format_of


@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        ("a.png", None, ImageFormat.PNG),
        ("a.JPG", None, ImageFormat.JPEG),
        ("a.jfif", None, ImageFormat.JPEG),
        ("a.b.tif", None, ImageFormat.TIFF),
        ("a.png", "webp", ImageFormat.WEBP),
        ("a", "TIFF", ImageFormat.TIFF),
        ("a.bmp", ImageFormat.PNG, ImageFormat.PNG),
    ],
)
def test_a_given_format_counts_before_the_suffix(path, given, expected):
    assert format_of(path, given) is expected


@pytest.mark.parametrize(
    ("path", "given", "sentence"),
    [
        ("a.bmp", None, "a.bmp ends in '.bmp', which cannot be written; use png, jpg, webp, tiff, avif or jxl."),
        ("a", None, "a has no suffix; end it in .png, .jpg, .webp or .tif to choose the format."),
        ("a.png", "gif", "Format 'gif' cannot be written; choose png, jpg, webp, tiff, avif or jxl."),
    ],
)
def test_other_formats_are_refused(path, given, sentence):
    with pytest.raises(ImageFileError) as refused:
        format_of(path, given)
    assert str(refused.value) == sentence


def test_every_format_has_a_suffix_that_means_it():
    for format in ImageFormat:
        assert TARGET_SUFFIXES[format.suffix] is format
    assert set(ImageFormat) == set(TARGET_SUFFIXES.values())
    assert WRITABLE_SUFFIXES.keys() <= READABLE_SUFFIXES


def test_too_large_for_a_format_is_one_sentence():
    ImageFormat.WEBP.check_size("a.webp", 16383, 1)
    with pytest.raises(
        ImageFileError, match=r"^a\.webp cannot be written: WEBP holds at most 16383 pixels a side, .*\.$"
    ):
        ImageFormat.WEBP.check_size("a.webp", 1, 16384)
    ImageFormat.PNG.check_size("a.png", 1, 100_000)
