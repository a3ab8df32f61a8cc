"""The rounds of the linear model: from random latents to volumes, and posteriors from others'."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from tomopipe.config.linear import LinearSettings
from tomopipe.io.progress import Progress
from tomopipe.training.em import Latents, expect, maximise, mean_volume, ridge, standardise
from tomopipe.training.shrinkage import LocalShrinkage, principal_axes
from tomopipe.training.statistics import Statistics

_BEFORE_SHRINKING = 8  # rounds: components begin as noise
_FOLDS = 4


class Rounds:
    """Expectation maximisation of one model over the statistics of all processes.

    Parameters
    ----------
    statistics
        Of this process's particles.
    mask
        `(box, box, box)` support of all volumes.
    settings
        Components, rounds, prior, reach of the shrinkage and seed.
    """

    def __init__(self, statistics: Statistics, mask: Tensor, settings: LinearSettings) -> None:
        self.statistics, self.mask, self.settings = statistics, mask, settings
        self.group = statistics.group
        own, grid = statistics.store.n_particles, statistics.grid
        counts = self.group.each(own, mask.device)
        self.count = int(counts.sum())
        self.first = int(counts[: self.group.rank].sum())
        sums = statistics.sums()
        mean = mean_volume(sums, grid, mask)
        self.precision = ridge(grid, mean, settings.prior, settings.components)
        self.local = None
        if settings.local_angstrom > 0:
            width = settings.local_angstrom / statistics.store.pixel_size
            self.local = LocalShrinkage(grid, sums[:, 0], self.precision[:, 1], mask, width)

    def run(self) -> tuple[Tensor, Latents, list[dict[str, float]]]:
        """Model `(n, K + 1)` on the voxels, latents of our particles, and metrics of each round.

        In the last round a particle's posterior comes from volumes that the other particles made:
        its own noise, which its volumes hold too, would pull it away from the others.
        """
        latents, model = self._first_latents(), torch.empty(0)
        metrics: list[dict[str, float]] = []
        last = self.settings.rounds - 1
        with Progress(self.settings.rounds, "linear") as progress:
            for number in range(self.settings.rounds):
                start = time.monotonic()
                shrinking = self.local is not None and number >= _BEFORE_SHRINKING
                if shrinking:
                    latents = principal_axes(model, latents)
                model = self._maximise(latents, shrinking)
                if number == last and self.count >= 2 * _FOLDS:
                    posterior = self._cross_fitted(latents, shrinking)
                else:
                    posterior = expect(self.statistics, model)
                model, latents = standardise(model, posterior, self.group)
                metrics.append(self._figures(latents, number + 1, time.monotonic() - start))
                progress.advance(note=f"error {metrics[-1]['loss']:.4f}")
        return model, latents, metrics

    def _maximise(self, latents: Latents, shrinking: bool, chosen: Tensor | None = None) -> Tensor:
        shrink = self.local if shrinking else None
        return maximise(self.statistics, latents, self.precision, self.mask, shrink, chosen)

    def _cross_fitted(self, latents: Latents, shrinking: bool) -> Latents:
        """Posterior of each quarter of the particles under the volumes of the other three."""
        own = torch.arange(len(latents.mean), device=latents.mean.device)
        fold = (self.first + own) % _FOLDS
        out = Latents(*(torch.empty_like(f) for f in latents.fields()))
        for number in range(_FOLDS):
            model = self._maximise(latents, shrinking, fold != number)
            rows = fold == number
            found = expect(self.statistics, model)
            for into, values in zip(out.fields(), found.fields(), strict=True):
                into[rows] = values[rows]
        return out

    def _figures(self, latents: Latents, number: int, seconds: float) -> dict[str, float]:
        # latents have mean 0 over all particles
        square = latents.mean.square().sum() / latents.mean.shape[1]
        total = self.group.sum(torch.stack([latents.error.sum(), square]))
        error, explained = (total / self.count).tolist()
        return {"epoch": number, "loss": error, "explained": explained, "seconds": seconds}

    def _first_latents(self) -> Latents:
        """Random latents of our particles, the same however many processes there are.

        They are drawn for the particles of all processes in turn, and ours are kept.
        """
        k, own = self.settings.components, self.statistics.store.n_particles
        generator = torch.Generator().manual_seed(self.settings.seed)
        drawn = torch.randn(self.count, k, generator=generator)
        mean = drawn[self.first : self.first + own].to(self.mask)
        return Latents(mean, mean.new_zeros(own, k, k), mean.new_zeros(own))
