"""HiT-SNG's n-grams: each window gets a context from its neighbors, added to all of its pixels."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import ops
from .strips import Strips


class NGramAttention(nn.Module):
    """Attention among the four windows of a bigram, and their mean."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros(9, num_heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, rows + 2, columns + 2, D), windows with their neighbors around the border -> (B, rows, columns, 2 D)."""
        return ops.bigrams(x, self.qkv, self.proj, self.bias(), self.num_heads)

    def bias(self) -> Tensor:
        """Return the position bias, (heads, 4, 4) fp32."""
        at = torch.arange(2, device=self.relative_position_bias_table.device)
        d = at[:, None] - at[None, :] + 1
        index = (d[:, None, :, None] * 3 + d[None, :, None, :]).reshape(4, 4)
        return self.relative_position_bias_table.float()[index].permute(2, 0, 1)


class NGramContext(nn.Module):
    """The context of each window: windows as single features, bigrams of them in both directions."""

    def __init__(self, dim: int, num_heads: int, window: tuple[int, int]) -> None:
        super().__init__()
        self.unigram_embed = nn.Conv2d(2, 1, window)
        self.ngram_attn = NGramAttention(dim // 2, num_heads)
        self.merge = nn.Conv2d(dim, dim, 1)

    def forward(self, windows: Strips, step: Callable[[Tensor, Tensor], Tensor]) -> Strips:
        """Apply `step` to strips of whole windows, (B, h, W, C), and the context of each window, (windows, C).

        The last windows of a strip wait for those below. What waits here and what `step` gets has no other reader.
        """
        strips, window_rows, seen = iter(windows), self.unigram_embed.kernel_size[0], 0
        waiting: list[Tensor] = []  # one row of windows, whose unigrams are `last`
        ready: deque[tuple[Tensor, Tensor]] = deque()
        above, last = torch.empty(0), torch.empty(0)

        def read() -> None:
            nonlocal seen, above, last
            strip = next(strips)
            seen += strip.shape[1]
            unigrams = ops.unigrams(strip, self.unigram_embed)
            if waiting:
                ready.append((waiting.pop(), self._context(above, last, unigrams[:, :1])))
                above = last
            if seen == windows.height:  # at the lower border the window above is also the one below
                below = unigrams[:, -2:-1] if unigrams.shape[1] > 1 else above
                ready.append((strip, self._context(above, unigrams, below)))
                return
            waiting.append(strip[:, -window_rows:].clone())
            if unigrams.shape[1] > 1:
                ready.append((strip[:, :-window_rows], self._context(above, unigrams[:, :-1], unigrams[:, -1:])))
                above = unigrams[:, -2:-1]
            last = unigrams[:, -1:]

        def following() -> Tensor:
            while not ready:
                read()
            return step(*ready.popleft())

        return Strips.pulled(windows.height, following)

    def _context(self, above: Tensor, unigrams: Tensor, below: Tensor) -> Tensor:
        """Merge the bigrams of each of `unigrams`, (B, rows, columns, D), in both directions; (B rows columns, C).

        above: the unigrams of the strip above, none at the upper border; below: the row of them below.
        """
        if not above.numel():  # at the upper border the window below is also the one above
            above = unigrams[:, 1:2] if unigrams.shape[1] > 1 else below
        both = torch.cat([above[:, -1:], unigrams, below], 1)
        both = torch.cat([both[:, :, 1:2], both, both[:, :, -2:-1]], 2)
        bigrams = self.ngram_attn(both).flatten(0, 2)
        assert self.merge.bias is not None
        return F.linear(bigrams, self.merge.weight.float()[:, :, 0, 0], self.merge.bias.float())


class NGramWindows(nn.Module):
    """Holds the n-gram context under the name it has in checkpoints."""

    def __init__(self, dim: int, num_heads: int, window: tuple[int, int]) -> None:
        super().__init__()
        self.ngram_context = NGramContext(dim, num_heads, window)
