"""`tomopipe agreement`: how far replicates of a branch agree."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "say how far fits with other seeds agree: clusters, and latents"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "analyses",
        type=Path,
        nargs="+",
        metavar="ANALYSIS",
        help="folders of `tomopipe analyze`, the branch's own first",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for agreement.json")


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.analysis.agreement import agreement
    from tomopipe.lineage.write import recorded

    files = ("latents.parquet", "clusters.parquet")
    inputs = [folder / name for folder in args.analyses for name in files]
    with recorded("agreement", args.out, inputs=inputs):
        found = agreement(args.analyses, args.out)
    for row in found["clusters"]:
        word = "stable" if row["stable"] else "not stable"
        print(f"cluster {row['cluster']}: {word}, mean Jaccard index {row['mean']:.2f}")
