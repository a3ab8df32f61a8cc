"""`tomopipe prepare`: the packed store of an imported data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import add_dataset
from tomopipe.cli.settings import add_settings, read_settings

HELP = "pack the images of an imported data set for training"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.prepare import PrepareSettings

    add_dataset(parser)
    parser.add_argument("--out", type=Path, required=True, help="the store, a folder")
    add_settings(parser, PrepareSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.prepare import PrepareSettings

    settings = read_settings(args, PrepareSettings)
    from tomopipe.dataset.prepare import prepare
    from tomopipe.io.atomic import read_parquet
    from tomopipe.lineage.write import recorded
    from tomopipe.reconstruct.falloff import measure_falloff

    names = ("import.json", "particles.parquet", "images.parquet")
    inputs = [args.dataset / name for name in names]
    with recorded("prepare", args.out, settings, inputs=inputs) as record:
        prepare(args.dataset, args.out, settings, measure_falloff)
        record.read_sample(read_parquet(inputs[-1], ["stack"])["stack"].unique())
