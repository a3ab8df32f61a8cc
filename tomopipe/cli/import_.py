"""`tomopipe import`: a particle STAR file of any dialect into particle and image tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.settings import add_settings, read_settings

HELP = "read a particle STAR file of any dialect"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.importing import ImportSettings

    parser.add_argument("star", type=Path, metavar="STAR", help="particle or optimisation-set STAR")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for particles.parquet, images.parquet, …"
    )
    add_settings(parser, ImportSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.importing import ImportSettings

    settings = read_settings(args, ImportSettings)
    from tomopipe.dataset.importer import import_star
    from tomopipe.io.atomic import read_json
    from tomopipe.lineage.write import recorded

    with recorded("import", args.out, settings) as record:
        import_star(args.star, args.out, settings)
        read = [file["path"] for file in read_json(args.out / "source" / "source.json")["files"]]
        record.read(*read)
    made = read_json(args.out / "import.json")
    print(
        f"{made['n_particles']} particles with {made['n_images']} images of {made['box']} pixels "
        f"in {made['n_tomograms']} tomograms, read as {made['dialect']}"
    )
