"""`tomopipe convergence`: whether a training has converged or overfits."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import add_same_as, is_taken_over, model_files
from tomopipe.cli.settings import add_settings, read_settings

HELP = "say whether a training has converged, with the evidence"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.analysis import ConvergenceSettings

    parser.add_argument("model", type=Path, metavar="MODEL", help="folder made by `tomopipe train`")
    parser.add_argument("--out", type=Path, required=True, help="folder for convergence.json")
    add_same_as(parser)
    add_settings(parser, ConvergenceSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.analysis import ConvergenceSettings

    settings = read_settings(args, ConvergenceSettings)
    from tomopipe.analysis.convergence import assess
    from tomopipe.lineage.write import recorded

    inputs = [*model_files(args.model), args.model / "metrics.jsonl", args.model / "snapshots"]
    with recorded("convergence", args.out, settings, inputs=inputs):
        if not is_taken_over(args, "convergence", settings):
            assess(args.model, args.out, settings)
