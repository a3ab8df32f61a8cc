"""Particles of noise at any size: what they show does not matter to what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tomopipe.io.mrc import write_stack

PIXEL_SIZE = 3.0  # Å
DOSE = 3.0  # e/Å² per tilt
_PER_TOMOGRAM = 1000
_COLUMNS = (
    "ImageName MicrographName GroupName CoordinateX CoordinateY CoordinateZ DetectorPixelSize "
    "Magnification AngleRot AngleTilt AnglePsi OriginX OriginY DefocusU DefocusV DefocusAngle "
    "Voltage SphericalAberration AmplitudeContrast PhaseShift CtfBfactor CtfScalefactor"
)


@dataclass(frozen=True)
class Size:
    """How large a set is."""

    particles: int
    tilts: int
    box: int

    def folder(self, root: Path) -> Path:
        """Where it lies below `root`."""
        return root / f"{self.particles}-{self.tilts}-{self.box}"


def write_raw(size: Size, folder: Path, *, dose: float = DOSE) -> Path:
    """Write `particles.star`, one row an image, and its stacks; the STAR file's path.

    All tomograms share one stack on disk (hard links), so that large sets are made quickly and
    their images still come from a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    star = folder / "particles.star"
    if star.exists():
        return star
    rng = np.random.default_rng(0)
    in_stack = min(size.particles, _PER_TOMOGRAM) * size.tilts
    first = folder / "tomo_0000.mrcs"
    images = rng.standard_normal((in_stack, size.box, size.box), dtype=np.float32)
    write_stack(first, images, PIXEL_SIZE)
    for number in range(1, -(-size.particles // _PER_TOMOGRAM)):
        (folder / f"tomo_{number:04d}.mrcs").hardlink_to(first)
    with star.open("w") as out:
        out.write("\ndata_\n\nloop_\n")
        out.writelines(f"_rln{name} #{i + 1}\n" for i, name in enumerate(_COLUMNS.split()))
        out.writelines(_rows(size, dose, rng))
        out.write("\n")
    return star


def _rows(size: Size, dose: float, rng: np.random.Generator) -> Iterator[str]:
    for particle in range(size.particles):
        tomogram, place = divmod(particle, _PER_TOMOGRAM)
        x, y, z = rng.uniform(0, 500, 3)
        angles = rng.uniform(-180, 180, (size.tilts, 3))
        for tilt in range(size.tilts):
            rot, theta, psi = angles[tilt]
            slot = place * size.tilts + tilt + 1
            cosine = np.cos(np.radians(3 * ((tilt + 1) // 2)))
            yield (
                f"{slot:06d}@tomo_{tomogram:04d}.mrcs tomo_{tomogram:04d} "
                f"tomo_{tomogram:04d}_{place:06d} {x:.3f} {y:.3f} {z:.3f} {PIXEL_SIZE} 10000 "
                f"{rot:.4f} {theta:.4f} {psi:.4f} 0.5 -0.5 30000 29500 30 300 2.7 0.07 0 "
                f"{-4 * dose * (tilt + 1):.3f} {cosine:.4f}\n"
            )
