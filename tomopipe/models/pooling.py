"""Joining what was learned of each tilt into one vector per particle, for any number of tilts.

Tilts come flat: `(I, width)` with the particle of each, grouped by particle. Every kind but
`concatenate` ignores the order of the tilts and takes any number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Mean(nn.Module):
    """Mean over tilts."""

    def forward(self, x: Tensor, particle: Tensor, n: int) -> Tensor:
        """`(I, width)` to `(n, width)`."""
        total = x.new_zeros(n, x.shape[1]).index_add_(0, particle, x)
        return total / _counts(particle, n).to(x.dtype)[:, None]


class Max(nn.Module):
    """Largest value over tilts."""

    def forward(self, x: Tensor, particle: Tensor, n: int) -> Tensor:
        """`(I, width)` to `(n, width)`."""
        padded, valid = pad(x, particle, n)
        return padded.masked_fill(~valid[..., None], -math.inf).amax(1)


class Median(nn.Module):
    """Median over tilts; the mean of the middle two for an even number."""

    def forward(self, x: Tensor, particle: Tensor, n: int) -> Tensor:
        """`(I, width)` to `(n, width)`."""
        padded, valid = pad(x, particle, n)
        ordered = padded.masked_fill(~valid[..., None], math.inf).sort(dim=1).values
        count = valid.sum(1)
        low, high = (count - 1) // 2, count // 2
        rows = torch.arange(n, device=x.device)
        return (ordered[rows, low] + ordered[rows, high]) / 2


class Attention(nn.Module):
    """Softmax-weighted mean over tilts, `heads` times, with weights that the network learns."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.score = nn.Linear(width, heads)

    def forward(self, x: Tensor, particle: Tensor, n: int) -> Tensor:
        """`(I, width)` to `(n, width)`."""
        score = self.score(x).float()  # (I, heads)
        top = score.new_full((n, self.heads), -math.inf)
        index = particle[:, None].expand_as(score)
        top = top.scatter_reduce(0, index, score.detach(), "amax")
        weight = torch.exp(score - top[particle])
        total = weight.new_zeros(n, self.heads).index_add_(0, particle, weight)
        weight = (weight / total[particle]).to(x.dtype)
        split = x.view(len(x), self.heads, -1) * weight[..., None]
        return x.new_zeros(n, x.shape[1]).index_add_(0, particle, split.flatten(1))


class Concatenate(nn.Module):
    """All tilts one after the other; every particle must have exactly `tilts` of them."""

    def __init__(self, tilts: int) -> None:
        super().__init__()
        self.tilts = tilts

    def forward(self, x: Tensor, particle: Tensor, n: int) -> Tensor:
        """`(I, width)` to `(n, tilts · width)`.

        Raises
        ------
        ValueError
            If a particle has another number of tilts.
        """
        if not bool((_counts(particle, n) == self.tilts).all()):
            raise ValueError(
                f"concatenate pooling takes exactly {self.tilts} tilts of every particle"
            )
        return x.reshape(n, -1)


class SetTransformer(nn.Module):
    """SAB, SAB, PMA with one seed, SAB, SAB (Lee et al. 2019; tomoDRGN's set encoder).

    Padding is masked, so particles may have different numbers of tilts. With one seed the last two
    blocks attend to a single vector.
    """

    def __init__(self, width: int, hidden: int, heads: int = 4) -> None:
        super().__init__()
        self.enter = nn.Linear(width, hidden)
        self.before = nn.ModuleList([_AttentionBlock(hidden, heads) for _ in range(2)])
        self.seed = nn.Parameter(torch.empty(1, 1, hidden))
        nn.init.xavier_uniform_(self.seed)
        self.pool = _AttentionBlock(hidden, heads)
        self.after = nn.ModuleList([_AttentionBlock(hidden, heads) for _ in range(2)])

    def forward(self, x: Tensor, particle: Tensor, n: int) -> Tensor:
        """`(I, width)` to `(n, hidden)`."""
        padded, valid = pad(self.enter(x), particle, n)
        for block in self.before:
            padded = block(padded, padded, valid)
        pooled = self.pool(self.seed.expand(n, -1, -1), padded, valid)
        for block in self.after:
            pooled = block(pooled, pooled, None)
        return torch.as_tensor(pooled[:, 0])


class _AttentionBlock(nn.Module):
    """MAB(query, key): h = q + attention(q, k); h + relu(W h)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, valid: Tensor | None) -> Tensor:
        """`(n, q, width)`, `(n, k, width)` and `(n, k)` valid keys to `(n, q, width)`."""
        ignore = None if valid is None else ~valid
        hidden = (
            query + self.attention(query, key, key, key_padding_mask=ignore, need_weights=False)[0]
        )
        return torch.as_tensor(hidden + torch.relu(self.feed(hidden)))


def pad(x: Tensor, particle: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """`(I, width)` grouped by particle to `(n, most tilts, width)` and which entries are tilts."""
    counts = _counts(particle, n)
    start = torch.cumsum(counts, 0) - counts
    place = torch.arange(len(x), device=x.device) - start[particle]
    most = int(counts.max())
    padded = x.new_zeros(n, most, x.shape[1]).index_put((particle, place), x)
    return padded, torch.arange(most, device=x.device)[None] < counts[:, None]


def _counts(particle: Tensor, n: int) -> Tensor:
    return torch.bincount(particle, minlength=n)


def make_pooling(kind: str, width: int, hidden: int, tilts: int) -> tuple[nn.Module, int]:
    """Pooling of a kind, and the width of its output.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    if kind == "concatenate":
        return Concatenate(tilts), tilts * width
    if kind == "set_transformer":
        return SetTransformer(width, hidden), hidden
    if kind == "attention":
        return Attention(width), width
    simple = {"mean": Mean, "max": Max, "median": Median}
    if kind not in simple:
        raise ValueError(f"unknown pooling {kind!r}")
    return simple[kind](), width
