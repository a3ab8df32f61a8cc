"""`tomopipe select`: which particles a branch keeps, with reasons."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import add_dataset
from tomopipe.cli.settings import add_settings, read_settings

HELP = "choose the particles of a branch from those of its parent"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.analysis import Select

    add_dataset(parser)
    parser.add_argument("--parent", type=Path, help="folder of the parent branch; none: keep all")
    parser.add_argument("--out", type=Path, required=True, help="selected.parquet to write")
    add_settings(parser, Select)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.analysis import Select

    settings = read_settings(args, Select)
    from tomopipe.analysis.select import select
    from tomopipe.lineage.decision import chosen, reads
    from tomopipe.lineage.write import recorded

    choice = settings if args.parent is not None or settings.kinds else None
    inputs = [args.dataset / "particles.parquet", *reads(settings, args.parent)]
    with recorded("select", args.out, settings, inputs=inputs) as record:
        table = select(args.dataset, args.out, choice, args.parent)
        record.chosen = chosen(table, args.out, choice, args.parent)
