"""`tomopipe report`: one HTML page over all branches."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import add_config, given_config

HELP = "write the HTML report of all branches"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="HTML file to write")
    add_config(parser)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    config = given_config(args.config)
    from tomopipe.lineage.write import recorded
    from tomopipe.report.build import build_report

    with recorded("report", args.out, config) as record:
        build_report(config, args.results, args.out)
        record.read_results(args.results)
