"""`tomopipe junk`: evidence and a proposed decision for every cluster."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import add_same_as, add_store, is_taken_over
from tomopipe.cli.settings import add_settings, read_settings

HELP = "judge every cluster: propose keep, junk or unsure, with reasons"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.analysis import JunkSettings

    add_store(parser)
    parser.add_argument("--model", type=Path, required=True, help="folder of the analysed model")
    parser.add_argument("--analysis", type=Path, required=True, help="folder of `tomopipe analyze`")
    parser.add_argument("--consensus", type=Path, required=True, help="folder of the consensus")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="junk.parquet, a row per cluster; beside it junk_particles.parquet",
    )
    add_same_as(parser)
    add_settings(parser, JunkSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.analysis import JunkSettings

    settings = read_settings(args, JunkSettings)
    from tomopipe.analysis.junk import find_junk
    from tomopipe.lineage.write import recorded

    left = [args.out, args.out.with_name("junk_particles.parquet")]
    of_analysis = ("clusters.parquet", "analysis.json", "volumes")
    inputs = [args.store, args.model / "latents.parquet", args.consensus]
    inputs += [args.analysis / name for name in of_analysis]
    with recorded("junk", args.out, settings, inputs=inputs, outputs=lambda: left):
        if is_taken_over(args, "junk", settings):
            return
        find_junk(args.store, args.model, args.analysis, args.consensus, args.out, settings)
