"""`tomopipe classes`: every cluster's own particles against the model's volume."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import add_device, add_same_as, add_store, is_taken_over
from tomopipe.cli.settings import add_settings, read_settings

HELP = "reconstruct every cluster in two halves and compare it with the model's volume"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.reconstruct import ClassesSettings

    add_store(parser)
    parser.add_argument(
        "analysis", type=Path, metavar="ANALYSIS", help="folder made by `tomopipe analyze`"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for maps and tables")
    add_device(parser)
    add_same_as(parser)
    add_settings(parser, ClassesSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.reconstruct import ClassesSettings

    settings = read_settings(args, ClassesSettings)
    from tomopipe.lineage.write import recorded
    from tomopipe.reconstruct.classes import validate_classes
    from tomopipe.training.distributed import pick_device

    inputs = [args.store, args.analysis / "clusters.parquet", args.analysis / "volumes"]
    with recorded("classes", args.out, settings, inputs=inputs):
        if is_taken_over(args, "classes", settings):
            return
        found = validate_classes(
            args.store, args.analysis, args.out, settings, device=pick_device(args.device)
        )
    for row in found["classes"]:
        word = "supported" if row["supported"] else "not supported"
        print(f"cluster {row['cluster']}, {row['particles']} particles: {word}: {row['reason']}")
