"""What the store holds of an image: centred, windowed, transformed, its sign turned, packed.

By this process or by several, in the order of the images.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.images import read_images, shifts_pixels
from tomopipe.errors import InputError
from tomopipe.io.parent import end_with
from tomopipe.physics.fourier import fft2c, full_plane, half_plane, ifft2c, shift_phase
from tomopipe.physics.window import cosine_window


@dataclass(frozen=True)
class Job:
    """What a worker needs to transform images: all plain values, so that it can be sent to it.

    Attributes
    ----------
    box
        Box of the images (pixels).
    bright
        Whether protein is bright in them.
    window_inner, window_outer
        Where the window begins to fall and ends, as a share of half the box.
    """

    box: int
    bright: bool
    window_inner: float
    window_outer: float


def packed_coefficients(
    tables: Iterable[pd.DataFrame], n_tables: int, job: Job, scale: float, workers: int
) -> Iterator[NDArray[np.float16]]:
    """Kept coefficients of each of the tables in order, by this process or by several.

    Parameters
    ----------
    tables, n_tables
        Rows of images.parquet, with `coefficient_count`, and how many tables there are.
    job
        How images are transformed.
    scale
        What coefficients are divided by.
    workers
        Processes; 0 as many as this process may use.

    Yields
    ------
    NDArray
        `(sum of counts, 2)` float16, real and imaginary parts.

    Raises
    ------
    InputError
        If a stack is unreadable or holds values that are not finite or beyond float16.
    """
    count = workers or len(os.sched_getaffinity(0))
    if count == 1 or n_tables <= 1:
        for table in tables:
            yield _pack(table, job, scale)
        return
    with ProcessPoolExecutor(
        min(count, n_tables),
        mp_context=get_context("spawn"),
        initializer=_begin_worker,
        initargs=(os.getpid(),),
    ) as pool:
        # a few chunks ahead of the writer, no more: memory stays bounded
        pending: deque[Future[NDArray[np.float16]]] = deque()
        for table in tables:
            pending.append(pool.submit(_pack, table, job, scale))
            if len(pending) > 2 * count:
                yield pending.popleft().result()
        for future in pending:
            yield future.result()


def _begin_worker(parent: int) -> None:
    end_with(parent)
    torch.set_num_threads(1)


def _pack(table: pd.DataFrame, job: Job, scale: float) -> NDArray[np.float16]:
    """Kept coefficients of the images of `table`, one after the other: `(sum of counts, 2)`."""
    with np.errstate(over="ignore"):  # which is looked for below
        values = (torch.view_as_real(half_planes(table, job)).numpy() / scale).astype(np.float16)
    counts = table["coefficient_count"].to_numpy()
    inside = np.arange(values.shape[1])[None] < counts[:, None]
    strong = (
        f"is more than {np.finfo(np.float16).max:.0f} times as strong as others are: take out its "
        "hot pixels, or leave its particle out"
    )
    _check_finite(np.isfinite(values) | ~inside[..., None], table, strong)
    return values[inside]


def half_planes(table: pd.DataFrame, job: Job) -> Tensor:
    """Half-plane coefficients of the images of `table`, `(n, n_lattice)` complex64."""
    pixels = read_images(table, job.box)
    _check_finite(np.isfinite(pixels), table, "holds values that are not finite: extract it again")
    plane = half_plane(job.box)
    phase = shift_phase(full_plane(job.box), shifts_pixels(table), job.box).reshape(
        -1, job.box, job.box
    )
    # centre first, window after: the window then keeps the particle, not the middle of the box
    centred = ifft2c(fft2c(torch.from_numpy(pixels)) * phase.to(torch.complex64)).real
    window = cosine_window(job.box, job.window_inner, job.window_outer)
    coefficients = plane.gather(fft2c(centred * window))
    has_ctf = ~table["defocus_u_angstrom"].isna().to_numpy()
    plain = has_ctf & ~table["premultiplied"].to_numpy(bool)
    # CTF is negative at low frequency: bright protein needs the sign turned, once, unless the
    # stack was multiplied by its CTF (then CTF^2 is positive) or never had one
    flip = plain if job.bright else ~plain
    return coefficients * torch.from_numpy(np.where(flip, -1.0, 1.0)).float()[:, None]


def _check_finite(finite: NDArray[np.bool_], table: pd.DataFrame, problem: str) -> None:
    """Refuse the first image whose values `(n, …)` are not all finite: its stack, its number."""
    bad = np.flatnonzero(~finite.reshape(len(table), -1).all(1))
    if bad.size:
        image = table.iloc[int(bad[0])]
        raise InputError(f"{image['stack']}: image {image['slot'] + 1} {problem}")
