"""`tomopipe simulate`: particles with known truth."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.settings import add_settings, read_settings

HELP = "make a simulated data set with known truth"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.simulate import SimulateSettings

    parser.add_argument(
        "--out", type=Path, required=True, help="folder for particles.star, stacks and truth"
    )
    add_settings(parser, SimulateSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.simulate import SimulateSettings

    settings = read_settings(args, SimulateSettings)
    from tomopipe.simulate.particles import simulate_particles

    simulate_particles(settings, args.out)
