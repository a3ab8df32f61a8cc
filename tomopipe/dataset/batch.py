"""A batch: all kept coefficients of some particles, flat, with everything the models need."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from tomopipe.physics.project import slice_points

_NOTHING = 1e-8  # noise below this share of the recorded noise is rounding
_LEAST = 1e-6  # of a falloff: where less is left there is nothing to divide by


@dataclass(frozen=True)
class Batch:
    """P particles with I images and C coefficients, flat, so that no loop over particles is needed.

    The image model is `data = ctf * damage * V(points) + N(0, noise)`, where `ctf` and `noise` hold
    what was done to the images before we saw them (CTF premultiplication, dose weighting).
    Reference models ignore `damage` in the signal and use it in `weight`.

    Attributes
    ----------
    particles
        `(P,)` positions in the store view.
    uids
        Their uids.
    images
        `(I,)` positions in the view's image table.
    image_particle
        `(I,)` 0 … P-1.
    image_start
        `(I + 1,)` prefix sums of the images' coefficient counts.
    coefficient_image
        `(C,)` 0 … I-1.
    coefficient_lattice
        `(C,)` index into `lattice`.
    data
        `(C, 2)` (Re, Im) of the centred, windowed transform over the store's scale, signed so
        that protein is positive after the CTF.
    ctf
        `(C,)` transfer of the images as stored: CTF x scale, what was done to them, and the
        falloff.
    noise
        `(C,)` variance that was left of white noise: 1 for images as recorded, the dose weight's
        square for dose-weighted ones, about the CTF's for premultiplied ones.
    damage
        `(C,)` exp(-dose / 2 critical dose), the signal left at this dose; 1 where dose is unknown.
    weight
        `(C,)` loss weight: dose weight x cos(stage tilt), as the store's settings say.
    kept
        `(C,)` inside the dose mask (everything, if the store was prepared with the mask).
    view
        `(I, 3, 3)` view matrices.
    dose, tilt
        `(I,)` accumulated e/Å² and stage tilt in degrees (NaN unknown).
    falloff
        `(C,)` the measured part of `ctf`: what images show of the signal for their tilt, dose and
        tomogram (`reconstruct/falloff.py`), 1 for what is usual; None where none was found.
    lattice
        `(n_lattice, 2)` (kx, ky) of the store.
    box
        Box in pixels.
    """

    particles: Tensor
    uids: list[str]
    images: Tensor
    image_particle: Tensor
    image_start: Tensor
    coefficient_image: Tensor
    coefficient_lattice: Tensor
    data: Tensor
    ctf: Tensor
    noise: Tensor
    damage: Tensor
    weight: Tensor
    kept: Tensor
    view: Tensor
    dose: Tensor
    tilt: Tensor
    lattice: Tensor
    box: int
    falloff: Tensor | None = None

    @property
    def n_particles(self) -> int:
        """Number of particles."""
        return len(self.particles)

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self.images)

    def points(self) -> Tensor:
        """Where coefficients lie in the volume's transform: `(C, 3)` (x, y, z), cycles/pixel."""
        k = self.lattice[self.coefficient_lattice]
        return slice_points(k, self.view[self.coefficient_image], self.box)

    def coefficient_particle(self) -> Tensor:
        """Particle (0 … P-1) of each coefficient: `(C,)`."""
        return self.image_particle[self.coefficient_image]

    def coefficient_shell(self) -> Tensor:
        """Shell 0 … of each coefficient in its image's plane: `(C,)`."""
        radius: Tensor = torch.linalg.vector_norm(self.lattice.double(), dim=-1)
        return radius.round().long()[self.coefficient_lattice]

    def noise_precision(self) -> Tensor:
        """Weight of each coefficient, `(C,)`: cos(tilt) over the shape of the noise's variance.

        A tilted specimen is thicker: programs bring its image's noise to that of the others, which
        leaves less signal, so that the cosine stands for what the model does not know of the
        signal's amplitude (benchmarks/NOTES.md), until that is measured: there is no cosine beside
        a falloff. 0 where what was done to the image left nothing.
        """
        weight: Tensor | float = 1.0
        if self.falloff is None:
            cosine = torch.cos(torch.deg2rad(torch.nan_to_num(self.tilt))).clamp(min=0.05)
            weight = cosine[self.coefficient_image]
        precision = weight / self.noise
        return torch.where(self.noise > _NOTHING, precision, torch.zeros_like(precision))

    def back_projection(self) -> tuple[Tensor, Tensor]:
        """Factors of the most likely volume: V = sum(a data) / sum(b), each `(C,)`.

        With t = CTF x damage as stored, a = t and b = t^2, both times `noise_precision`.
        """
        transfer, precision = self.ctf * self.damage, self.noise_precision()
        return transfer * precision, transfer**2 * precision

    def plain_ctf(self) -> Tensor:
        """`ctf` without the falloff, `(C,)`."""
        return self.ctf if self.falloff is None else self.ctf / self.falloff.clamp(min=_LEAST)

    def map_weights(self) -> tuple[Tensor, Tensor]:
        """Factors of a map, as `back_projection`, but with the falloff as a weight.

        a = t and b = t^2 / falloff. Where only weak images look, a most likely volume makes up for
        their weakness and their noise grows with it, which lowers the FSC of a map that no prior
        holds (benchmarks/NOTES.md); here such places stay as weak as their images show them.
        """
        numerator, denominator = self.back_projection()
        if self.falloff is None:
            return numerator, denominator
        return numerator, denominator / self.falloff.clamp(min=_LEAST)

    def where(self, chosen: Tensor) -> Batch:
        """Only the coefficients where `chosen` `(C,)` is true."""
        picked: dict[str, Any] = {
            name: getattr(self, name)[chosen]
            for name in (
                "coefficient_image",
                "coefficient_lattice",
                "data",
                "ctf",
                "noise",
                "damage",
                "weight",
                "kept",
            )
        }
        if self.falloff is not None:
            picked["falloff"] = self.falloff[chosen]
        counts = torch.bincount(picked["coefficient_image"], minlength=self.n_images)
        start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return replace(self, image_start=start, **picked)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        moved: dict[str, Any] = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)
