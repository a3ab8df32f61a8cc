"""Whether a class is supported by its own particles, and why not."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tomopipe.config.reconstruct import ClassesSettings


@dataclass(frozen=True)
class ClassFigures:
    """A row of `classes.csv`; None where something could not be measured.

    Attributes
    ----------
    cluster, particles
        Label and size.
    resolution_0143_angstrom, resolution_05_angstrom
        Of its half-maps, corrected for the mask.
    expected_0143_angstrom
        What as many particles of all classes together would reach.
    model_resolution_05_angstrom, model_fsc_area
        Where its map and the model's volume agree (FSC 0.5), and the mean of that FSC.
    difference_cc
        Correlation of what sets its map apart with what sets the model's volume apart.
    supported, reason
        The verdict in a word and in a clause.
    """

    cluster: int
    particles: int
    resolution_0143_angstrom: float | None
    resolution_05_angstrom: float | None
    expected_0143_angstrom: float | None
    model_resolution_05_angstrom: float | None
    model_fsc_area: float | None
    difference_cc: float | None
    supported: bool = True
    reason: str = ""


_SHELLS = 3  # that half-maps of nothing but noise agree in by chance, within a mask


def verdict(row: ClassFigures, settings: ClassesSettings, box_angstrom: float) -> ClassFigures:
    """The row with its verdict; a map's side `box_angstrom` says what agreement is chance."""
    reason = _objection(row, settings, box_angstrom / _SHELLS)
    return replace(row, supported=not reason, reason=reason or "its own particles show it")


def _objection(row: ClassFigures, settings: ClassesSettings, coarsest: float) -> str:
    if row.particles < settings.min_particles:
        return f"fewer than {settings.min_particles} particles"
    half, model = row.resolution_0143_angstrom, row.model_resolution_05_angstrom
    if half is None:
        return "all of its particles are in one half-set"
    if half > coarsest:
        return f"its half-maps agree to {half:.0f} Å only, as those of noise do"
    expected = row.expected_0143_angstrom
    if expected is not None and half > settings.resolution_ratio * expected:
        return (
            f"its half-maps agree to {half:.0f} Å only, as many particles of all classes "
            f"together would to {expected:.0f} Å"
        )
    if model is not None and model > settings.resolution_ratio * half:
        return f"its map agrees with the model to {model:.0f} Å only, its half-maps to {half:.0f} Å"
    if row.difference_cc is not None and row.difference_cc < settings.min_difference:
        return (
            "its map does not differ from the others as the model says "
            f"(correlation {row.difference_cc:.2f})"
        )
    return ""
