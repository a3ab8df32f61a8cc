"""`tomopipe status`: where a run stands, in the terminal."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tomopipe.cli.arguments import add_config, given_config

HELP = "say where a run stands: what is done, failed, or waits for a decision"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print it as JSON, for scripts")


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    config = given_config(args.config)
    from tomopipe.report.collect import collect
    from tomopipe.report.status import status, status_words

    record = collect(config, Path(config.results), begun=False, tables=False)
    found = status(config, record)
    print(json.dumps(found, indent=2) if args.json else status_words(found))
