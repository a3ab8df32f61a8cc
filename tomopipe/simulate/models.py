"""States given by atomic models (PDB or mmCIF): every atom a Gaussian, on a fine grid.

A density at a resolution d is a sum of Gaussians of standard deviation d / (pi sqrt(2)), each as
heavy as its atomic number: the definition that ChimeraX's molmap uses too.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomopipe.errors import InputError

Floats = NDArray[np.float64]

_SAMPLING = 4  # voxels per resolution: what a Gaussian holds beyond Nyquist is below 2 %
_REACH = 4.0  # standard deviations that are drawn
_VALUES_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class ModelFrame:
    """An atomic model between two others, which may be the same.

    Attributes
    ----------
    first, second
        PDB or mmCIF files.
    fraction
        0 … 1: atoms are on the straight line from `first` to `second`.
    resolution
        Å, of the density.
    centre
        File whose centre of mass is the origin of the density.
    """

    first: str
    second: str
    fraction: float
    resolution: float
    centre: str

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the density depends on."""
        return self.first, self.second, self.centre

    def atoms(self) -> tuple[Floats, Floats]:
        """Positions `(n, 3)` in Å from the centre, and atomic numbers `(n,)`."""
        first = _read(self.first, _stamp(self.first))
        positions = first.positions
        weights = first.weights
        if self.fraction > 0 and self.second != self.first:
            second = _read(self.second, _stamp(self.second))
            here, there = _common(first, second, self.first, self.second)
            positions = (1 - self.fraction) * positions[here]
            positions = positions + self.fraction * second.positions[there]
            weights = weights[here]
        return positions - _read(self.centre, _stamp(self.centre)).mass_centre, weights

    def density(self) -> tuple[NDArray[np.float32], float]:
        """Density of a cube [z, y, x] in atomic numbers per Å³, and its voxel size in Å."""
        positions, weights = self.atoms()
        pixel, width = self.resolution / _SAMPLING, self.resolution / (math.pi * math.sqrt(2))
        reach = float(np.abs(positions).max()) + _REACH * width
        return density_of_atoms(positions, weights, width, 2 * math.ceil(reach / pixel), pixel)


def frames_of(
    models: tuple[str, ...], steps: int, resolution: float, centre: str
) -> tuple[ModelFrame, ...]:
    """Frames at even steps through `models`, `steps` from each to the next."""
    frames = [
        ModelFrame(first, second, step / steps, resolution, centre)
        for first, second in itertools.pairwise(models)
        for step in range(steps)
    ]
    return (*frames, ModelFrame(models[-1], models[-1], 0.0, resolution, centre))


def density_of_atoms(
    positions: Floats, weights: Floats, width: float, box: int, pixel: float
) -> tuple[NDArray[np.float32], float]:
    """Sum of Gaussians of standard deviation `width` on a `(box, box, box)` grid, per Å³.

    Parameters
    ----------
    positions
        `(n, 3)` x, y, z in Å from the centre of voxel `box // 2`.
    weights
        `(n,)` integrals of the Gaussians.
    """
    reach = math.ceil(_REACH * width / pixel)
    offsets = np.arange(-reach, reach + 1)
    nearest = np.rint(positions / pixel).astype(np.int64)
    out = np.zeros(box**3)
    step = max(_VALUES_AT_ONCE // len(offsets) ** 3, 1)
    norm = (2 * math.pi * width**2) ** -1.5
    for start in range(0, len(positions), step):
        part = slice(start, start + step)
        voxel = nearest[part, :, None] + offsets  # (m, 3, w)
        away = voxel * pixel - positions[part, :, None]
        wave = np.exp(-0.5 * (away / width) ** 2)
        index = voxel + box // 2
        wave[(index < 0) | (index >= box)] = 0
        index = index.clip(0, box - 1)
        values = norm * np.einsum(
            "n,nz,ny,nx->nzyx", weights[part], wave[:, 2], wave[:, 1], wave[:, 0], optimize=True
        )
        flat = index[:, 2, :, None] * box + index[:, 1, None, :]
        place = flat[..., None] * box + index[:, 0, None, None, :]
        out += np.bincount(place.ravel(), values.ravel(), minlength=box**3)
    return out.reshape(box, box, box).astype(np.float32), pixel


@dataclass(frozen=True)
class _Atoms:
    positions: Floats
    weights: Floats
    names: tuple[str, ...]  # chain, residue and atom

    @property
    def mass_centre(self) -> Floats:
        return np.asarray(np.average(self.positions, axis=0, weights=self.weights))


def _stamp(path: str) -> int:
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist: check the path of the atomic model")
    return Path(path).stat().st_mtime_ns


@lru_cache(maxsize=64)
def _read(path: str, stamp: int) -> _Atoms:
    """Atoms of the first model in the file, without water and hydrogen.

    Raises
    ------
    InputError
        If the file cannot be read or has no atoms.
    """
    import gemmi

    try:
        structure = gemmi.read_structure(path)
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is not a readable atomic model ({reason}): give a PDB or mmCIF file"
        ) from None
    structure.remove_waters()
    structure.remove_hydrogens()
    structure.remove_alternative_conformations()
    positions, weights, names = [], [], []
    for chain in structure[0] if len(structure) else ():
        for residue in chain:
            for atom in residue:
                positions.append(atom.pos.tolist())
                weights.append(float(atom.element.atomic_number))
                names.append(f"{chain.name}/{residue.seqid}/{residue.name}/{atom.name}")
    if not positions:
        raise InputError(f"{path} has no atoms: give a PDB or mmCIF file with coordinates")
    return _Atoms(np.array(positions), np.array(weights), tuple(names))


def _common(
    first: _Atoms, second: _Atoms, path: str, other: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places of the atoms that both models have.

    Raises
    ------
    InputError
        If fewer than half of the atoms are common: there is nothing to interpolate.
    """
    if first.names == second.names:
        every = np.arange(len(first.names))
        return every, every
    _, here, there = np.intersect1d(first.names, second.names, return_indices=True)
    if 2 * len(here) < max(len(first.names), len(second.names)):
        raise InputError(
            f"{other} has only {len(here)} of the {len(first.names)} atoms of {path} (by chain, "
            "residue and name): give models of one sequence for a motion"
        )
    order = np.argsort(here)
    return here[order], there[order]
