"""`tomopipe simulate`: particles, or whole tilt series, with known truth."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.settings import add_settings, read_settings

HELP = "make simulated particles or tilt series with known truth"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.simulate import SimulateSettings
    from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation

    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    particles = kinds.add_parser(
        "particles", help="extracted particles in image stacks", allow_abbrev=False
    )
    particles.add_argument(
        "--out", type=Path, required=True, help="folder for particles.star, stacks and truth"
    )
    add_settings(particles, SimulateSettings)
    series = kinds.add_parser(
        "tilt-series", help="tilt series of whole tomograms", allow_abbrev=False
    )
    series.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for tilt series, project files of several programs, particles and truth",
    )
    add_settings(series, TiltSeriesSimulation)
    for kind in (particles, series):  # where all other verbs have it: behind their own flags
        kind.add_argument("--threads", type=int, metavar="N", default=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.io.atomic import check_folder
    from tomopipe.lineage.write import recorded

    check_folder(args.out)
    if args.kind == "particles":
        from tomopipe.config.simulate import SimulateSettings

        settings = read_settings(args, SimulateSettings)
        from tomopipe.simulate.particles import simulate_particles

        with recorded("simulate", args.out, settings, inputs=map(Path, settings.files)):
            simulate_particles(settings, args.out)
        return
    from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation

    wanted = read_settings(args, TiltSeriesSimulation)
    from tomopipe.simulate.tilt_series import simulate_tilt_series

    with recorded("simulate_tilt_series", args.out, wanted, inputs=map(Path, wanted.files)):
        simulate_tilt_series(wanted, args.out)
        if wanted.tomogram_pixel_size_angstrom is not None:
            _write_tomograms(args.out, wanted.tomogram_pixel_size_angstrom)


def _write_tomograms(out: Path, pixel_size: float) -> None:
    """Tomograms from the written images, as the verb `tomogram` makes them."""
    from tomopipe.config.reconstruct import TomogramSettings
    from tomopipe.reconstruct.write_tomograms import write_tomograms
    from tomopipe.simulate.tilt_series import SimulatedSeries

    settings = TomogramSettings(pixel_size_angstrom=pixel_size)
    write_tomograms(SimulatedSeries.load(out).series, out / "tomograms", settings)
