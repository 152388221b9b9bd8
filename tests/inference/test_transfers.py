"""Copies beside the host: memory is used again only when it may be, and nobody is given a piece of it."""

from __future__ import annotations

import pytest
import torch
from supertile.inference.accelerator import transfers
from supertile.inference.accelerator.transfers import Downloads, InOrder, Uploads
from supertile.tests.inference.late_copies import LateCopies
from torch import Tensor


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_uploads_of_any_size_arrive_as_they_were_given():
    copies = LateCopies()
    uploads = Uploads(copies)
    buffer, arrived = torch.empty(3, 70, 70), []
    for i in range(20):
        image = buffer[:, : 3 * i + 5, : 70 - 2 * i]
        image.copy_(noise(*image.shape, seed=i))
        arrived.append(uploads.send(image))
    for i, tensor in enumerate(arrived):
        assert torch.equal(tensor, noise(3, 3 * i + 5, 70 - 2 * i, seed=i))
    assert copies.uploads == 20
    assert copies.buffers < 20


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_what_is_uploaded_is_fp32(dtype):
    image = noise(3, 5, 7).to(dtype)
    tensor = Uploads(LateCopies()).send(image.permute(0, 2, 1))
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor, image.float().permute(0, 2, 1))


def test_results_are_the_takers_own():
    downloads = Downloads(LateCopies())
    taken, sent = [], []
    for i in range(20):
        sent.append(downloads.send(torch.tensor(i % 3 == 0), noise(3, i + 1, 8, seed=i)))
        if len(sent) > 1:
            taken.append(sent.pop(0).take())
    taken.append(sent.pop().take())
    for i, (flag, result) in enumerate(taken):
        assert bool(flag) == (i % 3 == 0)
        assert torch.equal(result, noise(3, i + 1, 8, seed=i))
        assert not result.is_inference()


def test_pieces_are_used_in_turn():
    copies = LateCopies()
    downloads = Downloads(copies)
    for _ in range(10):
        sent = [downloads.send(noise(1, 4, 4)) for _ in range(Downloads.BUFFERS)]
        assert all(torch.equal(each.take()[0], noise(1, 4, 4)) for each in sent)
    assert copies.buffers == Downloads.BUFFERS
    assert copies.downloads == 10 * Downloads.BUFFERS


@pytest.mark.parametrize("why", ["too large", "refused", "all in use"])
def test_what_finds_no_piece_is_copied_all_the_same(monkeypatch, why):
    copies = LateCopies(memory=10 if why == "refused" else None)
    if why == "too large":
        monkeypatch.setattr(transfers, "MAX_BUFFER_BYTES", 10)
    downloads, image = Downloads(copies), noise(3, 4, 4)
    held = [downloads.send(noise(1)) for _ in range(Downloads.BUFFERS)] if why == "all in use" else []
    sent = downloads.send(image)
    assert copies.downloads == len(held)
    [result] = sent.take()
    image.zero_()
    assert torch.equal(result, noise(3, 4, 4))
    if why != "all in use":
        assert Uploads(copies).send(image) is None


def test_what_a_reader_makes_of_it():
    place = torch.ones(2, 3)
    Downloads(LateCopies()).send(torch.full((2, 3), 2.0)).take(place.add_)
    assert torch.equal(place, torch.full((2, 3), 3.0))


def test_in_order_and_one_behind():
    copies, seen = LateCopies(), []
    with InOrder(Downloads(copies)) as going:
        for i in range(5):
            going.send(torch.tensor([i]), lambda tensor: seen.append(int(tensor)))
            assert seen == list(range(i))
    assert seen == list(range(5))


def test_after_an_error_pieces_are_free_again():
    copies, seen = LateCopies(), []
    downloads = Downloads(copies)

    def broken_off() -> None:
        with InOrder(downloads) as going:
            going.send(torch.tensor([1]), seen.append)
            raise MemoryError

    for _ in range(2 * Downloads.BUFFERS):
        with pytest.raises(MemoryError):
            broken_off()
    assert seen == []
    assert copies.downloads == 2 * Downloads.BUFFERS
    assert copies.under_way == 0
