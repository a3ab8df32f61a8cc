"""STAR files of every dialect into one particle table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe import __version__
from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.changed import save_stamps, stack_stamps, stamps_fingerprint
from tomopipe.dataset.dialects.cistem import read_cistem
from tomopipe.dataset.dialects.detect import TOMO_DIALECTS, detect
from tomopipe.dataset.dialects.draft import Draft
from tomopipe.dataset.dialects.series import read_series
from tomopipe.dataset.dialects.tomo import read_tomo
from tomopipe.dataset.particles import IMAGE_COLUMNS, PARTICLE_COLUMNS, ParticleSet, mirrored, typed
from tomopipe.dataset.source import save_source
from tomopipe.dataset.stacks import StackFinder
from tomopipe.errors import InputError
from tomopipe.io.atomic import atomic_directory, fingerprint
from tomopipe.io.notice import notice
from tomopipe.io.star import read_star

IMPORT_FORMAT = 2
_LEAST_BOX = 4  # pixels, of physics/fourier


def import_star(star: Path | str, out: Path | str, settings: ImportSettings | None = None) -> None:
    """Import a particle STAR file into the directory `out`.

    Everything is read and checked before anything is written: after an error `out` is as it was.

    Parameters
    ----------
    star
        Particle STAR file or optimisation set, of any dialect in docs/input-formats.md.
    out
        Gets `particles.parquet`, `images.parquet`, `import.json` and `source/`.
    settings
        What the columns do not tell.

    Raises
    ------
    InputError
        If the input cannot be used; one sentence with file, block, column, row and the fix.
    """
    settings = settings or ImportSettings()
    draft = read_draft(Path(star), settings)
    particles = checked_particles(draft, settings)
    stamps = stack_stamps(particles.images["stack"])
    particles.info["stacks"] = stamps_fingerprint(stamps)
    with atomic_directory(out) as temporary:
        particles.save(temporary)
        save_source(temporary / "source", draft)
        save_stamps(temporary, stamps)


def read_draft(star: Path, settings: ImportSettings, finder: StackFinder | None = None) -> Draft:
    """Read `star` by the dialect that its columns, or the settings, tell."""
    source = read_star(star)
    detected = detect(source)
    dialect = detected.dialect if settings.dialect == "auto" else settings.dialect
    _same_family(source.path, detected.dialect, dialect)
    finder = finder or StackFinder(star, settings.data_dir)
    if dialect in TOMO_DIALECTS:
        return read_tomo(source, detected.block, finder, settings)
    if dialect == "cistem":
        return read_cistem(source, detected.block, finder, settings)
    return read_series(source, detected.block, dialect, finder, settings)


def checked_particles(draft: Draft, settings: ImportSettings) -> ParticleSet:
    """Check a draft as all dialects need it and make the particle set of it."""
    _check_unique_particles(draft)
    _check_unique_images(draft)
    _check_box(draft)
    counts = draft.images["uid"].value_counts()
    particles = draft.particles.assign(
        half=_halves(draft, settings.seed),
        n_images=draft.particles["uid"].map(counts),
    )
    images, measured = _with_defocus_hand(draft, settings)
    images = mirrored(images) if settings.hand == "mirror" else images
    images = typed(images, IMAGE_COLUMNS)
    info = _info(draft, settings) | measured
    return ParticleSet(typed(particles, PARTICLE_COLUMNS), images, info)


def _same_family(path: Path, found: str, wanted: str) -> None:
    """Refuse to force a dialect on a table of another kind of rows."""

    def family(dialect: str) -> str:
        if dialect in TOMO_DIALECTS:
            return "tomo"
        return "cistem" if dialect == "cistem" else "images"

    if family(found) != family(wanted):
        raise InputError(
            f"{path} has the columns of {found}, so it cannot be read as {wanted}: "
            "set dialect to auto"
        )


def _check_unique_particles(draft: Draft) -> None:
    uids = draft.particles["uid"]
    twice = np.flatnonzero(uids.duplicated().to_numpy())
    if twice.size:
        uid = uids.iloc[int(twice[0])]
        first, second = draft.particles.loc[uids == uid, "source_row"].iloc[:2]
        raise InputError(
            f"{draft.rows.where(int(second))} is the particle {uid} that row {int(first) + 1} "
            "already is: remove the duplicate or give it a name of its own"
        )


def _check_unique_images(draft: Draft) -> None:
    images = draft.images.sort_values("source_row", kind="stable")
    twice = np.flatnonzero(images.duplicated(["stack", "slot"]).to_numpy())
    if not twice.size:
        return
    image = images.iloc[int(twice[0])]
    same = (images["stack"] == image["stack"]) & (images["slot"] == image["slot"])
    first, second = images.loc[same, "source_row"].iloc[:2]
    raise InputError(
        f"{draft.rows.where(int(second))} uses image {int(image['slot']) + 1} of {image['stack']}, "
        f"which row {int(first) + 1} already uses: remove the duplicate"
    )


def _check_box(draft: Draft) -> None:
    """Refuse boxes that differ, and those whose transform has no half plane of the store's kind."""
    boxes = draft.images["box"].to_numpy()
    first = int(boxes[0])
    other = np.flatnonzero(boxes != first)
    if other.size:
        image = draft.images.iloc[int(other[0])]
        raise InputError(
            f"{draft.rows.where(int(image['source_row']))} names a stack of {int(image['box'])} "
            f"pixels where the first has {first}: extract all particles in one box, or "
            "import them as two data sets"
        )
    if first % 2 or first < _LEAST_BOX:
        image = draft.images.iloc[0]
        raise InputError(
            f"{draft.rows.where(int(image['source_row']))} names {image['stack']}, whose box of "
            f"{first} pixels is not an even number of at least {_LEAST_BOX}: extract the particles "
            "in an even box, or crop or pad their images to one"
        )


def _halves(draft: Draft, seed: int) -> NDArray[np.int8]:
    """Take the file's half-sets, else split each tomogram at random into equal halves.

    Half-sets of some particles only are refused, as in RELION: maps were refined with them. The
    split depends on the uids and the seed, not on the order of rows.
    """
    particles = draft.particles
    given = particles["random_subset"].to_numpy(dtype=float)
    valid = np.isin(given, (1, 2))
    if valid.all():
        return given.astype(np.int8)
    if valid.any():
        bad = int(np.flatnonzero(~valid)[0])
        draft.rows.fail(
            int(particles["source_row"].iloc[bad]),
            draft.rows.first_of("rlnRandomSubset", "cisTEMAssignedSubset") or "",
            f"is {given[bad]:g}, which is no half-set",
            "set it to 1 or 2, or remove the column to have new ones drawn for all particles",
        )
    halves = np.zeros(len(particles), dtype=np.int8)
    generator = np.random.default_rng(seed)
    uids = particles["uid"].to_numpy(dtype=str)
    tomograms = particles["tomogram"].to_numpy(dtype=str)
    start = 0
    for tomogram in np.unique(tomograms):
        members = np.flatnonzero(tomograms == tomogram)
        members = members[np.argsort(uids[members])]
        order = generator.permutation(len(members))
        # tomograms with an odd number give the spare particle to each half in turn
        halves[members[order]] = 1 + (np.arange(len(members)) + start) % 2
        start += len(members)
    return halves


def _info(draft: Draft, settings: ImportSettings) -> dict[str, Any]:
    """Contents of import.json."""
    particles, images = draft.particles, draft.images
    first = draft.files.get("optimisation_set", draft.files["particles"])
    return {
        "dialect": draft.dialect,
        "star": str(first.path.resolve()),
        "box": int(images["box"].iloc[0]),
        **_contrast(images, settings),
        "n_particles": len(particles),
        "n_images": len(images),
        "n_tomograms": int(particles["tomogram"].nunique()),
        "optics": list(_optics(images)),
        "sources": {role: fingerprint(star.path) for role, star in draft.files.items()},
        "version": __version__,
        "settings": settings.model_dump(mode="json"),
        "step_format": IMPORT_FORMAT,
    }


def _with_defocus_hand(
    draft: Draft, settings: ImportSettings
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Images with the sign of defocus over height that holds, and what import.json says of it."""
    images, wanted = draft.images, settings.defocus_hand
    if draft.dialect not in TOMO_DIALECTS:
        if wanted == "turn":
            raise InputError(
                f"{draft.rows.path} states the defocus of every image, height included: "
                "defocus_hand can be turned for RELION-5 and WarpTools only"
            )
        return images, {}
    # torch, which few readers need
    from tomopipe.dataset.defocus_hand import CLEAR, measure_defocus_hand, turned_round

    found = measure_defocus_hand(images, int(images["box"].iloc[0])) if wanted == "auto" else None
    turned = wanted == "turn"
    if found is not None and found.standard_errors < -CLEAR:
        turned = True
        notice(
            f"{draft.rows.path}: the noise of the images fits a defocus that changes the other way "
            f"with height ({-found.standard_errors:.0f} standard errors), which is taken "
            "(defocus_hand: keep takes it as the files say)"
        )
    measured = {"standard_errors": found.standard_errors, "images": found.images} if found else None
    record = {"defocus_hand": {"turned": turned, "measured": measured}}
    return turned_round(images) if turned else images, record


def _contrast(images: pd.DataFrame, settings: ImportSettings) -> dict[str, Any]:
    """Sign of protein: the setting's, or measured, with what was measured."""
    if settings.contrast != "auto":
        return {"contrast": settings.contrast}
    from tomopipe.dataset.contrast import measure_contrast  # torch, which few readers need

    found = measure_contrast(images, int(images["box"].iloc[0]))
    evidence = {"difference": found.difference, "standard_errors": found.standard_errors}
    return {"contrast": found.sign, "contrast_measured": evidence}


def _optics(images: pd.DataFrame) -> Iterator[dict[str, Any]]:
    columns = ["pixel_size_angstrom", "voltage_kv", "cs_mm", "amplitude_contrast"]
    flags = ["premultiplied", "dose_weighted"]
    for name, members in images.groupby("optics", sort=False):
        one = members.iloc[0]
        yield {
            "name": str(name),
            "box": int(one["box"]),
            **{column: float(one[column]) for column in columns},
            **{flag: bool(one[flag]) for flag in flags},
            "n_images": len(members),
        }
