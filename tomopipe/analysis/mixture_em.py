"""Expectation maximisation of one Gaussian mixture on posteriors (see `mixtures`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tomopipe.analysis.latent import Array, Latents

Family = Literal["tied", "scaled"]

_TOLERANCE = 0.1  # of the log evidence, where a fit has settled
_FLOOR = 1e-3  # variance that every state has; all latents together have 1


@dataclass(frozen=True)
class Information:
    """What the images say of the latents: precision `(n, K, K)` and vector `(n, K)`."""

    precision: Array
    vector: Array

    @classmethod
    def of(cls, latents: Latents) -> Information:
        """Posteriors of `latents` without the prior N(0, 1); points where they have no width."""
        covariance = latents.covariance
        if covariance is None:
            width = 1e-3 * max(float(latents.z.var()), 1e-12)
            points = np.tile(np.eye(latents.z.shape[1]) / width, (len(latents), 1, 1))
            return cls(points, latents.z / width)
        inverse = np.linalg.inv(covariance)
        values, vectors = np.linalg.eigh(inverse - np.eye(inverse.shape[1]))
        precision = (vectors * np.clip(values, 0, None)[:, None]) @ vectors.transpose(0, 2, 1)
        return cls(precision, (inverse @ latents.z[:, :, None])[:, :, 0])

    def __len__(self) -> int:
        """Count the particles."""
        return len(self.vector)

    def turned(self, root: Array) -> Information:
        """The same for latents x with z = root x."""
        return Information(root.T @ self.precision @ root, self.vector @ root)

    def take(self, rows: Array) -> Information:
        """Rows by position."""
        return Information(self.precision[rows], self.vector[rows])


@dataclass(frozen=True)
class _Group:
    """States of one covariance S, and for every particle what follows from S.

    `posterior` (G + 1/S)^-1, `spread` (S + 1/G)^-1 and `rhs` the latter's b, `at_zero` the mean
    latent of a state at 0, `constant` the log likelihood of that state.
    """

    states: list[int]
    inverse: Array
    posterior: Array
    spread: Array
    rhs: Array
    at_zero: Array
    constant: Array

    @classmethod
    def of(cls, information: Information, states: Iterable[int], inverse: Array) -> _Group:
        """The group of `states` whose covariance has this `(K, K)` inverse."""
        vector = information.vector
        posterior = np.linalg.inv(information.precision + inverse)
        pulled = inverse @ posterior
        at_zero = (posterior @ vector[:, :, None])[:, :, 0]
        logs = np.linalg.slogdet(posterior)[1] + np.linalg.slogdet(inverse)[1]
        return cls(
            list(states),
            inverse,
            posterior,
            inverse - pulled @ inverse,
            at_zero @ inverse,
            at_zero,
            0.5 * (at_zero * vector).sum(axis=1) + 0.5 * logs,
        )


class MixtureFit:
    """Expectation maximisation of one mixture."""

    def __init__(self, information: Information, k: int, family: Family) -> None:
        size = information.vector.shape[1]
        self.information, self.k, self.family = information, k, family
        self.shape = 0.1 * np.eye(size)
        self.scale = np.ones(k)
        self.means = np.zeros((k, size))
        self.weights = np.full(k, 1 / k)
        self.evidence = -np.inf
        self.probability = np.zeros((0, k))
        self._known: list[_Group] | None = None

    def on(self, information: Information) -> Array:
        """Go over to other particles; their probabilities."""
        self.information, self._known = information, None
        return self.expect()

    def run(self, probability: Array, iterations: int) -> None:
        """Iterate from `(n, k)` probabilities until the evidence settles."""
        last = -np.inf
        for _ in range(iterations):
            self._maximise(probability)
            probability = self.expect()
            if abs(self.evidence - last) < _TOLERANCE:
                break
            last = self.evidence

    def _groups(self) -> list[_Group]:
        """States that share a covariance, with what follows from it; the same until it changes."""
        if self._known is None:
            inverse = np.linalg.inv(self.shape)
            if self.family == "tied":
                self._known = [_Group.of(self.information, range(self.k), inverse)]
            else:
                self._known = [
                    _Group.of(self.information, [state], inverse / self.scale[state])
                    for state in range(self.k)
                ]
        return self._known

    def _maximise(self, probability: Array) -> None:
        """Weights, means given the covariances, and covariances given the means."""
        n, size = self.information.vector.shape
        counts = probability.sum(axis=0)
        self.weights = np.maximum(counts, 1e-3) / np.maximum(counts, 1e-3).sum()
        scatter = np.empty((self.k, size, size))
        for group in self._groups():
            r = probability[:, group.states]
            left = (r.T @ group.spread.reshape(n, -1)).reshape(-1, size, size)
            left += 1e-2 * np.eye(size)
            means = np.linalg.solve(left, (r.T @ group.rhs)[:, :, None])[:, :, 0]
            self.means[group.states] = means
            scatter[group.states] = (r.T @ group.posterior.reshape(n, -1)).reshape(-1, size, size)
            pulled = group.posterior @ group.inverse
            for row, state in enumerate(group.states):
                away = group.at_zero + pulled @ means[row] - means[row]
                scatter[state] += (away * r[:, row, None]).T @ away
        self._set_covariances(scatter, counts)

    def _set_covariances(self, scatter: Array, counts: Array) -> None:
        """From the sums `(k, K, K)` of squared distances from the means."""
        self._known = None
        size = scatter.shape[1]
        total = max(counts.sum(), 1.0)
        if self.family == "scaled":
            prior = size + 2.0  # particles' worth of the common scale, for the smallest states
            for _ in range(3):
                inverse = np.linalg.inv(self._floored(scatter, total))
                trace = np.einsum("ij,kji->k", inverse, scatter)
                self.scale = np.clip((trace + prior) / (counts * size + prior), 1e-2, 1e3)
        self.shape = self._floored(scatter, total)

    def _floored(self, scatter: Array, total: float) -> Array:
        shape: Array = (scatter / self.scale[:, None, None]).sum(axis=0) / total
        return shape + _FLOOR * np.eye(len(shape))

    def expect(self) -> Array:
        """Probabilities `(n, k)`; sets `evidence`."""
        n = len(self.information)
        log = np.empty((n, self.k))
        for group in self._groups():
            means = self.means[group.states]
            squares = (means[:, :, None] * means[:, None]).reshape(len(means), -1)
            log[:, group.states] = group.constant[:, None] + group.rhs @ means.T
            log[:, group.states] -= 0.5 * group.spread.reshape(n, -1) @ squares.T
        log += np.log(self.weights)
        top = log.max(axis=1, keepdims=True)
        probability = np.exp(log - top)
        total = probability.sum(axis=1, keepdims=True)
        self.evidence = float((top + np.log(total)).sum())
        self.probability = probability / total
        return self.probability
