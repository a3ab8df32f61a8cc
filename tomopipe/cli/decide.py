"""`tomopipe decide`: selection.yaml, what is kept of a branch's clusters, for a person to edit."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write what `junk` proposes to selection.yaml, unless a person has decided otherwise"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "branch", type=Path, metavar="BRANCH", help="folder with junk.parquet of `tomopipe junk`"
    )
    parser.add_argument(
        "--same-as",
        type=Path,
        metavar="OTHER",
        help="folder of another branch: where BRANCH has taken junk.parquet over from it, its "
        "decisions are copied",
    )


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.analysis.selection import settle
    from tomopipe.lineage.write import recorded

    out = args.branch / "selection.yaml"
    inputs = [args.branch / name for name in ("junk.parquet", "junk_particles.parquet")]
    with recorded("decide", out, inputs=inputs, outputs=lambda: [out]):
        decided = settle(args.branch, args.same_as)
    junk = sum(word == "junk" for word in decided.decisions.values())
    by = "a person's changes kept" if decided.person else "automatic"
    print(f"{len(decided.decisions)} clusters, junk: {junk} ({by})")
