"""How the signal falls with tilt, dose and from tomogram to tomogram, measured against half-maps.

An image of a tilted or exposed specimen, or of a tomogram that was aligned less well, shows less of
the particle than CTF and dose weight say. Models that do not know of it take the difference for
structure: the first component of a real set is then the tomogram. The transfer of an image of
tomogram t is therefore multiplied with

    exp(-c (1 / cos(tilt) - 1) - (d dose + B_t) k^2 / 4),

c the thickness of the specimen over twice the electrons' mean free path (and what else falls with
tilt), d a B-factor for each unit of dose beyond the usual damage, B_t the tomogram's B-factor
against the others': what M estimates for each tilt and series (Tegunov et al., Nature Methods
2021), with so few parameters that ten particles of a tomogram suffice. A scale of each tomogram is
fitted with it and then left out on purpose: it would be its share of false picks, none of which is
known yet. They make all frequencies weaker alike, a B-factor does not.

Every image is compared with the map of the other half-set (`reconstruct/match.py`), so that its
noise is in no sum; A / B of those sums is the factor, free of the maps' noise, and A m - B m^2 / 2
the log-likelihood of a factor m. Errors come from the scatter between particles (sandwich
estimate). What lies within three of them of nothing (tomograms: four) is left out and the others
are shrunk by them, so that sets without such differences come out with none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.dataset.store import Store
from tomopipe.io.progress import Progress
from tomopipe.reconstruct.factors import Estimate, Groups, significant_factors
from tomopipe.reconstruct.match import Match, match_halves

Array = NDArray[np.float64]

MOST_IMAGES = 200_000  # more would take time and tell little
PASSES = 5  # at most: the maps of a pass know what the pass before has found
_SETTLED = 0.5  # standard errors
_BOUNDS = 0.01, 10.0  # of a factor: beyond, a mistake would cost more than the truth is worth
_LEAST_SHELLS, _LEAST_PARTICLES = 3, 10
_STEEPEST = 75.0  # degrees; 1 / cos runs away beyond


@dataclass(frozen=True)
class Falloff:
    """What was found; None for what was not.

    Attributes
    ----------
    thickness
        c, the factor of 1 / cos(tilt) - 1.
    dose
        d, Å^2 per e/Å^2.
    tomograms
        Table by tomogram, Å^2 against the mean: `bfactor_A2`, `error`, and `used` (0 throughout
        where tomograms do not differ beyond their errors).
    resolution_angstrom
        To which it was measured; None where it was not.
    reason
        Why it was not measured.
    level
        Scale and B-factor (Å^2) that a map of all images shows, and that count as 1 and 0.
    """

    thickness: Estimate | None = None
    dose: Estimate | None = None
    tomograms: pd.DataFrame | None = None
    resolution_angstrom: float | None = None
    reason: str = ""
    level: tuple[float, float] = (1.0, 0.0)

    def columns(self, images: pd.DataFrame, tomogram: NDArray[np.object_]) -> dict[str, Array]:
        """Columns of a table of images for the falloff, given their tomograms.

        `falloff_scale`, `falloff_bfactor_A2`, and `falloff_angstrom`, the resolution that it was
        measured to: beyond, it stays as it is there, since a B-factor that was measured at 30 Å
        would say anything of 8 Å.
        """
        scale, bfactor = np.ones(len(images)), np.zeros(len(images))
        if self.thickness is not None:
            scale = np.exp(-self.thickness.used * _thicker(images))
        if self.dose is not None:
            bfactor = self.dose.used * _dose(images)
        if self.tomograms is not None:
            bfactor = bfactor + self.tomograms["used"].reindex(tomogram).fillna(0.0).to_numpy()
        resolution = self.resolution_angstrom or np.inf
        scale = (scale / self.level[0]).clip(*_BOUNDS)
        last = scale * np.exp(-(bfactor - self.level[1]) / 4 / resolution**2)
        if np.isfinite(resolution):  # where it is measured, it stays within bounds
            bfactor = 4 * resolution**2 * np.log(scale / last.clip(*_BOUNDS))
        # rounded, so that sums in another order make the same store
        return {
            "falloff_scale": np.round(scale, 5),
            "falloff_bfactor_A2": np.round(bfactor, 1),
            "falloff_angstrom": np.full(len(images), resolution),
        }

    def record(self) -> dict[str, Any]:
        """What falloff.json says: numbers, and null for what was not found."""
        terms = {"thickness": self.thickness, "dose": self.dose}
        table = pd.DataFrame() if self.tomograms is None else self.tomograms
        return {
            **{name: None if term is None else vars(term) for name, term in terms.items()},
            "tomograms": table.astype(object).where(np.isfinite(table), None).to_dict("index"),
            "resolution_angstrom": self.resolution_angstrom,
            "reason": self.reason,
            "level": self.level,
        }


def measure_falloff(store: Store) -> Falloff:
    """Measure the falloff of a store's signal; nothing where its half-maps hardly agree."""
    store = _some(store)
    found = Falloff()
    if min(int((store.half == half).sum()) for half in (1, 2)) < _LEAST_PARTICLES:
        return Falloff(reason=f"a half-set has fewer than {_LEAST_PARTICLES} particles")
    for number in range(1, PASSES + 1):
        shown = store.with_columns(found.columns(store.images, store.image_tomograms))
        with Progress(2 * store.n_particles, f"falloff of the signal, pass {number}") as progress:
            match = match_halves(shown, store, progress)
        if len(match.squared) < _LEAST_SHELLS:
            return Falloff(reason="the half-maps agree in too few shells")
        before, found = found, _fitted(match, store)
        if _settled(before, found):
            break
    return found


def _settled(before: Falloff, found: Falloff) -> bool:
    """Whether a pass has moved nothing by more than half of its error."""

    def moved(one: Estimate | None, other: Estimate | None) -> float:
        if one is None or other is None:
            return 0.0 if one is other else np.inf
        return float(abs(one.used - other.used) / other.error)

    old, new = before.tomograms, found.tomograms
    if new is None or (old is None and new["used"].any()):
        return False
    apart = np.zeros(len(new)) if old is None else (new["used"] - old["used"]).to_numpy()
    largest = float((np.abs(apart) / new["error"]).max())
    terms = ((before.thickness, found.thickness), (before.dose, found.dose))
    return max(largest, *(moved(*pair) for pair in terms)) < _SETTLED


def _some(store: Store) -> Store:
    """The store, or particles of it drawn evenly from all tomograms, always the same."""
    if store.n_images <= MOST_IMAGES:
        return store
    order = np.random.default_rng(0).permutation(store.n_particles)
    rank = pd.Series(store.tomograms[order]).groupby(store.tomograms[order]).cumcount().to_numpy()
    order = order[np.argsort(rank, kind="stable")]
    total = np.cumsum(store.images_per_particle[order])
    return store.subset(list(store.uids[np.sort(order[total <= MOST_IMAGES])]))


def _dose(images: pd.DataFrame) -> Array:
    dose: Array = np.nan_to_num(images["dose_e_per_A2"].to_numpy(float))
    return dose


def _thicker(images: pd.DataFrame) -> Array:
    """How much longer the electrons' way is than through the untilted specimen: 1 / cos - 1."""
    tilt = np.abs(np.nan_to_num(images["tilt_degrees"].to_numpy(float)))
    thicker: Array = 1 / np.cos(np.deg2rad(np.minimum(tilt, _STEEPEST))) - 1
    return thicker


def _fitted(match: Match, store: Store) -> Falloff:
    """Estimates of what is beyond its errors, and zero for the rest."""
    last = float(match.squared[-1])
    shells = match.squared / last
    dose = _dose(store.images)
    most = max(float(np.abs(dose).max()), 1e-9)
    names, group = np.unique(store.tomograms.astype(str), return_inverse=True)
    particle = np.repeat(np.arange(store.n_particles), store.images_per_particle)
    terms = {
        "thickness": (_thicker(store.images), np.ones_like(shells)),
        "dose": (dose / most, shells),
    }
    terms = {name: (x, y) for name, (x, y) in terms.items() if np.ptp(x) > 0}
    found, tomograms = significant_factors(match, terms, Groups(particle, group, shells))
    bfactor = 4 / last  # of log factor 1 at the last shell
    table = pd.DataFrame(vars(tomograms.times(bfactor)), index=pd.Index(names, name="tomogram"))
    dose_term = found.get("dose")
    result = Falloff(
        thickness=found.get("thickness"),
        dose=None if dose_term is None else dose_term.times(bfactor / most),
        tomograms=table.rename(columns={"value": "bfactor_A2"}),
        resolution_angstrom=last**-0.5,
    )
    return replace(result, level=_level(result, match, store))


def _level(found: Falloff, match: Match, store: Store) -> tuple[float, float]:
    """What a map made with these weights shows, as scale and B-factor, to be taken as 1."""
    scale, bfactor, _ = found.columns(store.images, store.image_tomograms).values()
    factor = scale[:, None] * np.exp(-bfactor[:, None] / 4 * match.squared)
    weight = (match.model * factor**2).sum(0)
    mean = weight / (match.model * factor).sum(0)
    design = np.stack([np.ones_like(mean), -match.squared / 4], axis=1)
    root = np.sqrt(weight.clip(min=0))[:, None]
    usual = np.log(mean.clip(min=1e-6))[:, None]
    solution = np.linalg.lstsq(design * root, usual * root, rcond=None)[0][:, 0]
    return float(np.exp(solution[0])), float(solution[1])
