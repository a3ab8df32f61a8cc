"""What the truth allows: likelihood under the true volumes, and under volumes of true labels."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import KFold, StratifiedKFold
from torch import Tensor

from benchmarks.heterogeneity.sets import Made
from tomopipe.config.linear import LinearSettings
from tomopipe.dataset.store import Store
from tomopipe.physics.grid import FourierGrid
from tomopipe.simulate.particles import true_volume
from tomopipe.training.em import ridge
from tomopipe.training.linear import prepare_statistics
from tomopipe.training.statistics import Statistics

_POSITIONS = 9  # of the moving arm, averaged over
_STEPS = 41  # along a motion
_WIDTHS = (0.1, 0.2, 0.3)  # of the kernel over true neighbours, of the motion's whole range
_PLACES = 21  # along the motion of such volumes
_SHRINKAGE = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # prior variance of a class's difference


def bounds(made: Made) -> dict[str, dict[str, float]]:
    """ARI and accuracy of the oracle and of the supervised bound; of a motion, its order."""
    store = Store.open(made.store)
    grid = FourierGrid(store.box, 2)
    statistics, mask = prepare_statistics(store, grid, LinearSettings(), "cpu")
    truth = made.truth.loc[list(store.uids), "state"].to_numpy(str)
    if len(set(truth)) == 1:
        true = made.truth.loc[list(store.uids), "coordinate"].to_numpy(float)
        return {
            "oracle": {"spearman": oracle_order(made, store, statistics, truth[0])},
            "supervised": {"spearman": supervised_order(statistics, mask, true)},
        }
    found = {
        "oracle": oracle(made, store, statistics, truth),
        "supervised": supervised(statistics, mask, truth),
    }
    return {name: score(truth, labels) for name, labels in found.items()}


def score(truth: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """ARI and accuracy of labels that are named as the truth's."""
    return {
        "ari": float(adjusted_rand_score(truth, labels)),
        "accuracy": float((truth == labels).mean()),
    }


def log_likelihood(statistics: Statistics, values: Tensor) -> Tensor:
    """`(N, V)` log p(y | V) up to a constant, of volumes `(n, V)` on the grid's voxels."""
    weighted = values * statistics.weight[:, None]
    real, imaginary = weighted.real.contiguous(), weighted.imag.contiguous()
    power = values.abs() ** 2 * statistics.weight[:, None]
    parts = [c.real @ real + c.imaginary @ imaginary - c.power @ power / 2 for c in statistics]
    return torch.cat(parts)


def oracle(made: Made, store: Store, statistics: Statistics, truth: np.ndarray) -> np.ndarray:
    """Most likely state of each particle; junk where nothing at all is more likely."""
    names, columns = [], []
    for state in sorted(set(truth) - {"junk"}):
        moves = state == "whole" and made.settings.motion_degrees > 0
        places = np.linspace(0, 1, _POSITIONS) if moves else [np.nan]
        volumes = torch.stack([true_volume(made.settings, state, p) for p in places])
        values = statistics.grid.to_fourier(volumes / store.scale)
        fit = log_likelihood(statistics, values)
        names.append(state)
        columns.append(torch.logsumexp(fit, 1) - np.log(len(places)))
    if "junk" in truth:
        names.append("junk")
        columns.append(torch.zeros_like(columns[0]))
    return np.array(names)[torch.stack(columns, 1).argmax(1).numpy()]


def oracle_order(made: Made, store: Store, statistics: Statistics, state: str) -> float:
    """Spearman of the true coordinate with its mean under the likelihood of the true volumes."""
    places = np.linspace(0, 1, _STEPS)
    volumes = torch.stack([true_volume(made.settings, state, place) for place in places])
    fit = log_likelihood(statistics, statistics.grid.to_fourier(volumes / store.scale))
    expected = torch.softmax(fit.double(), 1).numpy() @ places
    true = made.truth.loc[list(store.uids), "coordinate"].to_numpy(float)
    return float(spearmanr(expected, true).statistic)


def supervised(statistics: Statistics, mask: Tensor, truth: np.ndarray) -> np.ndarray:
    """Labels of a fifth from class volumes of the other four fifths, best shrinkage of all."""
    best: tuple[float, np.ndarray] = (-1.0, truth)
    for shrinkage in _SHRINKAGE:
        labels = np.empty_like(truth)
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        for train, test in folds.split(truth, truth):
            names = np.unique(truth)
            values = volumes_of(statistics, mask, truth[:, None] == names, train, shrinkage)
            fit = log_likelihood(statistics, values)[test]
            labels[test] = names[fit.argmax(1).numpy()]
        ari = adjusted_rand_score(truth, labels)
        best = max(best, (ari, labels), key=lambda pair: pair[0])
    return best[1]


def supervised_order(statistics: Statistics, mask: Tensor, true: np.ndarray) -> float:
    """Spearman of the true coordinate with its mean under volumes of others' true coordinates.

    The volumes of a place are those of the particles of the other four fifths, by a Gaussian kernel
    over the true coordinate; best width and shrinkage of all.
    """
    places, best = np.linspace(0, 1, _PLACES), -1.0
    for width, shrinkage in product(_WIDTHS, _SHRINKAGE[-3:]):
        near = np.exp(-0.5 * ((true[:, None] - places) / width) ** 2)
        expected = np.empty_like(true)
        for train, test in KFold(5, shuffle=True, random_state=0).split(true):
            fit = log_likelihood(statistics, volumes_of(statistics, mask, near, train, shrinkage))
            expected[test] = torch.softmax(fit[test].double(), 1).numpy() @ places
        best = max(best, float(spearmanr(expected, true).statistic))
    return best


def volumes_of(
    statistics: Statistics, mask: Tensor, share: np.ndarray, train: np.ndarray, shrinkage: float
) -> Tensor:
    """Volumes `(n, C)` of the particles `train`, Wiener-shrunk towards their mean.

    `share` `(N, C)` is what each particle has in each of them.
    """
    member = torch.zeros(len(share), share.shape[1] + 1)
    member[train, :-1] = torch.as_tensor(share[train]).float()
    member[train, -1] = 1
    power = torch.zeros(statistics.grid.n, member.shape[1])
    signal = torch.zeros(statistics.grid.n, member.shape[1], 2)
    for chunk in statistics:
        m = member[torch.as_tensor(chunk.particles)]
        power += chunk.power_t @ m
        signal += torch.stack([chunk.real_t @ m, chunk.imaginary_t @ m], -1)
    power = power * statistics.weight[:, None]
    total = torch.view_as_complex(signal) * statistics.weight[:, None]
    mean = total[:, -1] / (power[:, -1] + 0.01 * power[:, -1].mean())
    mean = statistics.grid.to_fourier(statistics.grid.to_real(mean[:, None]) * mask)[:, 0]
    prior = ridge(statistics.grid, mean, shrinkage, 1)[:, 1:]
    rest = (total[:, :-1] - power[:, :-1] * mean[:, None]) / (power[:, :-1] + prior)
    rest = statistics.grid.to_fourier(statistics.grid.to_real(rest) * mask)
    return mean[:, None] + rest
