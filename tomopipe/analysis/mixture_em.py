"""Expectation maximisation of one Gaussian mixture on posteriors (see `mixtures`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tomopipe.analysis.latent import Array, Latents

Family = Literal["tied", "scaled"]

_TOLERANCE = 0.1  # of the log evidence of up to a thousand particles, where a fit has settled
_FLOOR = 1e-3  # variance that every state has; all latents together have 1
_BLOCK = 1 << 11  # particles worked on at once: what stays in the processor's cache


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

    `posterior` `(K, K, n)` (G + 1/S)^-1, `spread` `(K, K, n)` (S + 1/G)^-1 and `rhs` `(K, n)` the
    latter's b, `at_zero` `(K, n)` the mean latent of a state at 0, `constant` `(n,)` the log
    likelihood of that state. Particles come last, so that what is done to thousands of small
    matrices is a few long operations.
    """

    states: list[int]
    inverse: Array
    posterior: Array
    spread: Array
    rhs: Array
    at_zero: Array
    constant: Array

    @classmethod
    def of(cls, precision: Array, vector: Array, states: Iterable[int], inverse: Array) -> _Group:
        """The group of `states` whose covariance has this `(K, K)` inverse.

        `precision` `(K, K, n)` and `vector` `(K, n)` are the particles' information.
        """
        posterior, logs = _inverted(precision + inverse[:, :, None])
        at_zero = (posterior * vector).sum(axis=1)
        # both factors are symmetric: the transposed product is the one from the other side
        pulled = _times(inverse, posterior).transpose(1, 0, 2)
        return cls(
            list(states),
            inverse,
            posterior,
            inverse[:, :, None] - _times(inverse, pulled),
            inverse @ at_zero,
            at_zero,
            0.5 * (at_zero * vector).sum(axis=0) + 0.5 * (np.linalg.slogdet(inverse)[1] - logs),
        )


def _times(matrix: Array, matrices: Array) -> Array:
    """`(s, K)` times `(K, m, n)`: `(s, m, n)`."""
    product: Array = matrix @ matrices.reshape(len(matrices), -1)
    return product.reshape(len(matrix), *matrices.shape[1:])


def _inverted(matrices: Array) -> tuple[Array, Array]:
    """Inverses of positive definite matrices `(K, K, n)` and the logarithms of their determinants.

    Gauss and Jordan's elimination, every step for many matrices at once, several times faster than
    a library's call for each; positive definite matrices need no pivoting.
    """
    out, logs = matrices.copy(), np.zeros(matrices.shape[2])
    for first in range(0, len(logs), _BLOCK):
        a, log = out[:, :, first : first + _BLOCK], logs[first : first + _BLOCK]
        for k in range(len(a)):
            pivot = a[k, k].copy()
            log += np.log(pivot)
            a[k, k] = 1.0
            a[k] /= pivot
            factor = a[:, k].copy()
            factor[k] = 0.0
            a[:k, k] = 0.0
            a[k + 1 :, k] = 0.0
            a -= factor[:, None] * a[k]
    return out, logs


class MixtureFit:
    """Expectation maximisation of one mixture.

    `probability` `(k, n)` are the states' posterior probabilities for each particle.
    """

    def __init__(self, information: Information, k: int, family: Family) -> None:
        size = information.vector.shape[1]
        self.k, self.family = k, family
        self.shape = 0.1 * np.eye(size)
        self.scale = np.ones(k)
        self.means = np.zeros((k, size))
        self.weights = np.full(k, 1 / k)
        self.evidence = -np.inf
        self.probability = np.zeros((k, 0))
        self._take(information)

    def _take(self, information: Information) -> None:
        self._precision = np.ascontiguousarray(information.precision.transpose(1, 2, 0))
        self._vector = np.ascontiguousarray(information.vector.T)
        self._known: list[_Group] | None = None

    def on(self, information: Information) -> Array:
        """Go over to other particles; their probabilities."""
        self._take(information)
        return self.expect()

    def run(self, probability: Array, iterations: int) -> None:
        """Iterate from `(k, n)` probabilities until the evidence settles."""
        last = -np.inf
        settled = _TOLERANCE * max(1.0, self._vector.shape[1] / 1000)
        for _ in range(iterations):
            self._maximise(probability)
            probability = self.expect()
            if abs(self.evidence - last) < settled:
                break
            last = self.evidence

    def _groups(self) -> list[_Group]:
        """States that share a covariance, with what follows from it; the same until it changes."""
        if self._known is None:
            inverse = np.linalg.inv(self.shape)
            shared = [(range(self.k), inverse)]
            if self.family == "scaled":
                shared = [
                    (range(state, state + 1), inverse / self.scale[state])
                    for state in range(self.k)
                ]
            self._known = [_Group.of(self._precision, self._vector, *group) for group in shared]
        return self._known

    def _maximise(self, probability: Array) -> None:
        """Weights, means given the covariances, and covariances given the means."""
        size, n = self._vector.shape
        counts = probability.sum(axis=1)
        self.weights = np.maximum(counts, 1e-3) / np.maximum(counts, 1e-3).sum()
        scatter = np.empty((self.k, size, size))
        for group in self._groups():
            r = probability[group.states]
            left = (r @ group.spread.reshape(-1, n).T).reshape(-1, size, size)
            left += 1e-2 * np.eye(size)
            means = np.linalg.solve(left, (r @ group.rhs.T)[:, :, None])[:, :, 0]
            self.means[group.states] = means
            away = group.at_zero + _times(means @ group.inverse, group.posterior)
            away -= means[:, :, None]
            scatter[group.states] = (r @ group.posterior.reshape(-1, n).T).reshape(-1, size, size)
            scatter[group.states] += (away * r[:, None]) @ away.transpose(0, 2, 1)
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
        """Probabilities `(k, n)`; sets `evidence`."""
        size, n = self._vector.shape
        log = np.empty((self.k, n))
        for group in self._groups():
            means = self.means[group.states]
            squares = (means[:, :, None] * means[:, None]).reshape(-1, size * size)
            log[group.states] = group.constant + means @ group.rhs
            log[group.states] -= 0.5 * squares @ group.spread.reshape(-1, n)
        log += np.log(self.weights)[:, None]
        top = log.max(axis=0)
        probability = np.exp(log - top)
        total = probability.sum(axis=0)
        self.evidence = float((top + np.log(total)).sum())
        self.probability = probability / total
        return self.probability
