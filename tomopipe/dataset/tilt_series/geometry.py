"""One aligned tilt series: where a point of the tomogram falls in every tilt image.

The tomogram's frame has its origin at the tomogram's centre; a tilt's rotation maps that frame to
the view, whose third axis is the beam:

    image position (Å, from the image's centre) = (R @ point)[:2] + shift

which is RELION-5's P = S(shift) Rz(ZRot) Ry(YTilt) Rx(XTilt) about the tomogram's centre. The
image's centre is pixel n // 2, counted from 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TiltImage:
    """Where the image of one tilt lies: a file, and which of its sections (from 0)."""

    path: Path
    section: int = 0


@dataclass(frozen=True)
class TiltSeries:
    """Geometry, optics and images of one aligned tilt series of F tilts.

    Attributes
    ----------
    name
        Of the tomogram.
    images
        F images, in the order of all other arrays.
    pixel_size
        Å, of the tilt images.
    image_size
        Pixels (x, y) of a tilt image.
    volume_angstrom
        `(3,)` size of the tomogram (x, y, z) in Å; NaN where unknown.
    rotation
        `(F, 3, 3)`, tomogram to view.
    shift_angstrom
        `(F, 2)`, where the tomogram's centre falls, from the image's centre.
    defocus_u_angstrom, defocus_v_angstrom, astigmatism_degrees, phase_shift_degrees
        `(F,)` at the tomogram's centre, underfocus positive; NaN where unknown.
    dose_e_per_A2
        `(F,)` accumulated, the tilt itself included; NaN where unknown.
    dose_per_tilt
        e/Å² of one tilt image; NaN where unknown.
    hand
        rlnTomoHand: sign of the change of defocus over height along the beam.
    voltage_kv, cs_mm, amplitude_contrast
        Of the microscope.
    """

    name: str
    images: tuple[TiltImage, ...]
    pixel_size: float
    image_size: tuple[int, int]
    volume_angstrom: Floats
    rotation: Floats
    shift_angstrom: Floats
    defocus_u_angstrom: Floats
    defocus_v_angstrom: Floats
    astigmatism_degrees: Floats
    phase_shift_degrees: Floats
    dose_e_per_A2: Floats
    dose_per_tilt: float
    hand: float
    voltage_kv: float
    cs_mm: float
    amplitude_contrast: float

    def __len__(self) -> int:
        """Count the tilts."""
        return len(self.images)

    @property
    def tilt_degrees(self) -> Floats:
        """`(F,)` angle between beam and specimen normal, with the sign of rlnTomoYTilt."""
        angle = np.degrees(np.arccos(np.clip(self.rotation[:, 2, 2], -1, 1)))
        signed: Floats = np.where(self.rotation[:, 2, 0] > 0, -angle, angle)
        return signed

    @property
    def seen_angstrom(self) -> Floats:
        """`(2,)` x and y of the tomogram that the least tilted image shows, to a quarter turn."""
        across, along = np.array(self.image_size, dtype=float) * self.pixel_size
        turn = self.rotation[np.abs(self.tilt_degrees).argmin()]
        turned = abs(turn[0, 1]) > abs(turn[0, 0])  # the tomogram's y runs along the image's x
        return np.array([along, across] if turned else [across, along])

    def project(self, points: Floats) -> Floats:
        """Pixels (x, y), counted from 0, of `points` `(n, 3)` in Å: `(n, F, 2)`."""
        view = np.einsum("fij,nj->nfi", self.rotation[:, :2], points) + self.shift_angstrom
        centre = np.array(self.image_size) // 2
        pixels: Floats = view / self.pixel_size + centre
        return pixels

    def height(self, points: Floats) -> Floats:
        """Å along the beam from the tomogram's centre, of `points` `(n, 3)`: `(n, F)`."""
        along: Floats = np.einsum("fj,nj->nf", self.rotation[:, 2], points)
        return along

    def defocus_change(self, points: Floats) -> Floats:
        """Å to be added to the tilts' defoci (U and V) for `points` `(n, 3)`: `(n, F)`.

        RELION's rule: a particle's defocus is its tilt's plus hand x height along the beam.
        """
        return self.hand * self.height(points)

    def sees(self, points: Floats, half_box_angstrom: float) -> NDArray[np.bool_]:
        """Whether a box around each of `points` lies inside the tilt images: `(n, F)`."""
        pixels, half = self.project(points), half_box_angstrom / self.pixel_size
        size = np.array(self.image_size)
        inside = (pixels - half >= 0) & (pixels + half <= size - 1)
        return np.asarray(inside.all(axis=-1))
