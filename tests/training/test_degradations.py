"""Degradations are a function of the seed and the step, of every kind and strength, and keep images images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from supertile.images.imresize import downscale
from supertile.training import degradations
from supertile.training.blurs import any_kernel, blurred, defocus, gaussian, motion
from supertile.training.corpus import Corpus, Mixture
from supertile.training.degradations import (
    compressed,
    degraded,
    gaussian_noise,
    h264,
    jpeg,
    lens_and_resampling,
    plainly_degraded,
    sensor_noise,
    sharpened,
    webp,
)
from supertile.training.errors import TrainingError


@pytest.fixture
def large() -> np.ndarray:
    """A gray slope with a bright square in it, (96, 96, 3)."""
    image = np.tile(np.linspace(60, 160, 96)[None, :, None], (96, 1, 3))
    image[30:66, 30:66] = (220, 200, 60)
    return image.round().astype(np.uint8)


@pytest.fixture
def small(large: np.ndarray) -> np.ndarray:
    image = torch.from_numpy(large).permute(2, 0, 1) / 255
    return (downscale(image, 2) * 255).byte().permute(1, 2, 0).numpy()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def error(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square of the difference, in codes."""
    return float(np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2)))


def blocking(image: np.ndarray) -> float:
    """How much larger steps are between blocks of 8x8 than within them, on average."""
    steps = np.abs(np.diff(image.astype(float), axis=1)).mean((0, 2))
    between = np.arange(len(steps)) % 8 == 7
    return float(steps[between].mean() - steps[~between].mean())


def test_a_step_is_a_function_of_seed_and_number(corpus):
    def batch(seed: int, step: int) -> torch.Tensor:
        return corpus.batch(seed, step, count=6, patch=16, degraded_share=1.0)[0]

    assert torch.equal(batch(0, 3), batch(0, 3))
    assert not torch.equal(batch(0, 3), batch(0, 4))
    assert not torch.equal(batch(0, 3), batch(1, 3))


def test_the_clean_share_is_the_plain_reduction(corpus):
    small, large = (
        torch.cat(parts) for parts in zip(*(corpus.batch(0, step, 50, 16, 0.75) for step in range(6)), strict=True)
    )
    assert small.shape == (300, 3, 16, 16)
    assert large.shape == (300, 3, 32, 32)
    # A crop turned by a quarter is rounded along the other axis first, which changes a code here and there.
    error = (downscale(large, 2) - small)[..., 4:-4, 4:-4].abs().mean((1, 2, 3))
    clean = float((error < 0.35 / 255).float().mean())
    assert 0.25 - 0.08 < clean < 0.25 + 0.12  # some are hardly degraded


def test_without_a_share_nothing_is_degraded(corpus):
    small, large = corpus.batch(0, 1, 20, 16)
    assert (downscale(large, 2) - small)[..., 4:-4, 4:-4].abs().mean((1, 2, 3)).max() < 0.35 / 255


def test_strengths_go_from_none_to_strong(small, large):
    errors = [error(degraded(rng(seed), small, large, 0.4), small) for seed in range(200)]
    assert min(errors) < 0.5
    assert np.median(errors) < 12
    assert max(errors) > 15
    shapes = {degraded(rng(seed), small, large, 0.4).shape for seed in range(20)}
    assert shapes == {small.shape}


def test_every_kind_happens_and_in_any_order(small, large, monkeypatch):
    orders = set()
    names = ("noisy", "compressed", "sharpened")
    log: list[str] = []
    for name in names:
        step = getattr(degradations, name)
        monkeypatch.setattr(degradations, name, lambda *args, name=name, step=step: log.append(name) or step(*args))
    for seed in range(300):
        log.clear()
        degraded(rng(seed), small, large, 0.4)
        orders.add(tuple(log))
    assert {(), ("noisy",), ("compressed",), ("sharpened",), ("compressed", "compressed")} <= orders
    assert {("noisy", "compressed"), ("compressed", "noisy")} <= orders


@pytest.mark.parametrize("seed", range(12))
def test_kernels_keep_brightness_and_place(seed):
    kernel = any_kernel(rng(seed), 1.5)
    reach = kernel.shape[0] // 2
    assert kernel.shape == (2 * reach + 1,) * 2
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    axis = np.arange(-reach, reach + 1)
    center = (kernel * axis[:, None]).sum(), (kernel * axis[None, :]).sum()
    assert np.hypot(*center) < 0.25
    spread = np.sqrt(((kernel * axis[:, None] ** 2).sum() + (kernel * axis[None, :] ** 2).sum()) / 2)
    assert 0.4 < spread < 3


def test_kernels_have_their_shapes():
    round_one = gaussian(2.0)
    assert np.allclose(round_one, round_one.T)
    long_one = gaussian(3.0, 0.5, angle=0.0)
    assert long_one[9].sum() > 0.75 > 0.2 > long_one[:, 9].sum()  # along a row
    disc = defocus(3.0)
    assert disc[4, 4] == disc[4, 6] > 0
    assert disc[0, 0] == 0
    path = motion(9.0, angle=np.pi / 2)
    assert path[:, path.shape[1] // 2].sum() > 0.99  # along a column


@pytest.mark.parametrize("kernel", [gaussian(1.0), gaussian(4.0)])  # convolved directly, and through Fourier space
def test_blurring_is_a_convolution_with_repeated_edges(kernel, large):
    image = large.astype(np.float32)
    result = blurred(image, kernel)
    assert result.shape == image.shape
    flat = np.full((40, 40, 3), 77, np.float32)
    assert np.allclose(blurred(flat, kernel), 77, atol=1e-2)
    point = np.zeros((41, 41, 1), np.float32)
    point[20, 20] = 1
    reach = kernel.shape[0] // 2
    around = slice(20 - reach, 21 + reach)
    assert np.allclose(blurred(point, kernel)[around, around, 0], kernel, atol=1e-6)


def test_resampling_stays_where_it_was(small, large):
    """No filter and no size between moves the image: the square's center of mass stays."""

    def center(image: np.ndarray) -> np.ndarray:
        yellow = np.clip(image[..., 0].astype(float) - image[..., 2], 0, None)
        axis = np.arange(len(image)) + 0.5
        return np.array([(yellow.sum(1) * axis).sum(), (yellow.sum(0) * axis).sum()]) / yellow.sum()

    for seed in range(40):
        result = lens_and_resampling(rng(seed), large, 48, 48)
        assert result.shape == small.shape
        assert np.abs(center(result) - center(small)).max() < 0.2


def test_noise_has_its_strength_and_colors(small):
    flat = np.full((200, 200, 3), 128, np.uint8)
    noise = gaussian_noise(rng(), flat, 10).astype(float) - 128
    assert noise.std() == pytest.approx(10, rel=0.03)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.03
    gray = gaussian_noise(rng(), flat, 10, gray=True)
    assert np.array_equal(gray[..., 0], gray[..., 2])


def test_a_sensor_is_noisier_in_the_light_and_its_colors_are_blotched():
    dark, light = (np.full((128, 128, 3), level, np.uint8) for level in (20, 128))
    weak, strong = (error(sensor_noise(rng(1), light, strength), light) for strength in (0.2, 1.0))
    assert weak < 5 < strong
    assert error(sensor_noise(rng(1), light, 0.0), light) < 0.5
    in_linear_light = [np.std((sensor_noise(rng(2), image, 0.5).astype(float) / 255) ** 2.2) for image in (dark, light)]
    assert in_linear_light[1] > in_linear_light[0]
    noise = sensor_noise(rng(3), light, 1.0).astype(float) - 128
    chroma = noise[..., 0] - noise[..., 2]
    assert np.mean(chroma[:, 1:] * chroma[:, :-1]) > 0.05 * chroma.var()  # neighbors are alike


def test_jpeg_and_webp_lose_more_at_lower_quality(small):
    image = np.pad(small, ((0, 16), (0, 16), (0, 0)), mode="reflect")
    image = gaussian_noise(rng(), image, 6)
    for codec in (jpeg, webp, h264):
        errors = [error(codec(image, quality), image) for quality in (95, 75, 40)]
        assert errors == sorted(errors)
        assert errors[0] < errors[2]
    assert error(jpeg(image, 75, "4:2:0"), image) > error(jpeg(image, 75, "4:4:4"), image)
    grainy = gaussian_noise(rng(), np.full((64, 64, 3), 120, np.uint8), 8, gray=True)
    assert blocking(jpeg(grainy, 15)) > 1 > abs(blocking(grainy))


def test_h264_keeps_the_colors_and_takes_any_size():
    for shape in ((1, 1), (24, 31), (64, 48)):
        image = np.empty((*shape, 3), np.uint8)
        image[:] = 200, 90, 40
        result = h264(image, 90)
        assert result.shape == image.shape
        assert np.abs(result.astype(int) - image).max() <= 2
    noise = gaussian_noise(rng(), np.full((64, 64, 3), 120, np.uint8), 10)
    assert abs(h264(noise, 60).mean() - noise.mean()) < 0.3, "a shift would be learned"
    assert np.array_equal(h264(noise, 60), h264(noise, 60))


def test_compressing_varies_quality_and_where_the_blocks_lie():
    smooth = np.tile(np.linspace(60, 160, 64)[None, :, None], (64, 1, 3)).astype(np.uint8)
    results = [compressed(rng(seed), smooth) for seed in range(60)]
    assert {result.shape for result in results} == {smooth.shape}
    errors = [error(result, smooth) for result in results]
    assert min(errors) < 0.6
    assert max(errors) > 1.2
    steps = [np.abs(np.diff(result.astype(float), axis=1)).mean((0, 2)) for result in results]
    edges = {int(step.argmax()) % 8 for step in steps}
    assert len(edges) > 5


def test_sharpening_makes_halos(small):
    result = sharpened(rng(), small).astype(int)
    assert result.max() > small.max()
    assert result.min() < small.min() or (result[..., 2].min() < small[..., 2].min())
    flat = np.full((24, 24, 3), 90, np.uint8)
    assert np.array_equal(sharpened(rng(), flat), flat)


def test_mixtures_take_their_shares(corpus_folder):
    corpus = Corpus(corpus_folder, 2)
    black = Corpus(corpus_folder, 2)
    black.large, black.small = np.zeros_like(black.large), np.zeros_like(black.small)
    mixture = Mixture([corpus, black], [0.75, 0.25])
    small, large = mixture.batch(0, 0, 400, 16)
    dark = (small.amax((1, 2, 3)) == 0) & (large.amax((1, 2, 3)) == 0)
    assert 0.18 < dark.float().mean() < 0.34
    assert torch.equal(small, mixture.batch(0, 0, 400, 16)[0])
    with pytest.raises(TrainingError, match=r"add up to 1, not 0\.9, 0\.3"):
        Mixture([corpus, black], [0.9, 0.3])


def test_a_corpus_of_a_mixture_may_be_degraded_otherwise(corpus_folder, monkeypatch):
    corpus, seen = Corpus(corpus_folder, 2), []
    monkeypatch.setattr("supertile.training.corpus.degraded", lambda _, small, __, plain: seen.append(plain) or small)
    Mixture([corpus, corpus], [0.5, 0.5], [None, 0.1]).batch(0, 0, 40, 8, 1.0, 0.7)
    assert 8 < seen.count(0.7) < 32
    assert seen.count(0.1) == 40 - seen.count(0.7)
    with pytest.raises(TrainingError, match=r"from 0 to 1, not 1\.5"):
        Mixture([corpus, corpus], [0.5, 0.5], [None, 1.5])


def test_a_corpus_too_small_for_the_margin_is_refused(corpus):
    with pytest.raises(TrainingError, match="A patch of 32 pixels and 12 around it does not fit"):
        corpus.batch(0, 0, 1, 32, 0.5)


def test_plain_degradations_are_one_jpeg_or_gaussian_noise(small):
    jpegs = [jpeg(small, quality) for quality in range(25, 96)]
    results = [plainly_degraded(rng(seed), small) for seed in range(60)]
    noise = [result for result in results if not any(np.array_equal(result, each) for each in jpegs)]
    assert 6 < len(noise) < 20
    assert all(1 < error(result, small) < 16 for result in noise)
