"""Factors of the signal, from what images show of a map: a few terms, and those of groups.

The log of the factor of image i in shell s is

    log m = -sum_j c_j x_ji y_js - s_g(i) - u_g(i) v_s,

s the scale of a group, which is fitted so that u does not stand for it, and of no further use;
and the log-likelihood A m - B m^2 / 2, summed over images and shells (`reconstruct/match.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import chi2, norm, t

from tomopipe.reconstruct.match import Match

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

_SIGMAS = 3.0  # of a term that is not left out
_RARE = float(chi2.logsf(4.0**2, 1))  # of groups that scatter by chance: four standard errors
_LEAST = 3  # particles of groups that errors are learnt from
_TOLD, _TINY = 0.02, 1e-4  # least share of a term's information that is not the groups'; of a prior
_PRIOR = 2.0  # standard deviation of the parameters: keeps the search within reach, no more
_LARGEST = 4.0  # a log factor; what lies beyond has no slope

Terms = Mapping[str, tuple[Array, Array]]  # x `(n_images,)` and y `(S,)` of each


@dataclass(frozen=True)
class Estimate:
    """Numbers, their standard errors, and what is used of them: shrunk, or 0 where left out."""

    value: Array
    error: Array
    used: Array

    def times(self, unit: float) -> Estimate:
        """In another unit."""
        return Estimate(self.value * unit, self.error * unit, self.used * unit)


@dataclass(frozen=True)
class Groups:
    """Particle of each image `(n_images,)`, group of each particle, and shape v `(S,)`.

    Groups have a scale each, and unless they are `alike` a u of their own.
    """

    particle: Indices
    group: Indices
    shape: Array
    alike: bool = False

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self.group.max()) + 1


def significant_factors(
    match: Match, terms: Terms, groups: Groups
) -> tuple[dict[str, Estimate], Estimate]:
    """Estimates `()` of the terms that count, and `(n_groups,)` of the groups against their mean.

    A term counts beyond three standard errors; the least significant goes first, and the others are
    estimated again without it. Groups count all together, if their estimates scatter as their
    errors alone would in 6 of 100,000 sets. What counts is shrunk by its error.
    """
    by_group = _apart(_Fit(match, terms, groups))
    if not by_group.used.any():
        groups = replace(groups, alike=True)
    left = dict(terms)
    while left:
        fit = _Fit(match, left, groups)
        value, error = fit.shared()
        sigmas = np.abs(value) / error
        if sigmas.min() > t.isf(norm.sf(_SIGMAS), fit.free):
            used = value * (1 - 1 / sigmas**2)
            rows = zip(value, error, used, strict=True)
            return {n: Estimate(*row) for n, row in zip(left, rows, strict=True)}, by_group
        del left[list(left)[int(sigmas.argmin())]]
    return {}, by_group


def _apart(fit: _Fit) -> Estimate:
    """Groups against their mean, by the spread between them (DerSimonian and Laird 1986)."""
    value, error = fit.groups()
    known = np.isfinite(error)
    weight = np.where(known, 1 / error**2, 0.0)
    free = int(known.sum()) - 1
    if free < 1:
        return Estimate(np.zeros_like(value), error, np.zeros_like(value))
    value = value - np.average(value, weights=weight)
    scatter = float(weight @ value**2)
    excess = (scatter - free) / (weight.sum() - (weight**2).sum() / weight.sum())
    if chi2.logsf(scatter, free) > _RARE:
        return Estimate(value, error, np.zeros_like(value))
    return Estimate(value, error, np.where(known, value * excess / (excess + error**2), 0.0))


class _Fit:
    """The most likely factors under a wide prior."""

    def __init__(self, match: Match, terms: Terms, groups: Groups) -> None:
        self._match, self._groups = match, groups
        n, shells = match.data.shape
        both = [*terms.values(), (np.ones(n), groups.shape)] if groups.alike else terms.values()
        self._terms = len(terms)
        self._x = np.array([x for x, _ in both]).reshape(-1, n)
        self._y = np.array([y for _, y in both]).reshape(-1, shells)
        self._v = np.ones((1, shells))
        if not groups.alike:
            self._v = np.stack([np.ones(shells), groups.shape])
        self._of_image = groups.group[groups.particle]
        start = np.zeros(len(self._x) + len(self._v) * groups.count)
        self._best = minimize(self._loss, start, jac=True, method="L-BFGS-B").x

    def shared(self) -> tuple[Array, Array]:
        """The terms and their errors, the groups' uncertainty included.

        Infinite for terms that only the prior tells from what the groups have of their own.
        """
        slopes, of_group, inner, cross, outer = self._curvature()
        # a particle's influence on the terms; the groups follow them, which Schur's complement says
        ratio = np.linalg.solve(inner, cross)
        own = np.einsum("pgj,pg->pj", ratio[self._groups.group], of_group)
        schur = outer - np.einsum("tgj,tgk->jk", cross, ratio)
        influence = np.linalg.solve(schur, (slopes - own).T)
        error = np.sqrt((influence**2).sum(1) * (self.free + self._own) / self.free)
        bare = inner - (1 - _TINY) * np.eye(len(self._v)) / _PRIOR**2
        left = outer - np.einsum("tgj,tgk->jk", cross, np.linalg.solve(bare, cross))
        prior = 1 / _PRIOR**2
        told = left.diagonal() - prior > _TOLD * (outer.diagonal() - prior)
        error = np.where(told, error, np.inf)
        return self._best[: self._terms], error[: self._terms]

    @property
    def _own(self) -> int:
        return len(self._x) + len(self._v)

    @property
    def free(self) -> int:
        """Degrees of freedom of the errors."""
        return max(len(self._groups.group) - self._own, 1)

    def groups(self) -> tuple[Array, Array]:
        """Estimates of u and their errors, infinite where no group has enough particles.

        Errors go with the curvature, by a factor that all particles' scatter within their groups
        gives: the scatter of the few of one group says too little of its own error.
        """
        _, of_group, inner, _, _ = self._curvature()
        group = self._groups.group
        influence = np.linalg.solve(inner[group], of_group[..., None])[:, 1, 0]
        count = np.bincount(group, minlength=self._groups.count)
        scatter = np.bincount(group, influence**2, self._groups.count)
        inverse = np.linalg.inv(inner)
        # of the images, without what the prior adds
        expected = inverse[:, 1, 1] - (inverse[:, 1] ** 2).sum(1) / _PRIOR**2
        enough = count >= _LEAST
        if not enough.any():
            return self._by_group(self._best)[:, 1], np.full(len(count), np.inf)
        free = (1 - 2 / count[enough]) * expected[enough]  # two parameters of each group
        error = np.sqrt(expected * scatter[enough].sum() / free.sum())
        return self._by_group(self._best)[:, 1], error

    def _by_group(self, parameters: Array) -> Array:
        return parameters[len(self._x) :].reshape(-1, len(self._v))

    def _log(self, parameters: Array) -> Array:
        shared = np.einsum("j,ji,js->is", parameters[: len(self._x)], self._x, self._y)
        log: Array = -shared - self._by_group(parameters)[self._of_image] @ self._v
        return log

    def _loss(self, parameters: Array) -> tuple[float, Array]:
        log = self._log(parameters)
        factor = np.exp(log.clip(-_LARGEST, _LARGEST))
        gained = self._match.data - self._match.model * factor / 2
        slope = self._match.data * factor - self._match.model * factor**2
        slope[np.abs(log) > _LARGEST] = 0
        shared = np.einsum("ji,js,is->j", self._x, self._y, slope, optimize=True)
        of_group = self._summed(self._of_image, slope @ self._v.T, self._groups.count)
        prior = parameters / _PRIOR**2
        loss = float(parameters @ prior) / 2 - float((gained * factor).sum())
        return loss, np.concatenate([shared, of_group.reshape(-1)]) + prior

    def _curvature(self) -> tuple[Array, Array, Array, Array, Array]:
        """Slopes `(P, J)` and `(P, V)` of particles; curvature by groups, both, and terms.

        Those are `(G, V, V)`, `(G, V, J)` and `(J, J)`, V 2, or 1 of groups that are alike.
        """
        factor = np.exp(self._log(self._best).clip(-_LARGEST, _LARGEST))
        slope = self._match.data * factor - self._match.model * factor**2
        curved = self._match.model * factor**2
        x, y, v, count = self._x, self._y, self._v, self._groups.count
        particle, particles = self._groups.particle, len(self._groups.group)
        slopes = self._summed(particle, -x.T * (slope @ y.T), particles)
        of_group = self._summed(particle, -slope @ v.T, particles)
        inner = self._summed(self._of_image, np.einsum("is,gs,hs->igh", curved, v, v), count)
        cross = np.einsum("is,gs,js,ji->igj", curved, v, y, x, optimize=True)
        outer = np.einsum("is,js,ks,ji,ki->jk", curved, y, y, x, x, optimize=True)
        inner += np.eye(len(v)) / _PRIOR**2
        outer += np.eye(len(x)) / _PRIOR**2
        return slopes, of_group, inner, self._summed(self._of_image, cross, count), outer

    @staticmethod
    def _summed(owner: Indices, values: Array, count: int) -> Array:
        """Sums `(count, ...)` of the rows `(n, ...)` of each owner."""
        sums = np.zeros((count, *values.shape[1:]))
        np.add.at(sums, owner, values)
        return sums
