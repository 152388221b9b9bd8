"""Where crops are taken."""

from __future__ import annotations

import pytest
import torch
from supertile.images.region import Box
from supertile.previews.places import choose_places, place_at


def landscape() -> torch.Tensor:
    """Sky with a little noise, a wood at the lower left, and a fence at the lower right."""
    generator = torch.Generator().manual_seed(0)
    image = 0.7 + 0.003 * torch.randn(300, 400, generator=generator)
    image[180:, :150] = 0.3 + 0.1 * torch.rand(120, 150, generator=generator)
    image[180:, 300:] = (torch.arange(100) // 5 % 2).float()
    return image


def test_texture_and_edges_are_chosen_and_sky_is_not():
    places = choose_places(landscape(), 3, 64)
    assert all(box.bottom > 200 and detail > 0.05 for box, detail in places)
    assert any(box.left >= 260 for box, _ in places)
    assert any(box.right <= 180 for box, _ in places)


def test_places_hardly_overlap_and_lie_inside():
    boxes = [box for box, _ in choose_places(landscape(), 12, 64)]
    assert len(set(boxes)) == 12
    assert all(box.left >= 0 and box.top >= 0 and box.right <= 400 and box.bottom <= 300 for box in boxes)
    for one in boxes:
        for other in boxes:
            distance = max(abs(one.left - other.left), abs(one.top - other.top))
            assert one == other or distance >= 48


def test_a_flat_image_shows_its_middle():
    [(box, detail)] = choose_places(torch.full((101, 101), 0.5), 1, 32)
    assert detail == 0
    assert box.left <= 50 < box.right
    assert box.top <= 50 < box.bottom


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 300), (20, 20)])
def test_small_images_are_shown_whole_or_in_part(height, width):
    image = torch.rand(height, width, generator=torch.Generator().manual_seed(1))
    boxes = [box for box, _ in choose_places(image, 3, 64)]
    assert boxes
    assert all(0 <= box.left < box.right <= width and 0 <= box.top < box.bottom <= height for box in boxes)
    assert len(boxes) == (3 if width > 200 else 1)


def test_a_center_near_the_edge_moves_the_square_inside():
    assert place_at((50, 40), 20, (100, 80)) == Box(40, 30, 60, 50)
    assert place_at((0, 79), 20, (100, 80)) == Box(0, 60, 20, 80)
    assert place_at((3, 3), 20, (10, 80)) == Box(0, 0, 10, 20)
