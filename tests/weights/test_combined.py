"""Chains and blends of models, compared with plain calls of their networks."""

from __future__ import annotations

import copy

import pytest
import torch
from spandrel import ImageModelDescriptor
from supertile import CombinationError, blend_models, bundled_models, chain_models, load_model
from supertile.arch import HAT, HATConfig
from supertile.weights import hat
from supertile.weights.architectures import build_descriptor
from supertile.weights.combined import parts_of
from supertile.weights.naming import name_of, source_of
from supertile.weights.shapes import KnownArguments
from torch import Tensor


@pytest.fixture(scope="module")
def clean() -> ImageModelDescriptor:
    return load_model("supertile-2x")


@pytest.fixture(scope="module")
def photo() -> ImageModelDescriptor:
    return load_model("supertile-photo-2x")


@pytest.fixture(scope="module")
def other(randomized) -> ImageModelDescriptor:
    """A small HAT x2."""
    net = randomized(HAT(HATConfig(scale=2, embed_dim=12, depths=(1,), num_heads=(2,), window_size=8)))
    return build_descriptor(hat, net.state_dict(), KnownArguments())


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 20, 28, generator=torch.Generator().manual_seed(0))


def plain(model: ImageModelDescriptor, image: Tensor) -> Tensor:
    with torch.inference_mode():
        return model.model(image).clamp(0, 1)


def test_a_chain_is_one_network_after_the_other(clean, photo, other, image):
    chain = chain_models(clean, other, photo)
    assert (chain.scale, chain.purpose) == (8, "SR")
    assert chain(image).equal(plain(photo, plain(other, plain(clean, image))))
    torch.testing.assert_close(chain.model(image), chain(image), atol=5e-6, rtol=0)  # other packs call the network


def test_a_chain_takes_names_and_chains(clean, photo, image):
    by_name = chain_models("supertile-2x", bundled_models()["supertile-photo-2x"])
    assert by_name(image).equal(chain_models(clean, photo)(image))
    nested = chain_models(chain_models(clean, photo), clean)
    assert nested(image).equal(plain(clean, plain(photo, plain(clean, image))))
    assert [part.model for part in parts_of(nested)] == [clean.model, photo.model, clean.model]


def test_models_that_want_whole_windows_take_any_size(clean, described, image):
    class OnlyEven(torch.nn.Conv2d):
        def forward(self, batch: Tensor) -> Tensor:
            assert batch.shape[2] % 16 == batch.shape[3] % 16 == 0
            return super().forward(batch)

    model = described(OnlyEven(3, 3, 1), scale=1)
    model.size_requirements = type(model.size_requirements)(multiple_of=16)
    assert torch.allclose(chain_models(model, clean)(image), plain(clean, model(image)), atol=1e-6)


@pytest.mark.parametrize("weight", [0, 0.3, 1])
def test_a_blend_of_one_architecture_has_the_weights_between(clean, photo, image, weight):
    blend = blend_models(clean, photo, weight)
    states = clean.model.state_dict(), photo.model.state_dict()
    by_hand = copy.deepcopy(clean.model)
    by_hand.load_state_dict({name: (1 - weight) * states[0][name] + weight * states[1][name] for name in states[0]})
    with torch.inference_mode():
        torch.testing.assert_close(blend(image), by_hand(image).clamp(0, 1), atol=2e-6, rtol=0)
    assert type(blend.model) is type(clean.model), "as fast as one of them"


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("weight", [0, 0.4, 0.5, 1])
def test_a_blend_of_the_bundled_pair_is_denoise(image, scale, weight):
    by_denoise = load_model(f"supertile-{scale}x", denoise=weight)
    blend = blend_models(f"supertile-{scale}x", f"supertile-photo-{scale}x", weight)
    assert blend(image).equal(by_denoise(image))
    assert blend.model.edge_margin == by_denoise.model.edge_margin, "an Upscaler extends the edges of both alike"


def test_a_blend_of_two_architectures_is_the_average_of_their_results(clean, other, image):
    blend = blend_models(clean, other, 0.25)
    expected = 0.75 * plain(clean, image) + 0.25 * plain(other, image)
    torch.testing.assert_close(blend(image), expected, atol=1e-6, rtol=0)


def test_networks_of_spandrel_are_blended_by_their_weights_too(enlarger, image):
    first, second = enlarger(2), enlarger(2)
    second.model.one.data *= 0.5
    torch.testing.assert_close(blend_models(first, second, 0.5)(image), first(image) * 0.75)
    assert float(first.model.one) == 1, "the models stay as they are"


def test_a_model_with_another_mean_is_another_architecture(other, image):
    """Nothing in its weights tells, but the weights between would fit neither mean."""
    changed = build_descriptor(hat, other.model.state_dict(), KnownArguments(mean=(0.5,)))
    assert len(parts_of(blend_models(other, changed, 0.5))) == 2
    assert len(parts_of(blend_models(other, other, 0.5))) == 1


def test_names_tell_what_a_model_is_made_of(clean, photo, other):
    """The families are the architecture's name; messages and reports use the names of files."""
    chain = chain_models(blend_models(clean, photo, 0.3), other)
    assert name_of(chain) == "supertile-2x, blended with 0.3 of supertile-photo-2x, then HAT"
    assert chain.architecture.name == "VapSR, then HAT"
    assert name_of(copy.deepcopy(chain)) == name_of(chain)
    assert name_of(clean) == "supertile-2x", "the models stay as they are"
    assert name_of(load_model("supertile-2x", denoise=0.5)) == "supertile-2x, denoise 0.5"
    path = bundled_models()["supertile-2x"]
    from_file = load_model(path)
    assert (name_of(from_file), source_of(from_file)["metadata"]["title"]) == (path.name, "supertile-2x")


def test_combined_models_can_be_copied(clean, other, image):
    model = chain_models(blend_models(clean, other, 0.5), clean)
    assert copy.deepcopy(model)(image).equal(model(image))


@pytest.mark.parametrize(
    ("combine", "message"),
    [
        (
            lambda a, b: blend_models(a, b, 0.5),
            r"^supertile-2x enlarges 2x and RealESRGAN Compact 1x; only models",
        ),
        (lambda a, b: chain_models(), r"^A chain needs at least one model\.$"),
    ],
)
def test_what_cannot_be_combined_is_one_sentence(clean, enlarger, combine, message):
    with pytest.raises(CombinationError, match=message):
        combine(clean, enlarger(1))


def test_channels_have_to_fit(clean, enlarger):
    gray = enlarger(2)
    gray.input_channels = gray.output_channels = 1
    with pytest.raises(CombinationError, match=r"takes images of 1 channels, but supertile-2x, .* returns 3"):
        chain_models(clean, gray)
    with pytest.raises(CombinationError, match="only models of equal channels can be blended"):
        blend_models(clean, gray, 0.5)


def test_a_weight_lies_between_0_and_1(clean, photo):
    with pytest.raises(ValueError, match=r"from 0 to 1, not 1\.5"):
        blend_models(clean, photo, 1.5)
