"""Simulated particle stacks: projection, dose damage, CTF, shifts, noise, uneven tilts, truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from tomopipe import __version__
from tomopipe.config.simulate import SimulateSettings
from tomopipe.io.atomic import atomic_directory, write_json, write_parquet
from tomopipe.io.mrc import write_volume
from tomopipe.io.progress import Progress
from tomopipe.physics.pose import euler_angles
from tomopipe.simulate.draws import (
    Particle,
    draw_particles,
    draw_tilts,
    draw_truth,
    geometry,
    perturbed,
)
from tomopipe.simulate.formation import noise_levels, noisy_images
from tomopipe.simulate.stars import StarWriter
from tomopipe.simulate.states import rendered

STEP_FORMAT = 1


def simulate_particles(settings: SimulateSettings, out: Path) -> None:
    """Write `particles.star` of the dialect asked for, its stacks, and the truth.

    `truth.parquet` has uid, state, coordinate (0 … 1 along the motion, for the phantom its arm's
    turn over the range; NaN where nothing moves), junk and the kind of junk, and the true pose,
    position and origin; `truth/{state}.mrc` are the states' maps at the pixel size of the images,
    and `simulation.json` the settings, from which `true_volume` makes any map. With errors in what
    is written, `truth_images.parquet` has the true angles and shifts of every image.
    """
    rng = np.random.default_rng(settings.seed)
    truth = draw_truth(settings, rng)
    levels = noise_levels(settings)
    places: list[dict[str, object]] = []
    images: list[pd.DataFrame] = []
    wrong = settings.perturb_degrees > 0 or settings.perturb_angstrom > 0
    with atomic_directory(out) as folder:
        writer = StarWriter(folder, settings)
        with Progress(settings.particles, "simulate particles") as progress:
            for name, group in truth.groupby("tomogram", sort=False):
                tilts = draw_tilts(settings, rng)
                written, stacks = [], []
                for particle in draw_particles(group, tilts, settings, rng):
                    stacks.append(noisy_images(particle, settings, levels, rng))
                    written.append(perturbed(particle, settings, len(places)))
                    places.append({"uid": particle.uid, **geometry(particle)})
                    images += [_image_table(particle)] if wrong else []
                    progress.advance()
                writer.tomogram(str(name), tilts, written, stacks)
        writer.finish()
        table = truth.drop(columns="tomogram").merge(pd.DataFrame(places), on="uid")
        write_parquet(folder / "truth.parquet", table)
        if wrong:
            write_parquet(folder / "truth_images.parquet", pd.concat(images, ignore_index=True))
        _write_states(folder, settings)


def true_volume(settings: SimulateSettings, state: str, coordinate: float = float("nan")) -> Tensor:
    """Map `(box, box, box)` of a particle of `state` at `coordinate` (0 … 1) of its motion.

    Raises
    ------
    InputError
        If a file of the state is missing or cannot be used.
    """
    return rendered(settings, state, coordinate, settings.box, settings.pixel_size_angstrom)


def _image_table(particle: Particle) -> pd.DataFrame:
    """True angles (degrees), shifts (pixels) and defocus (Å) of one particle's images."""
    series = particle.series
    table = pd.DataFrame(
        euler_angles(series.view), columns=["rot_degrees", "tilt_degrees", "psi_degrees"]
    )
    return table.assign(
        uid=particle.uid,
        frame=series.frame,
        shift_x_pixels=series.shift[:, 0],
        shift_y_pixels=series.shift[:, 1],
        defocus_angstrom=series.defocus,
    )


def _write_states(folder: Path, settings: SimulateSettings) -> None:
    """The states' maps in the middle of their motion, and the settings."""
    for state in settings.states:
        volume = true_volume(settings, state, 0.5).numpy()
        write_volume(folder / "truth" / f"{state}.mrc", volume, settings.pixel_size_angstrom)
    record = {
        "step_format": STEP_FORMAT,
        "version": __version__,
        "settings": settings.model_dump(),
    }
    write_json(folder / "simulation.json", record)
