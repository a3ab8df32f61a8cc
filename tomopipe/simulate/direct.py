"""The images that one particle of a simulated tomogram would have if it were alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.physics.pose import view_matrix
from tomopipe.simulate.micrograph import Patch, fringe_angstrom
from tomopipe.simulate.scene import ANGLES, POSITION, Grid
from tomopipe.simulate.states import Density


def direct_images(
    density: Density,
    truth: Mapping[Any, Any],
    series: TiltSeries,
    grid: Grid,
    box: int,
    pixel_size: float,
    *,
    premultiplied: bool = False,
    shift_angstrom: NDArray[np.float64] | None = None,
) -> Tensor:
    """Noise-free images `(F, box, box)` of bright protein, cut from a field without neighbours.

    The field is large enough for the fringes of the CTF, so that what leaves the box is lost, as it
    is when a box is cut out of a micrograph. Grey values are those of the tilt images: the mean
    over a pixel, not the sum.

    Parameters
    ----------
    density
        What the particle is.
    truth
        Its row of the truth: position in Å and angles in degrees.
    box, pixel_size
        Pixels, and Å: any of them.
    premultiplied
        Whether images are multiplied by their CTF before they are cut.
    shift_angstrom
        `(F, 2)` (x, y): where the particle lies from pixel `box // 2`; None = in it.
    """
    point = np.array([[float(truth[name]) for name in POSITION]])
    pose = view_matrix(*(float(truth[name]) for name in ANGLES))
    change = series.defocus_change(point)[0]
    fringe = fringe_angstrom(series, pixel_size, float(np.abs(change).max()))
    reach = grid.radius * 1.3 + fringe * (1 + premultiplied)
    size = max(2 * math.ceil(reach / pixel_size), box + box % 2)
    shift = np.zeros((len(series), 2)) if shift_angstrom is None else shift_angstrom
    start = size // 2 - box // 2
    inner = slice(start, start + box)
    images = []
    for tilt in range(len(series)):
        field = Patch(size, size, pixel_size, series, tilt)
        view = torch.from_numpy(series.rotation[tilt] @ pose).float()
        signal = density.projections(view[None], field.ky, field.kx)[0]
        contrast = -field.ctf(float(change[tilt]))
        transfer = contrast * contrast * field.damage if premultiplied else contrast * field.damage
        image = field.image(signal * transfer * field.shifted(shift[tilt]))
        images.append(torch.from_numpy(image[inner, inner].copy()))
    return torch.stack(images) * (series.pixel_size / pixel_size) ** 2
