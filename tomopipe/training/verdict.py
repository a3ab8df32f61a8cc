"""When a model has converged or begun to overfit: rules on plain curves.

Training stops by them and the convergence report explains them. Two curves decide, one value an
epoch: the loss on held-out tilts, and how far latents moved.
"""

from __future__ import annotations

import math
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

    Without a held-out loss (no particle has tilts to spare, or none were asked for) latents alone
    decide, and the sentence says so; without latents too the answer stays "not yet".

    Parameters
    ----------
    validation
        Loss on held-out tilts after each epoch; NaN where not measured.
    shift
        `latent_shift` from the epoch before; NaN for the first, and where there are no latents that
        could move.
    limits
        Where lines are drawn.
    baseline
        Held-out loss of predicting nothing. Gains are then measured against all that the model
        explains; a warm start leaves little to gain after the first epoch.
    """
    limits = limits or Limits()
    loss = np.asarray(validation, dtype=float)
    moved = np.asarray(shift, dtype=float)
    if not (np.isfinite(loss).all() and len(loss)):
        return _by_latents(moved, limits)
    smooth = _median3(loss)
    known = baseline is not None and math.isfinite(baseline)
    start = float(loss[0] if baseline is None or not known else baseline)
    best, gained = int(np.argmin(loss)) + 1, start - float(smooth.min())
    if gained <= 0:
        nothing = "that of predicting nothing" if known else "after the first epoch"
        sentence = f"not yet converged: the held-out loss is no lower than {nothing}"
        return Verdict("not yet", 0, sentence, best, math.nan, _last(moved), 0.0)
    gain, rise = _gain(smooth, gained), _rise(smooth, start)
    numbers = (best, _last(gain), _last(rise), _last(moved))
    if _since(rise > limits.rise, limits.patience):
        return _make("overfitting", best, numbers, limits)
    settled = _since((moved < limits.shift) & (gain < limits.gain), limits.patience)
    return _make("converged" if settled else "not yet", settled, numbers, limits)


def _by_latents(moved: Floats, limits: Limits) -> Verdict:
    """The verdict where no loss was measured on held-out tilts."""
    shift, settled = _last(moved), _since(moved < limits.shift, limits.patience)
    status: Status = "converged" if settled else "not yet"
    said = f"converged at epoch {settled} by latents alone" if settled else "not yet converged"
    sentence = f"{said}, since no tilts were held out"
    if np.isfinite(shift):
        sentence += f": in the last epoch half of the particles moved {_of_spread(shift, limits)}"
    return Verdict(status, settled, sentence, 0, math.nan, shift, 0.0)


def latent_shift(before: Latents, after: Latents) -> float:
    """How far latents `(N, zdim)` moved: median distance over the root-mean-square spread.

    A turn, stretch or offset of the whole latent space changes nothing that was learned, so the
    best affine map of `before` onto `after` is taken out first. Its zdim + 1 numbers a dimension
    also take up that share of any movement, which is given back; where they would take up half of
    it and more, only an offset is taken out.
    """
    n, zdim = before.shape
    if n > 2 * (zdim + 1):
        design, target = np.column_stack([before, np.ones(n)]), after
    else:
        design, target = np.ones((n, 1)), after - before
    fit, *_ = np.linalg.lstsq(design, target, rcond=None)
    distance = np.linalg.norm(target - design @ fit, axis=1)
    distance /= np.sqrt(max(1 - design.shape[1] / n, 0.5))
    spread = np.sqrt(((after - after.mean(0)) ** 2).sum(1).mean())
    return float(np.median(distance) / max(spread, 1e-12))


def _median3(values: Floats) -> Floats:
    """Running median of three, so that one odd epoch decides nothing."""
    if len(values) < 3:
        return values
    middle = np.median(np.stack([values[:-2], values[1:-1], values[2:]]), axis=0)
    return np.concatenate([values[:1], middle, values[-1:]])


def _gain(loss: Floats, gained: float) -> Floats:
    """Improvement of each epoch as a share of all that was gained; NaN at the first."""
    return np.concatenate([[np.nan], (loss[:-1] - loss[1:]) / gained])


def _rise(loss: Floats, start: float) -> Floats:
    """Height of each epoch above the lowest so far, as a share of the improvement up to there."""
    lowest = np.minimum.accumulate(loss)
    gained = start - lowest
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
    if status == "overfitting":
        sentence = (
            f"overfitting since epoch {epoch}: the held-out loss was lowest there and now stands "
            f"{rise:.0%} of the gain above it (limit {limits.rise:.0%})"
        )
    elif status == "converged":
        sentence = (
            f"converged at epoch {epoch}: since then an epoch lowers the held-out loss by less "
            f"than {limits.gain:.0%} of what was gained and half of the particles move less than "
            f"{limits.shift:.0%} of the latent spread (last: {gain:.1%} and {shift:.0%})"
        )
    else:
        said = []
        if np.isfinite(gain):
            said.append(
                f"lowered the held-out loss by {gain:.1%} of what was gained (limit "
                f"{limits.gain:.0%})"
            )
        if np.isfinite(shift):
            said.append(f"moved half of the particles {_of_spread(shift, limits)}")
        what = f"the last epoch {' and '.join(said)}" if said else "there is one epoch only"
        sentence = f"not yet converged: {what}"
    return Verdict(status, epoch, sentence, best, gain, shift, rise)


def _of_spread(shift: float, limits: Limits) -> str:
    return f"by {shift:.0%} of the latent spread or more (limit {limits.shift:.0%})"
