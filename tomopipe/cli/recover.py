"""`tomopipe recover`: what came out of simulated data, against their truth."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import add_config, given_config

HELP = "compare results on simulated data with the truth"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="recovery.json to write")
    add_config(parser)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    config = given_config(args.config)
    from tomopipe.analysis.recovery import recovery
    from tomopipe.io.atomic import write_json
    from tomopipe.lineage.write import recorded

    with recorded("recovery", args.out, config) as record:
        write_json(args.out, recovery(config, args.results))
        record.read_results(args.results)
