"""Whole tilt series with known truth: stacks, project files of several programs, particles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from tomopipe import __version__
from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.errors import InputError
from tomopipe.io.atomic import (
    check_folder,
    read_json,
    read_parquet,
    remove_directory,
    write_json,
    write_parquet,
)
from tomopipe.io.mrc import new_stack, write_volume
from tomopipe.io.progress import Progress
from tomopipe.simulate.aligned import aligned_series, stack_path, tomogram_name
from tomopipe.simulate.direct import direct_images
from tomopipe.simulate.grain import Grain, grain_of, signal_deviation
from tomopipe.simulate.micrograph import clean_micrograph
from tomopipe.simulate.picks import write_alignments, write_picks
from tomopipe.simulate.scene import (
    Grid,
    Scene,
    density_in_place,
    draw_scene,
    state_grid,
    true_map,
    with_errors,
)

STEP_FORMAT = 2
_INT16_MEAN, _INT16_SPREAD = 1000.0, 100.0  # grey values of noise, or of signal where there is none


def simulate_tilt_series(settings: TiltSeriesSimulation, out: Path) -> None:
    """Write tilt series into the folder `out`, one image at a time, and what they hold.

    - `tilt_series/{name}.mrc`: stacks in the order of the tilt angle, protein dark.
    - `particles.star`, `optimisation_set.star`: particles for RELION-5 and `extract`, no images.
    - `tomograms.star` and `tilt_series/{name}.star` for RELION-5, whose project the folder is, and
      `warptools/`, `imod/`, `aretomo/`: the alignment as each program stores it.
    - `truth.parquet`: what every particle is and where (docs/simulate.md has its columns);
      `truth/{state}.mrc`: maps at the pixel size of the tilt images.
    - `simulation.json`, written last: the settings, from which all this can be made again.

    Raises
    ------
    ConfigError
        If the particles do not fit into the volume.
    InputError
        If a file of a state cannot be used.
    """
    check_folder(out)
    _forget(out)
    grid = state_grid(settings)
    grain = grain_of(settings, grid)
    series, scenes = [], []
    with Progress(settings.tomograms * settings.tilts, "simulate tilt series") as progress:
        for number in range(settings.tomograms):
            series.append(aligned_series(settings, number, out.resolve()))
            scenes.append(draw_scene(settings, grid, number))
            _write_stack(settings, grid, grain, series[-1], scenes[-1], number, progress)
    truth = pd.concat([scene.truth for scene in scenes], ignore_index=True)
    written = [with_errors(scene.truth, settings, number) for number, scene in enumerate(scenes)]
    write_picks(out, pd.concat(written, ignore_index=True), settings)
    write_alignments(out, settings, series)
    write_parquet(out / "truth.parquet", truth)
    for state in settings.states:
        volume = true_map(settings, grid, state, 0.5).numpy()
        write_volume(out / "truth" / f"{state}.mrc", volume, grid.pixel_size)
    record = {
        "step_format": STEP_FORMAT,
        "version": __version__,
        "settings": settings.model_dump(),
        "int16": {"mean": _INT16_MEAN, "scale": _scale(settings, grid, grain)},
    }
    write_json(out / "simulation.json", record)


def _forget(out: Path) -> None:
    """Take away an earlier simulation, its record last: what is left would belong to none."""
    if not (out / "simulation.json").is_file():
        return
    for folder in ("tilt_series", "tomograms", "warptools", "imod", "aretomo", "truth"):
        if (out / folder).is_dir():
            remove_directory(out / folder)
    for name in (
        "truth.parquet",
        "particles.star",
        "optimisation_set.star",
        "tomograms.star",
        "simulation.json",
    ):
        (out / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class SimulatedSeries:
    """A simulation read back: the truth of every particle, and the images it would have alone.

    Attributes
    ----------
    truth
        The table `truth.parquet`.
    series
        Tilt series by the name of the tomogram.
    """

    settings: TiltSeriesSimulation
    truth: pd.DataFrame
    series: dict[str, TiltSeries]
    grid: Grid

    @classmethod
    def load(cls, folder: Path | str) -> SimulatedSeries:
        """Read the folder that `simulate_tilt_series` wrote.

        Raises
        ------
        StateError
            If its files are missing or damaged.
        """
        folder = Path(folder)
        record = read_json(folder / "simulation.json")
        settings = TiltSeriesSimulation.model_validate(record["settings"])
        series = {
            tomogram_name(number): aligned_series(settings, number, folder.resolve())
            for number in range(settings.tomograms)
        }
        return cls(settings, read_parquet(folder / "truth.parquet"), series, state_grid(settings))

    def images(
        self,
        uid: str,
        box: int,
        pixel_size: float,
        *,
        premultiplied: bool = False,
        shift_angstrom: NDArray[np.float64] | None = None,
    ) -> Tensor:
        """Noise-free images `(F, box, box)` of one particle alone, as extraction would cut them.

        Bright protein, the particle in the centre (pixel `box // 2`); grey values are those of the
        tilt images, which Fourier cropping keeps.

        Parameters
        ----------
        uid
            Of a row of the truth.
        box, pixel_size
            Pixels, and Å: any of them.
        premultiplied
            Whether images are multiplied by their CTF.
        shift_angstrom
            `(F, 2)` (x, y): where the particle lies from the centre; None = in it.

        Raises
        ------
        InputError
            If the truth has no such particle.
        """
        rows = np.flatnonzero(self.truth["uid"] == uid)
        if not len(rows):
            raise InputError(f"{uid} is no particle of this simulation: take a uid of its truth")
        row = self.truth.iloc[int(rows[0])].to_dict()
        name, number = str(row["tomogram"]), list(self.series).index(str(row["tomogram"]))
        index = int(uid.rsplit("/", 1)[-1]) - 1
        density = density_in_place(self.settings, self.grid, number, index, row)
        return direct_images(
            density,
            row,
            self.series[name],
            self.grid,
            box,
            pixel_size,
            premultiplied=premultiplied,
            shift_angstrom=shift_angstrom,
        )


def _write_stack(
    settings: TiltSeriesSimulation,
    grid: Grid,
    grain: Grain,
    series: TiltSeries,
    scene: Scene,
    number: int,
    progress: Progress,
) -> None:
    """The tilt images of one tomogram, one after the other."""
    nx, ny = settings.image_pixels
    path = stack_path(series.images[0].path.parents[1], number)
    scale = _scale(settings, grid, grain)
    with new_stack(path, (len(series), ny, nx), series.pixel_size, settings.format) as stack:
        for tilt in range(len(series)):
            image = clean_micrograph(scene, series, tilt, grid)
            image = grain.add(image, series, tilt, (settings.seed, number))
            if settings.format == "int16":
                image = np.rint(image * scale + _INT16_MEAN).clip(-32768, 32767)
            stack[tilt] = image
            progress.advance(note=tomogram_name(number))


def _scale(settings: TiltSeriesSimulation, grid: Grid, grain: Grain) -> float:
    """Grey values of int16 per unit of projected density; 1 for float32."""
    if settings.format == "float32":
        return 1.0
    signal = signal_deviation(settings, grid) * (settings.pixel_size_angstrom / 10) ** 2
    return _INT16_SPREAD / max(grain.white, grain.structural, signal / 10)
