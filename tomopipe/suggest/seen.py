"""What a particle data set holds: read from its tables and headers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.dialects.detect import OPTIMISATION, TOMO_DIALECTS
from tomopipe.dataset.dialects.draft import Draft
from tomopipe.dataset.importer import read_draft
from tomopipe.dataset.prepare import kept_counts
from tomopipe.errors import InputError
from tomopipe.io.star import read_star
from tomopipe.suggest.headers import QuickFinder

Range = tuple[float, float]


@dataclass(frozen=True)
class Seen:
    """A data set in numbers.

    Attributes
    ----------
    star
        Particle STAR file or optimisation set, as it was given.
    program
        Dialect of the STAR file, or format of the tilt series that images will be cut from.
    rows
        Rows of the STAR file: images or particles.
    tilts
        Fewest, median and most tilt images of a particle.
    box, pixel_size
        Of the images, in pixels and Å (smallest and largest); of images to be cut, as suggested.
    dose, defocus
        Accumulated dose (e/Å²) and mean defocus (Å), smallest and largest; None where not given.
    no_ctf
        Images without a defocus.
    premultiplied, dose_weighted
        Share of the images.
    halves
        Whether the file splits particles into half-sets.
    placed
        Whether particles have 3D coordinates that `tomopipe extract` can use.
    coefficients
        Fourier coefficients that the store will keep.
    series_pixel
        Å, pixel size of the tilt images that particles are cut from; None for images as they are.
    dropped
        Particles not counted, since too few tilt images hold their box.
    """

    star: Path
    program: str
    rows: int
    particles: int
    tomograms: int
    images: int
    tilts: tuple[int, float, int]
    box: int
    pixel_size: Range
    dose: Range | None
    defocus: Range | None
    no_ctf: int
    premultiplied: float
    dose_weighted: float
    halves: bool
    placed: bool
    coefficients: int
    series_pixel: float | None = None
    dropped: int = 0


def look_at_star(star: Path, settings: ImportSettings) -> Seen:
    """Look at particles with images: the tables are read whole, of stacks only headers.

    Raises
    ------
    InputError
        If `tomopipe import` would refuse the file, or it has no images.
    """
    try:
        draft = read_draft(star, settings, QuickFinder(star, settings.data_dir))
    except InputError:
        _check_has_images(star)
        raise
    images, particles = draft.images, draft.particles
    counts = images["uid"].value_counts()
    defocus = (images["defocus_u_angstrom"] + images["defocus_v_angstrom"]) / 2
    box = int(images["box"].iloc[0])
    _check_box(star, images)
    return Seen(
        star=star,
        program=draft.dialect,
        rows=len(draft.rows),
        particles=len(particles),
        tomograms=int(particles["tomogram"].nunique()),
        images=len(images),
        tilts=(int(counts.min()), float(counts.median()), int(counts.max())),
        box=box,
        pixel_size=(images["pixel_size_angstrom"].min(), images["pixel_size_angstrom"].max()),
        dose=span(images["dose_e_per_A2"]),
        defocus=span(defocus),
        no_ctf=int(defocus.isna().sum()),
        premultiplied=float(images["premultiplied"].mean()),
        dose_weighted=float(images["dose_weighted"].mean()),
        halves=_has_halves(draft),
        placed=_placed(draft),
        coefficients=int(kept_counts(images, box).sum()),
    )


def span(values: pd.Series) -> Range | None:
    """Smallest and largest of the finite values; None without any."""
    finite = values[np.isfinite(values.astype(float))]
    return (float(finite.min()), float(finite.max())) if len(finite) else None


def _has_halves(draft: Draft) -> bool:
    return bool(draft.particles["random_subset"].astype(float).isin((1, 2)).all())


def _placed(draft: Draft) -> bool:
    places = draft.particles[["x_angstrom", "y_angstrom", "z_angstrom"]].to_numpy(float)
    return draft.dialect in TOMO_DIALECTS and bool(np.isfinite(places).all())


def _check_has_images(path: Path) -> None:
    """Say what to do with picks; whatever else is wrong is the importer's to say."""
    star = read_star(path)
    if any(star.find(*names) for names in (("rlnImageName",), ("cisTEMAnglePsi",), OPTIMISATION)):
        return
    if star.find("rlnTomoTiltSeriesStarFile") or star.find("rlnTomoHand"):
        return
    if star.find("rlnCoordinateZ") or star.find("rlnCenteredCoordinateXAngst"):
        raise InputError(
            f"{path} has particles but no rlnImageName: name the aligned tilt series that their "
            "images are to be cut from with --tilt-series"
        )


def _check_box(star: Path, images: pd.DataFrame) -> None:
    boxes = images["box"].unique()
    if len(boxes) > 1:
        raise InputError(
            f"{star} names stacks of {int(boxes.min())} to {int(boxes.max())} pixels: write a STAR "
            "file for each box, every one a data set of its own"
        )
    if boxes[0] < 4 or boxes[0] % 2:
        raise InputError(
            f"{star} names stacks of {int(boxes[0])} pixels: extract the particles in an even box "
            "of at least 4"
        )
