"""When a model has converged or begun to overfit: rules on plain curves.

Training stops by them and the convergence report explains them. Two curves decide, one value an
epoch: the loss on held-out tilts, and how far latents moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Status = Literal["converged", "not yet", "overfitting"]
Floats = NDArray[np.float64]
Latents = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Limits:
    """Where the rules draw their lines.

    Attributes
    ----------
    gain
        The held-out loss has settled when an epoch improves it by less than this share of all
        that was gained (since the baseline, or the first epoch).
    shift
        Latents have settled when half of the particles move less than this share of the latent
        spread in an epoch.
    rise
        Overfitting: the held-out loss stands this share of the gain above its minimum.
    patience
        Epochs in a row that must agree.
    """

    gain: float = 0.02
    shift: float = 0.15
    rise: float = 0.05
    patience: int = 3


@dataclass(frozen=True)
class Verdict:
    """What the curves say. `epoch` (from 1) is where it began; 0 for not yet."""

    status: Status
    epoch: int
    sentence: str
    best_epoch: int
    gain_last: float
    shift_last: float
    rise_last: float


def verdict(
    validation: Sequence[float],
    shift: Sequence[float],
    limits: Limits | None = None,
    baseline: float | None = None,
) -> Verdict:
    """Judge a run from its curves.

    Parameters
    ----------
    validation
        Loss on held-out tilts after each epoch; NaN where not measured.
    shift
        `latent_shift` from the epoch before; NaN for the first.
    limits
        Where lines are drawn.
    baseline
        Held-out loss of predicting nothing. Gains are then measured against all that the model
        explains; a warm start leaves little to gain after the first epoch.
    """
    limits = limits or Limits()
    loss = np.asarray(validation, dtype=float)
    moved = np.asarray(shift, dtype=float)
    measured = bool(np.isfinite(loss).all()) and len(loss) > 0
    smooth = _median3(loss) if measured else loss
    first = baseline if baseline is not None and np.isfinite(baseline) else None
    gain, rise = _gain(smooth, first), _rise(smooth, first)
    best = int(np.argmin(loss)) + 1 if measured else 0
    quiet = (moved < limits.shift) & (~np.isfinite(gain) | (gain < limits.gain))
    settled = _since(quiet, limits.patience)
    risen = _since(rise > limits.rise, limits.patience)
    numbers = (best, _last(gain), _last(rise), _last(moved))
    if risen:
        return _make("overfitting", best, numbers, limits)
    if settled:
        return _make("converged", settled, numbers, limits)
    return _make("not yet", 0, numbers, limits)


def latent_shift(before: Latents, after: Latents) -> float:
    """How far latents `(N, zdim)` moved: median distance over the root-mean-square spread.

    A turn, stretch or offset of the whole latent space changes nothing that was learned, so the
    best affine map of `before` onto `after` is taken out first.
    """
    design = np.column_stack([before, np.ones(len(before))])
    fit, *_ = np.linalg.lstsq(design, after, rcond=None)
    distance = np.linalg.norm(after - design @ fit, axis=1)
    spread = np.sqrt(((after - after.mean(0)) ** 2).sum(1).mean())
    return float(np.median(distance) / max(spread, 1e-12))


def _median3(values: Floats) -> Floats:
    """Running median of three, so that one odd epoch decides nothing."""
    if len(values) < 3:
        return values
    middle = np.median(np.stack([values[:-2], values[1:-1], values[2:]]), axis=0)
    return np.concatenate([values[:1], middle, values[-1:]])


def _gain(loss: Floats, baseline: float | None) -> Floats:
    """Improvement of each epoch as a share of all improvement; NaN at the first."""
    if not np.isfinite(loss).all() or len(loss) == 0:
        return np.full(len(loss), np.nan)
    total = max((loss[0] if baseline is None else baseline) - loss.min(), 1e-12)
    return np.concatenate([[np.nan], (loss[:-1] - loss[1:]) / total])


def _rise(loss: Floats, baseline: float | None) -> Floats:
    """Height of each epoch above the lowest so far, as a share of the improvement up to there."""
    if not np.isfinite(loss).all() or len(loss) == 0:
        return np.zeros(len(loss))
    lowest = np.minimum.accumulate(loss)
    gained = (loss[0] if baseline is None else baseline) - lowest
    return np.where(gained > 0, (loss - lowest) / np.maximum(gained, 1e-12), 0.0)


def _since(holds: NDArray[np.bool_], patience: int) -> int:
    """First epoch (from 1) of the unbroken run of true values at the end; 0 if it is too short."""
    run = 0
    while run < len(holds) and holds[-1 - run]:
        run += 1
    return len(holds) - run + 1 if run >= patience else 0


def _last(values: Floats) -> float:
    return float(values[-1]) if len(values) else float("nan")


def _make(
    status: Status, epoch: int, numbers: tuple[int, float, float, float], limits: Limits
) -> Verdict:
    best, gain, rise, shift = numbers
    sentence = {
        "converged": f"converged at epoch {epoch}: since then an epoch lowers the held-out loss by "
        f"less than {limits.gain:.0%} of what was gained and half of the particles move less than "
        f"{limits.shift:.0%} of the latent spread (last: {gain:.1%} and {shift:.0%})",
        "not yet": f"not yet converged: the last epoch lowered the held-out loss by {gain:.1%} of "
        f"what was gained (limit {limits.gain:.0%}) and half of the particles moved more than "
        f"{shift:.0%} of the latent spread (limit {limits.shift:.0%})",
        "overfitting": f"overfitting since epoch {epoch}: the held-out loss was lowest there and "
        f"now stands {rise:.0%} of the gain above it (limit {limits.rise:.0%})",
    }[status]
    return Verdict(status, epoch, sentence, best, gain, shift, rise)
