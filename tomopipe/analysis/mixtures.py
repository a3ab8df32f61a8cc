"""Gaussian mixtures on posteriors: clusters that know how well each particle is determined.

The images of particle i say of its latent z no more than a Gaussian likelihood
exp(b_i·z - z·G_i z / 2): G_i, b_i are its posterior without the prior N(0, 1). Each state is a
Gaussian N(mu_k, S_k) of true latents, and a particle with fewer or noisier tilts is only vaguer,
not elsewhere ("extreme deconvolution", Bovy, Hogg & Roweis, Ann. Appl. Stat. 2011). Two families of
covariances are fitted and the better one taken by the Bayesian information criterion (as in mclust:
Fraley & Raftery, JASA 2002), for one number of states or the best number:

tied
    S_k = S: states differ in where they are; the usual case of discrete states.
scaled
    S_k = a_k S: some states are compact and some broad; junk is broad.

Free covariances have too many parameters for states of a hundred particles (benchmarks/NOTES.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tomopipe.analysis.latent import Array, Latents

Family = Literal["tied", "scaled"]

_STARTS, _KEPT = 12, 3  # partitions tried, and of them the ones fitted to the end
_SHORT, _LONG = 6, 150  # iterations of a try, and of a fit at most
_TRIED = 3000  # particles of a try, at most
_TOLERANCE = 0.05  # of the log evidence, where a fit has settled
_FLOOR = 1e-3  # variance that every state has (latents have variance 1)


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
            covariance = np.tile(width * np.eye(latents.z.shape[1]), (len(latents), 1, 1))
        inverse = np.linalg.inv(covariance)
        values, vectors = np.linalg.eigh(inverse - np.eye(inverse.shape[1]))
        precision = (vectors * np.clip(values, 0, None)[:, None]) @ vectors.transpose(0, 2, 1)
        return cls(precision, (inverse @ latents.z[:, :, None])[:, :, 0])

    def __len__(self) -> int:
        """Count the particles."""
        return len(self.vector)

    def take(self, rows: Array) -> Information:
        """Rows by position."""
        return Information(self.precision[rows], self.vector[rows])


@dataclass(frozen=True)
class Mixture:
    """A fitted mixture of k states.

    Attributes
    ----------
    family
        Of covariances.
    probability
        `(n, k)` posterior probability of each state for each particle.
    means, covariances
        `(k, K)` and `(k, K, K)` of the states' true latents.
    evidence, bic
        Log likelihood, and that less half a log n for every parameter (larger is better).
    """

    family: Family
    probability: Array
    means: Array
    covariances: Array
    evidence: float
    bic: float

    @property
    def labels(self) -> Array:
        """`(n,)` most probable state of each particle."""
        return np.asarray(self.probability.argmax(axis=1))


def best_mixture(latents: Latents, k: int | None, *, seed: int, most: int = 12) -> Mixture:
    """The better family of k states, or of the best number of states up to `most` (k None)."""
    information = Information.of(latents)
    if k is not None:
        return _best_family(information, latents.z, min(k, len(latents)), seed)
    best = _best_family(information, latents.z, 1, seed)
    worse = 0
    for states in range(2, min(most, len(latents) // 10) + 1):
        fitted = _best_family(information, latents.z, states, seed)
        worse = 0 if fitted.bic > best.bic else worse + 1
        best = max(best, fitted, key=lambda mixture: mixture.bic)
        if worse == 2:
            break
    return best


def _best_family(information: Information, z: Array, k: int, seed: int) -> Mixture:
    families: tuple[Family, ...] = ("tied", "scaled") if k > 1 else ("tied",)
    fits = [fit_mixture(information, z, k, family, seed=seed) for family in families]
    return max(fits, key=lambda mixture: mixture.bic)


def fit_mixture(
    information: Information, z: Array, k: int, family: Family, *, seed: int
) -> Mixture:
    """Fit k states of one family by expectation maximisation from many partitions.

    Parameters
    ----------
    information
        Of the n particles.
    z
        `(n, K)` posterior means, in which the first partitions are made.
    k, family
        States and form of their covariances.
    seed
        Of the partitions.
    """
    rng = np.random.default_rng([seed, k])
    n = len(information)
    rows = np.sort(rng.permutation(n)[:_TRIED])
    part = information.take(rows)
    tries = []
    for labels in _partitions(z[rows], k, rng):
        fit = _Fit(part, k, family)
        fit.run(np.eye(k)[labels], _SHORT)
        tries.append(fit)
    tries.sort(key=lambda fit: -fit.evidence)
    done = []
    for fit in tries[:_KEPT]:
        fit.information = information
        probability = fit.expect() if len(part) < n else fit.probability
        fit.run(probability, _LONG)
        done.append(fit)
    return max(done, key=lambda fit: fit.evidence).result()


def _partitions(z: Array, k: int, rng: np.random.Generator) -> Iterator[Array]:
    """Labels `(n,)` to start from: k-means, run to its end and stopped at once, in turn.

    K-means alone never begins with long states that lie side by side.
    """
    from sklearn.cluster import KMeans

    if k == 1:
        yield np.zeros(len(z), dtype=int)
        return
    for number in range(_STARTS):
        yield (
            KMeans(
                k,
                n_init=1,
                init="random" if number % 2 else "k-means++",
                max_iter=1 if number % 3 else 50,
                random_state=int(rng.integers(1 << 31)),
            )
            .fit(z)
            .labels_
        )


class _Fit:
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

    def run(self, probability: Array, iterations: int) -> None:
        """Iterate from `(n, k)` probabilities until the evidence settles."""
        last = -np.inf
        for _ in range(iterations):
            self._maximise(probability)
            probability = self.expect()
            if abs(self.evidence - last) < _TOLERANCE:
                break
            last = self.evidence

    def _groups(self) -> list[tuple[slice | list[int], Array]]:
        """States that share a covariance, and its inverse."""
        inverse = np.linalg.inv(self.shape)
        if self.family == "tied":
            return [(slice(None), inverse)]
        return [([state], inverse / self.scale[state]) for state in range(self.k)]

    def _maximise(self, probability: Array) -> None:
        """Weights, means given the covariances, and covariances given the means."""
        n, size = self.information.vector.shape
        counts = probability.sum(axis=0)
        self.weights = np.maximum(counts, 1e-3) / np.maximum(counts, 1e-3).sum()
        scatter = np.empty((self.k, size, size))
        for states, inverse in self._groups():
            posterior, spread, rhs = self._posterior(inverse)
            r = probability[:, states]
            left = (r.T @ spread.reshape(n, -1)).reshape(-1, size, size)
            left += 1e-2 * np.eye(size)
            means = np.linalg.solve(left, (r.T @ rhs)[:, :, None])[:, :, 0]
            self.means[states] = means
            scatter[states] = (r.T @ posterior.reshape(n, -1)).reshape(-1, size, size)
            at_zero = (posterior @ self.information.vector[:, :, None])[:, :, 0]
            pulled = posterior @ inverse
            for row, state in enumerate(np.arange(self.k)[states]):
                away = at_zero + pulled @ means[row] - means[row]
                scatter[state] += (away * r[:, row, None]).T @ away
        self._set_covariances(scatter, counts)

    def _set_covariances(self, scatter: Array, counts: Array) -> None:
        """From the sums `(k, K, K)` of squared distances from the means."""
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

    def _posterior(self, inverse: Array) -> tuple[Array, Array, Array]:
        """For a covariance S with this inverse: (G + 1/S)^-1, (S + 1/G)^-1 and the latter's b."""
        posterior = np.linalg.inv(self.information.precision + inverse)
        pulled = inverse @ posterior
        spread = inverse - pulled @ inverse
        rhs = (pulled @ self.information.vector[:, :, None])[:, :, 0]
        return posterior, spread, rhs

    def expect(self) -> Array:
        """Probabilities `(n, k)`; sets `evidence`."""
        n = len(self.information)
        log = np.empty((n, self.k))
        for states, inverse in self._groups():
            posterior, spread, rhs = self._posterior(inverse)
            own = (self.information.vector[:, None] @ posterior)[:, 0]
            constant = 0.5 * (own * self.information.vector).sum(axis=1)
            constant += 0.5 * (np.linalg.slogdet(posterior)[1] + np.linalg.slogdet(inverse)[1])
            means = self.means[states]
            squares = (means[:, :, None] * means[:, None]).reshape(len(means), -1)
            log[:, states] = constant[:, None] + rhs @ means.T
            log[:, states] -= 0.5 * spread.reshape(n, -1) @ squares.T
        log += np.log(self.weights)
        top = log.max(axis=1, keepdims=True)
        probability = np.exp(log - top)
        total = probability.sum(axis=1, keepdims=True)
        self.evidence = float((top + np.log(total)).sum())
        self.probability = probability / total
        return self.probability

    def result(self) -> Mixture:
        """The mixture as it stands."""
        size = len(self.shape)
        free = self.k - 1 + self.k * size + size * (size + 1) / 2
        free += self.k - 1 if self.family == "scaled" else 0
        bic = self.evidence - free / 2 * np.log(len(self.probability))
        covariances = self.scale[:, None, None] * self.shape
        return Mixture(
            self.family, self.probability, self.means, covariances, self.evidence, float(bic)
        )
