"""Does defocus rise or fall with height? Measured where stacks were multiplied by their CTF.

Files state the sign in `rlnTomoHand`, by which programs do not mean the same
(docs/input-formats.md). Noise tells: in a premultiplied image it has the shape of the CTF that the
image was multiplied by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tomopipe.dataset.images import read_images
from tomopipe.dataset.sample import sample
from tomopipe.dataset.transfer import TransferTable
from tomopipe.physics.fourier import fft2c, half_plane
from tomopipe.physics.window import cosine_window

Floats = NDArray[np.float64]

OF_HEIGHT = "defocus_of_height_angstrom"  # what a particle's height adds to its tilt's defocus
CLEAR = 5.0  # standard errors
_SAMPLE, _LEAST = 1000, 50  # images
_CHANGE = 100.0  # Å that defocus must change by for an image to tell
_WINDOW = (0.8, 0.9)
_ROUNDS = 20


@dataclass(frozen=True)
class DefocusHand:
    """What the noise says of the sign of defocus with height.

    Attributes
    ----------
    standard_errors
        By how much the noise fits the defocus as it stands better than with the height's part
        turned round; negative where the other sign fits.
    images
        Number of images that were looked at.
    """

    standard_errors: float
    images: int


def measure_defocus_hand(images: pd.DataFrame, box: int) -> DefocusHand | None:
    """Compare the noise of premultiplied images with that of either sign.

    The power of each image in shells above an eighth of its spectrum is compared with the noise
    that `TransferTable` expects, up to a factor for each image and each shell; the likelihood is
    that of sums of squares of Gaussian noise.

    Parameters
    ----------
    images
        Image table with the column `defocus_of_height_angstrom`.
    box
        Box in pixels.

    Returns
    -------
    found
        None with fewer than 50 premultiplied images in which height changes defocus by 100 Å.
    """
    change = images[OF_HEIGHT].to_numpy(float)
    usable = images["premultiplied"].to_numpy(bool) & (np.abs(np.nan_to_num(change)) > _CHANGE)
    some = sample(images[usable], _SAMPLE)
    if len(some) < _LEAST:
        return None
    plane = half_plane(box)
    shell = plane.radius.numpy().astype(int)
    shells = [np.flatnonzero(shell == k) for k in range(box // 8, box // 2)]
    pixels = torch.from_numpy(np.nan_to_num(read_images(some, box), posinf=0.0, neginf=0.0))
    power = plane.gather(fft2c(pixels * cosine_window(box, *_WINDOW))).abs() ** 2
    observed = _sums(power, shells)
    count = np.array([len(points) for points in shells])
    there, turned = (
        _log_likelihood(observed, _sums(_noise(table, box), shells), count)
        for table in (some, turned_round(some))
    )
    better = there - turned
    error = better.std() * len(better) ** 0.5
    return DefocusHand(float(better.sum() / max(error, 1e-12)), len(some))


def turned_round(images: pd.DataFrame) -> pd.DataFrame:
    """The image table with defocus changing the other way with height."""
    change = images[OF_HEIGHT].fillna(0.0)
    names = ["defocus_u_angstrom", "defocus_v_angstrom"]
    defocus = {name: images[name] - 2 * change for name in names}
    return images.assign(**defocus, **{OF_HEIGHT: -images[OF_HEIGHT]})


def _noise(images: pd.DataFrame, box: int) -> torch.Tensor:
    """Expected variance of the noise, `(n, n_lattice)`."""
    lattice = half_plane(box).points
    radius = 0.25 * sum(_WINDOW) * box
    table = TransferTable(images, lattice, box, radius, torch.device("cpu"))
    n, points = len(images), len(lattice)
    image = torch.arange(n).repeat_interleave(points)
    return table(image, torch.arange(points).repeat(n))[1].reshape(n, points)


def _sums(values: torch.Tensor, shells: list[NDArray[np.int64]]) -> Floats:
    """`(n, shells)` sums over the points of each shell."""
    array = values.double().numpy()
    return np.stack([array[:, points].sum(axis=1) for points in shells], axis=1)


def _log_likelihood(observed: Floats, expected: Floats, count: NDArray[np.int64]) -> Floats:
    """Of each image, up to a constant: `count` squares each, of mean image x shell x `expected`."""
    ratio = _above_zero(observed) / _above_zero(expected)
    image, of_shell = np.ones(len(ratio)), np.ones(ratio.shape[1])
    for _ in range(_ROUNDS):
        image = (ratio / of_shell) @ count / count.sum()
        of_shell = (ratio / image[:, None]).mean(axis=0)
    relative = ratio / (image[:, None] * of_shell)
    likelihood: Floats = (np.log(relative) - relative) @ count
    return likelihood


def _above_zero(values: Floats) -> Floats:
    least: Floats = np.maximum(values, max(1e-12 * values.max(), 1e-300))
    return least
