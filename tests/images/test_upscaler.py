"""PIL images, arrays, tensors and lists of them in the public `Upscaler`: the same kind out, or one sentence."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from supertile import Cancelled, UpscaleError, Upscaler, load_model
from supertile.images.io.picture import Picture
from supertile.inference.upscaler import Upscaler as TensorUpscaler

RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 256, (10, 12, 4), dtype=np.uint8)


@pytest.fixture(scope="module")
def double(enlarger) -> Upscaler:
    """Repeats every pixel twice."""
    return Upscaler(enlarger(2), device="cpu", precision="fp32")


def repeated(array: np.ndarray) -> np.ndarray:
    return array.repeat(2, 0).repeat(2, 1)


# --- PIL ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "I;16", "I;16B"])
def test_a_pil_image_keeps_mode_and_values(double, mode):
    if mode.startswith("I"):
        codes = RNG.integers(0, 65536, (10, 12)).astype(">u2" if mode == "I;16B" else "<u2")
        image = Image.fromarray(codes)
    else:
        image = Image.fromarray(CODES).convert(mode)
    if mode in ("LA", "RGBA"):  # repeated pixels leave the color of empty ones open
        image.putalpha(image.getchannel("A").point(lambda a: max(a, 1)))
    larger = double(image)
    assert (larger.mode, larger.size) == (mode, (24, 20))
    assert np.array_equal(np.asarray(larger), repeated(np.asarray(image)))


@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_is_chosen_anew(double, transparent):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 4, 8))
    if transparent:
        image.info["transparency"] = 0
    larger = double(image)
    assert (larger.mode, larger.size) == ("P", (16, 16))
    mode = "RGBA" if transparent else "RGB"
    assert np.array_equal(np.asarray(larger.convert(mode))[:, 8:], repeated(np.asarray(image.convert(mode)))[:, 8:])
    if transparent:
        assert np.asarray(larger.convert("RGBA"))[:, :8, 3].max() == 0


def test_a_transparent_color_becomes_alpha(double):
    image = Image.new("RGB", (8, 8), (255, 0, 0))
    image.paste((0, 255, 0), (0, 0, 4, 8))
    image.info["transparency"] = (0, 255, 0)
    larger = double(image)
    assert larger.mode == "RGBA"
    assert np.array_equal(np.asarray(larger)[..., 3], np.where(np.arange(16) < 8, 0, 255) * np.ones((16, 1)))
    assert "transparency" not in larger.info


def test_profile_and_exif_are_kept(double, tmp_path):
    image = Image.fromarray(CODES[..., :3])
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "a.jpg", exif=exif, icc_profile=icc, dpi=(300, 300))
    larger = double(Image.open(tmp_path / "a.jpg"))
    assert larger.info["icc_profile"] == icc
    assert larger.info["dpi"] == (300, 300)
    assert dict(larger.getexif()) == dict(exif), "the orientation too: pixels are not turned"


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "F", "I", "PA", "RGBa", "La"])
def test_other_modes_are_refused_with_a_conversion_that_works(double, mode):
    image = Image.new(mode, (4, 4))
    with pytest.raises(UpscaleError, match=rf"mode {mode} .*image\.convert\(") as caught:
        double(image)
    target = str(caught.value).split('"')[1]
    if mode != "LAB":  # Pillow converts it through a profile only
        assert double(image.convert(target)).size == (8, 8)


def test_an_image_reaches_any_size(double):
    assert double(Image.new("RGB", (12, 10)), size="30x").size == (30, 25)
    assert double(np.zeros((10, 12)), size="3x").shape == (30, 36)
    with pytest.raises(UpscaleError, match="size is for PIL images and arrays"):
        double(torch.zeros(3, 4, 4), size="3x")


# --- arrays ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("shape", [(10, 12), (10, 12, 1), (10, 12, 3), (10, 12, 4)])
def test_an_array_keeps_shape_dtype_and_values(double, dtype, shape):
    top = 1 if "f" in dtype else np.iinfo(dtype).max
    array = (0.1 + 0.9 * RNG.random(shape)) * top
    array = array.astype(dtype)
    larger = double(array)
    assert larger.dtype == array.dtype
    if top == 1:
        np.testing.assert_allclose(
            larger.astype(float), repeated(array).astype(float), atol=1e-3 if "2" in dtype else 1e-6
        )
    else:
        assert np.array_equal(larger, repeated(array))


def test_strides_and_read_only_arrays_do_not_matter(double):
    array = CODES[::-1, ::2, 2::-1]
    array.setflags(write=False)
    assert np.array_equal(double(array), repeated(array))
    values = np.broadcast_to(np.float32(0.5), (6, 6, 3))
    assert np.array_equal(double(values), np.full((12, 12, 3), 0.5, np.float32))


def test_the_callers_array_is_left_alone(double):
    values = np.full((6, 6), 1.1)
    assert double(values).max() == 1
    assert values.max() == 1.1


REFUSED = {
    "channels first": (np.zeros((3, 8, 8)), r"transpose\(1, 2, 0\)"),
    "2 channels": (np.zeros((8, 8, 2)), 'mode "LA"'),
    "5 channels": (np.zeros((8, 8, 5)), r"1 \(gray\), 3 \(RGB\) or 4 \(RGBA\) channels"),
    "a line": (np.zeros(8), r"\(H, W\) or \(H, W, C\), not \(8,\)"),
    "a batch": (np.zeros((2, 8, 8, 3)), r"list\(images\)"),
    "empty": (np.zeros((0, 8, 3)), "is empty"),
    "0 to 255": (np.full((8, 8), 200.0), "image / 255"),
    "-1 to 1": (np.full((8, 8), -1.0), r"\(image \+ 1\) / 2"),
    "NaN": (np.full((8, 8), np.nan), "nan_to_num"),
    "infinity": (np.full((8, 8), np.inf), "nan_to_num"),
    "int64": (np.zeros((8, 8), np.int64), "uint8, uint16, or floats"),
    "bool": (np.zeros((8, 8), bool), "uint8, uint16, or floats"),
    "complex": (np.zeros((8, 8), complex), "uint8, uint16, or floats"),
    "an empty PIL image": (Image.new("RGB", (0, 4)), "is empty"),
    "tensor: channels last": (torch.zeros(8, 9, 3), r"permute\(2, 0, 1\)"),
    "tensors: channels last": (torch.zeros(2, 8, 9, 3), r"permute\(0, 3, 1, 2\)"),
    "tensor: gray": (torch.zeros(1, 8, 8), r"expand\(3, -1, -1\)"),
    "tensors: gray": (torch.zeros(2, 1, 8, 8), r"expand\(-1, 3, -1, -1\)"),
    "tensor: no channels": (torch.zeros(8, 8), r"expand\(3, -1, -1\)"),
    "tensor: transparency": (torch.zeros(4, 8, 8), r":3, :, :\]"),
    "tensor: 5 channels": (torch.zeros(5, 8, 8), r"\(3, H, W\)"),
    "tensor: a line": (torch.zeros(8), r"\(3, H, W\)"),
    "tensor: empty": (torch.zeros(3, 0, 8), "is empty"),
    "tensor: uint8": (torch.zeros(3, 8, 8, dtype=torch.uint8), r"image\.float\(\) / 255"),
    "tensor: 0 to 255": (torch.full((3, 8, 8), 200.0), "image / 255"),
    "tensor: NaN": (torch.full((3, 8, 8), torch.nan), "nan_to_num"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_refused_in_a_sentence_that_says_what_to_do(double, name):
    image, sentence = REFUSED[name]
    for images in (image, [image]):
        with pytest.raises(UpscaleError, match=sentence) as caught:
            double(images)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("photo.png", r"upscale_image_file\(source, target, upscaler\)"),
        (Picture(torch.zeros(3, 4, 4)), r"upscale_image\(picture, upscaler\)"),
        (None, "not NoneType"),
        ([[1, 2]], "not list"),
    ],
)
def test_other_objects_are_refused(double, value, sentence):
    with pytest.raises(TypeError, match=sentence):
        double(value)


# --- tensors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_of_any_dtype_and_stride(double, dtype):
    batch = torch.rand(2, 5, 6, 3, dtype=torch.float64).to(dtype).permute(0, 3, 1, 2)
    larger = double(batch)
    assert larger.dtype == torch.float32
    assert torch.equal(larger, batch.float().repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.equal(double(batch[0]), larger[0])
    assert torch.equal(double(batch[1, :, ::2, 1:]), double(batch[1:, :, ::2, 1:].contiguous())[0])


def test_tensors_are_computed_as_in_the_core(model_file):
    batch = torch.rand(2, 3, 9, 7)
    options = {"device": "cpu", "precision": "fp32"}
    expected = TensorUpscaler(load_model(model_file), **options)(batch)
    assert torch.equal(Upscaler(model_file, **options)(batch), expected)


# --- lists -------------------------------------------------------------------------------------------------------


def test_a_list_of_different_sizes(double):
    arrays = [CODES[:4, :5], CODES[..., :3], CODES[:6, :6, 0]]
    results = double(arrays)
    assert isinstance(results, list)
    assert all(np.array_equal(result, repeated(array)) for result, array in zip(results, arrays, strict=True))
    mixed = double((Image.fromarray(CODES), torch.zeros(3, 4, 5)))
    assert [mixed[0].size, mixed[1].shape] == [(24, 20), (3, 8, 10)]
    assert double([]) == []


def test_the_progress_of_a_list_is_that_of_all_images(double):
    calls: list[tuple[int, int]] = []
    double([CODES[..., :3], CODES, torch.zeros(2, 3, 4, 4)], progress=lambda *call: calls.append(call))
    done, totals = zip(*calls, strict=True)
    assert list(done) == sorted(set(done))
    assert list(totals) == sorted(totals)
    assert done[-1] == totals[-1]


def test_a_list_is_cancelled(double):
    calls: list[tuple[int, int]] = []
    with pytest.raises(Cancelled):
        double([CODES] * 9, progress=lambda *call: calls.append(call), cancelled=lambda: len(calls) >= 2)
    assert len(calls) < 9


# --- by name, and in other processes -----------------------------------------------------------------------------


def test_an_upscaler_by_name_or_path(model_file):
    assert Upscaler("supertile-2x", device="cpu")(Image.new("RGB", (4, 5))).size == (8, 10)
    assert Upscaler(str(model_file), device="cpu").scale == 2


def test_an_upscaler_is_pickled_as_its_path_and_arguments(model_file, monkeypatch):
    monkeypatch.chdir(model_file.parent)
    upscaler = Upscaler(model_file.name, device="cpu", tile=64, overlap=8, seamless="x")
    data = pickle.dumps(upscaler)
    assert len(data) < 1000
    monkeypatch.chdir(os.sep)
    other = pickle.loads(data)
    assert type(other) is Upscaler
    assert other.identity() == upscaler.identity()
    assert torch.equal(other(torch.ones(3, 9, 8)), upscaler(torch.ones(3, 9, 8)))


def test_all_arguments_travel():
    upscaler = Upscaler("supertile-2x", device="cpu", precision="auto", compile="off", batch=3)
    make, _ = upscaler.__reduce__()
    assert make.args == ("supertile-2x",)
    assert set(make.keywords) == set(inspect.signature(Upscaler).parameters) - {"model"}
    assert make.keywords["batch"] == 3
    assert make.keywords["precision"] != "auto", "measured once"


def test_an_upscaler_of_a_loaded_model_says_why_it_cannot_be_pickled(double):
    with pytest.raises(TypeError, match=r'Upscaler\("supertile-4x"\)'):
        pickle.dumps(double)


def test_another_process_computes_the_same():
    upscaler = Upscaler("supertile-2x", device="cpu", precision="fp32")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        larger = pool.apply(upscaler, (CODES[..., :3],))
    assert np.array_equal(larger, upscaler(CODES[..., :3]))
