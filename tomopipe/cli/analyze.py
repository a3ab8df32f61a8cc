"""`tomopipe analyze`: clusters, coordinates and volumes from latents."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import (
    add_particles,
    add_same_as,
    add_store,
    is_taken_over,
    kept_uids,
    model_files,
)
from tomopipe.cli.settings import add_settings, read_settings

HELP = "cluster the latents, and make volumes across the latent space"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.analysis import AnalysisSettings

    add_store(parser)
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="folder of a linear or neural model"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and volumes")
    add_particles(parser)
    parser.add_argument(
        "--linear",
        type=Path,
        metavar="MODEL",
        help="folder of a linear model of the same particles, which says into how many clusters a "
        "network's latents are put if `clusters` is auto (default: MODEL/linear, where `fit` left "
        "it; else they are counted in the network's latents)",
    )
    add_same_as(parser)
    add_settings(parser, AnalysisSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.analysis import AnalysisSettings

    settings = read_settings(args, AnalysisSettings)
    from tomopipe.analysis.analyze import analyze, linear_beside
    from tomopipe.lineage.write import recorded

    linear = args.linear or linear_beside(args.model)
    counted = linear / "latents.parquet" if linear else None
    inputs = [args.store, *model_files(args.model), counted, args.particles]
    with recorded("analysis", args.out, settings, inputs=inputs):
        if not is_taken_over(args, "analysis", settings):
            uids = kept_uids(args.particles)
            analyze(args.store, args.model, args.out, settings, uids, linear)
