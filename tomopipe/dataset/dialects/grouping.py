"""Which rows of an image table belong to one particle, and how that particle is called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.dataset.dialects.columns import Columns

GROUP_COLUMNS = ("rlnTomoParticleName", "rlnGroupName", "rlnGroupNumber")


@dataclass(frozen=True)
class Particles:
    """Particles in the order of their first row; `of_row` numbers the particle of each row."""

    uids: NDArray[np.object_]
    tomograms: NDArray[np.object_]
    of_row: NDArray[np.int64]
    first_row: NDArray[np.int64]


def group_rows(rows: Columns, dialect: str) -> Particles:
    """Group the rows of an image table by particle; rows need not stand together."""
    if dialect == "single":
        names = rows.table["rlnImageName"].astype("str")
        parts = names.str.extract(r"^(?:0*(\d+)@)?(.+)$")
        names = parts[1] + "/" + parts[0].fillna("1")
        tomograms = rows.table[rows.first_of("rlnMicrographName") or "rlnImageName"].astype("str")
        tomograms = tomograms.str.replace(r"^\d+@", "", regex=True)
        return Particles(
            names.to_numpy(dtype=object),
            tomograms.to_numpy(dtype=object),
            np.arange(len(rows)),
            np.arange(len(rows)),
        )
    names, tomograms = _names(rows)
    of_row, uniques = pd.factorize(names)
    first = pd.Series(np.arange(len(rows))).groupby(of_row).first().to_numpy()
    return Particles(
        np.asarray(uniques, dtype=object),
        tomograms.to_numpy(dtype=object)[first],
        of_row.astype(np.int64),
        first,
    )


def _names(rows: Columns) -> tuple[pd.Series, pd.Series]:
    """Uid and tomogram of each row."""
    column = rows.first_of(*GROUP_COLUMNS)
    if column is None:
        rows.require(GROUP_COLUMNS[1])
    group = rows.table[column].astype("str")
    tomogram = _tomograms(rows, group)
    if column == "rlnTomoParticleName":
        inside = group.str.contains("/", regex=False)
        return group.where(inside, tomogram + "/" + group), tomogram
    return tomogram + "/" + group, tomogram


def _tomograms(rows: Columns, group: pd.Series) -> pd.Series:
    """Tomogram of each row.

    rlnMicrographName may name the tilt series or each tilt image; it names the tilt series if
    particles have several images in it. Warp writes TOMOGRAM_PARTICLE as rlnGroupName.
    """
    if "rlnTomoName" in rows:
        return rows.table["rlnTomoName"].astype("str")
    if "rlnMicrographName" in rows:
        micrograph = rows.table["rlnMicrographName"].astype("str")
        in_micrograph = pd.DataFrame({"g": group, "m": micrograph}).groupby(["g", "m"]).size()
        if in_micrograph.max() > 1 or group.is_unique:
            return micrograph
    prefix = group.str.extract(r"^(.+)_[^_]+$")[0]
    return prefix.fillna("tomogram1").astype("str")
