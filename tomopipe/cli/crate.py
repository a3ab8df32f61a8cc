"""`tomopipe crate`: the lineage of a run as RO-Crate metadata."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import given_config

HELP = "describe results and how they were made as RO-Crate metadata, for an archive"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results folder of a run")
    parser.add_argument(
        "--out", type=Path, help="file to write (default: RESULTS/ro-crate-metadata.json)"
    )
    parser.add_argument(
        "--license",
        required=True,
        metavar="URL",
        help="licence of the results, such as https://spdx.org/licenses/CC-BY-4.0",
    )
    parser.add_argument("--config", metavar="CONFIG", help="config of the run, to be described too")
    parser.add_argument("--title", help="name of the data set (default: that of config or folder)")


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    config = given_config(args.config) if args.config else None
    from tomopipe.io.atomic import write_json
    from tomopipe.lineage.crate import crate

    out = args.out or args.results / "ro-crate-metadata.json"
    title = args.title or (config and config.title) or args.results.resolve().name
    made = crate(args.results, out, title=title, license_=args.license, config=config)
    write_json(out, made)
    print(f"{out}: {len(made['@graph'])} entities")
