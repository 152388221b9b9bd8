"""Images are the same for the same seed, and statistically like photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from supertile.images.imresize import downscale
from supertile.training.corpus import Corpus, collect, generate
from supertile.training.errors import TrainingError
from supertile.training.images import SCENES, make_image
from supertile.training.typefaces import font, typeface_files
from supertile.training.words import ENGLISH, FRENCH, GERMAN, ITALIAN, SPANISH, any_word


def test_the_same_seed_makes_the_same_image():
    a, b = make_image(3, 5, 64), make_image(3, 5, 64)
    assert a.dtype == np.uint8
    assert a.shape == (64, 64, 3)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, make_image(3, 6, 64))
    assert not np.array_equal(a, make_image(4, 5, 64))


def test_images_are_lit_like_photographs():
    """Neither dark nor glaring on the whole, with contrast, most of it between large things."""
    images = np.stack([make_image(0, n, 96) for n in range(16)]).astype(float)
    lightness = images.mean(-1)
    assert 70 < lightness.mean() < 170
    assert lightness.std((1, 2)).mean() > 25
    steps = np.abs(np.diff(lightness, axis=2))
    assert np.median(steps) < 0.5 * steps.mean()  # mostly smooth, with edges


def test_graphics_have_flat_areas_of_pure_colors():
    """As they were drawn: no light, no noise, no halos; all corners of the cube of colors and its middles are seen."""
    images = np.stack([make_image(1, n, 64, only="graphics") for n in range(100)])
    for axis in (1, 2):
        assert np.mean((np.diff(images.astype(int), axis=axis) == 0).all(-1)) > 0.9
    pure = images[np.isin(images, (0, 128, 255)).all(-1)]
    assert len(pure) > 0.4 * images[..., 0].size
    assert len(np.unique(pure, axis=0)) == 27
    assert 0.02 < SCENES["graphics"].share < 0.06
    assert sum(kind.share for kind in SCENES.values()) == pytest.approx(1)


def test_pages_are_set_in_typefaces_of_ones_own(tmp_path):
    own, broken = tmp_path / "own.TTF", tmp_path / "z.otf"
    own.write_bytes(font(None, 10).font_bytes)
    pages = [make_image(2, n, 64, "page", [own]) for n in range(3)]
    assert np.array_equal(pages, [make_image(2, n, 64, "page", [own]) for n in range(3)])
    assert all(page.std() > 5 for page in pages)  # something is printed on them
    assert typeface_files(tmp_path) == [own]
    broken.write_bytes(b"no typeface")
    with pytest.raises(TrainingError, match=r"z\.otf cannot be read as a typeface"):
        generate(tmp_path / "corpus", seed=1, count=8, size=64, workers=1, only="page", typefaces=tmp_path)
    broken.unlink()
    generate(tmp_path / "corpus", seed=1, count=2, size=64, workers=1, only="page", typefaces=tmp_path)
    assert "typefaces 1" in (tmp_path / "corpus/origin.txt").read_text()


def test_small_print_leaves_out_letters_too_small_to_read():
    """Other pages have some, which change color at up to a third of their pixels."""
    changes = {}
    for kind in ("print", "page"):
        pages = np.stack([make_image(7, n, 96, only=kind) for n in range(24)]).astype(int)
        changes[kind] = (np.abs(np.diff(pages, axis=2)).max(-1) > 40).mean((1, 2))
    assert changes["print"].max() < 0.75 * changes["page"].max()
    assert changes["print"].min() > 0.03, "something is printed on each"
    assert SCENES["print"].share == 0, "it is only made alone"


def test_prose_is_made_of_words_and_of_what_looks_like_them():
    rng = np.random.default_rng(0)
    words = [any_word(rng, prose=True).strip(".,").lower() for _ in range(2000)]
    known = {word.lower() for text in (ENGLISH, GERMAN, FRENCH, SPANISH, ITALIAN) for word in text.split()}
    assert 0.45 < np.mean([word in known for word in words]) < 0.7
    assert words.count("the") > 5 * words.count("summer")
    assert len(set(words)) > 600
    assert any(set(word) & set("0123456789") for word in words)


def test_crops_fit_each_other(corpus):
    small, large = corpus.batch(seed=0, step=3, count=6, patch=16)
    assert small.shape == (6, 3, 16, 16)
    assert large.shape == (6, 3, 32, 32)
    # Nearer to the edge a crop has no neighbors to look at; and a turned one is rounded along the other axis first.
    error = (downscale(large, 2) - small)[..., 4:-4, 4:-4].abs()
    assert error.max() <= 1.01 / 255
    assert error.mean() < 0.3 / 255
    again, _ = corpus.batch(seed=0, step=3, count=6, patch=16)
    other, _ = corpus.batch(seed=0, step=4, count=6, patch=16)
    assert torch.equal(small, again)
    assert not torch.equal(small, other)


def test_a_corpus_is_kept_and_not_confused_with_another(corpus_folder, tmp_path):
    before = (corpus_folder / "large.npy").stat().st_mtime_ns
    generate(corpus_folder, seed=1, count=4, size=96, workers=1)
    assert (corpus_folder / "large.npy").stat().st_mtime_ns == before
    with pytest.raises(TrainingError, match="holds another corpus"):
        generate(corpus_folder, seed=2, count=4, size=96, workers=1)
    with pytest.raises(TrainingError, match="no corpus that can be read"):
        Corpus(tmp_path, 2)


def test_ones_own_images_become_tiles(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (70, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[:20]).save(tmp_path / "too small.png")
    collect(tmp_path / "corpus", [tmp_path / "a.png", tmp_path / "too small.png"], size=64)
    tiles = Corpus(tmp_path / "corpus", 4).large
    assert [np.array_equal(tiles[n], pixels[y : y + 64, x : x + 64]) for n, (y, x) in enumerate(
        [(0, 0), (0, 36), (6, 0), (6, 36)]
    )] == [True] * 4  # fmt: skip
    with pytest.raises(TrainingError, match="None of the 1 images is as large"):
        collect(tmp_path / "other", [tmp_path / "too small.png"], size=64)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(TrainingError, match=r"text.png cannot be read"):
        collect(tmp_path / "other", [tmp_path / "text.png"], size=64)
