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

How many states there are is told by that criterion too where latents come with their posteriors. A
network's latents have none and their states are no Gaussians, of which it would find more and more:
there states count only as far as they lie apart (integrated completed likelihood: Biernacki,
Celeux & Govaert, IEEE TPAMI 2000).

Free covariances have too many parameters for states of a hundred particles (benchmarks/NOTES.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from threadpoolctl import threadpool_limits

from tomopipe.analysis.latent import FITTED, Array, Latents, evenly
from tomopipe.analysis.mixture_em import Family, Information, MixtureFit
from tomopipe.analysis.partitions import partitions, splits

_STARTS, _KEPT = 48, 2  # partitions tried, and of them the ones fitted to the end
_PASSED, _FRESH = 6, 8  # starts of the second family: the first one's best, and partitions
_SHORT, _LONG = 5, 80  # iterations of a try, and of a fit at most
_TRIED = 3000  # particles of a try, at most


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
    fit
        What was fitted, for the probabilities of other particles.
    """

    family: Family
    probability: Array
    means: Array
    covariances: Array
    evidence: float
    bic: float
    fit: MixtureFit = field(repr=False)

    @property
    def icl(self) -> float:
        """`bic` less the entropy of the labels: larger where states lie apart."""
        p = self.probability
        return self.bic + float((p * np.log(np.maximum(p, 1e-300))).sum())

    @property
    def labels(self) -> Array:
        """`(n,)` most probable state of each particle."""
        return np.asarray(self.probability.argmax(axis=1))


def best_mixture(
    latents: Latents,
    k: int | None,
    *,
    seed: int,
    most: int = 12,
    outside: Array | None = None,
) -> Mixture:
    """The better family of k states, or of the best number of states up to `most` (k None).

    Latents with covariances are counted by `bic`, those without by `icl`.

    Particles `outside` (a mask), and those beyond `latent.FITTED` evenly taken ones, take no part
    in the fit and get probabilities of the fitted states.
    """
    rows = np.arange(len(latents)) if outside is None else np.flatnonzero(~outside)
    inside = latents.take(rows[evenly(len(rows))])
    root = _spread(inside)
    information = Information.of(inside).turned(root)
    even = inside.z / np.maximum(inside.z.std(axis=0), 1e-9)
    frames = [np.linalg.solve(root, inside.z.T).T, even]
    with threadpool_limits(1):  # threads only get into each other's way on systems this small
        if k is not None:
            found = _best_family(information, frames, min(k, len(inside)), seed)
        else:
            apart = inside.covariance is None
            found = _best_number(information, frames, seed, most, apart=apart)
        if len(inside) < len(latents):
            parts = np.array_split(np.arange(len(latents)), len(latents) // FITTED + 1)
            each = [found.fit.on(Information.of(latents.take(p)).turned(root)) for p in parts]
            found = replace(found, probability=np.concatenate(each, axis=1).T)
    covariances = root @ found.covariances @ root.T
    return replace(found, means=found.means @ root.T, covariances=covariances)


def _spread(latents: Latents) -> Array:
    """Root `(K, K)` of the latents' variance, by the law of total variance.

    The linear model's latents have variance 1, a network's need not have.
    """
    size = latents.z.shape[1]
    total = np.cov(latents.z.T).reshape(size, size) + latents.mean_covariance
    floor = 1e-9 * max(float(np.trace(total)), 1e-12)
    root: Array = np.linalg.cholesky(total + floor * np.eye(size))
    return root


def _best_number(
    information: Information, frames: Sequence[Array], seed: int, most: int, *, apart: bool
) -> Mixture:
    """More and more states, until two numbers in a row were no better; `apart` by `icl`."""

    def worth(mixture: Mixture) -> float:
        return mixture.icl if apart else mixture.bic

    best = last = _best_family(information, frames, 1, seed)
    worse = 0
    for states in range(2, min(most, len(information) // 10) + 1):
        last = _best_family(information, frames, states, seed, splits(frames[0], last.labels))
        worse = 0 if worth(last) > worth(best) else worse + 1
        best = max(best, last, key=worth)
        if worse == 2:
            break
    return best


def _best_family(
    information: Information,
    frames: Sequence[Array],
    k: int,
    seed: int,
    known: Sequence[Array] = (),
) -> Mixture:
    families: tuple[Family, ...] = ("tied", "scaled") if k > 1 else ("tied",)
    fits = fit_mixtures(information, frames, k, families, seed=seed, known=known)
    return max(fits, key=lambda mixture: mixture.bic)


def fit_mixtures(
    information: Information,
    frames: Sequence[Array],
    k: int,
    families: Sequence[Family],
    *,
    seed: int,
    known: Sequence[Array] = (),
) -> list[Mixture]:
    """Fit k states of each family by expectation maximisation from many partitions.

    Parameters
    ----------
    information
        Of the n particles.
    frames
        `(n, K)` posterior means, scaled in one way or more, in which the first partitions are made.
    k, families
        States and forms of their covariances.
    seed
        Of the partitions.
    known
        Other partitions `(n,)` to begin from.
    """
    rng = np.random.default_rng([seed, k])
    n = len(information)
    rows = np.sort(rng.permutation(n)[:_TRIED])
    part = information.take(rows)

    def tried(family: Family, begin: Iterable[Array]) -> list[MixtureFit]:
        """Short fits from probabilities `(k, particles)`, the best first."""
        fits = []
        for probability in begin:
            fit = MixtureFit(part, k, family)
            fit.run(probability, _SHORT)
            fits.append(fit)
        return sorted(fits, key=lambda fit: -fit.evidence)

    def finished(fit: MixtureFit) -> MixtureFit:
        fit.run(fit.probability if len(part) == n else fit.on(information), _LONG)
        return fit

    begin = [
        *partitions([z[rows] for z in frames], k, _STARTS, rng),
        *(labels[rows] for labels in known),
    ]
    fresh = [np.eye(k)[:, labels] for labels in begin]
    # with one covariance for all states a try costs least, and its best are often good for both
    tied = tried("tied", fresh)
    passed = [fit.probability for fit in tied[:_PASSED]]
    begun = [tied if f == "tied" else tried(f, passed + fresh[:_FRESH]) for f in families]
    found = []
    for tries in begun:
        with ThreadPoolExecutor(_KEPT) as pool:
            done = list(pool.map(finished, tries[:_KEPT]))
        found.append(_result(max(done, key=lambda fit: fit.evidence)))
    return found


def _result(fit: MixtureFit) -> Mixture:
    """A fit as it stands."""
    size = len(fit.shape)
    free = fit.k - 1 + fit.k * size + size * (size + 1) / 2
    free += fit.k - 1 if fit.family == "scaled" else 0
    bic = fit.evidence - free / 2 * np.log(fit.probability.shape[1])
    covariances = fit.scale[:, None, None] * fit.shape
    probability = fit.probability.T
    return Mixture(fit.family, probability, fit.means, covariances, fit.evidence, float(bic), fit)
