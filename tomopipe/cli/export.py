"""`tomopipe export`: STAR files of kept particles, junk, and every cluster."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import add_dataset, kept_uids
from tomopipe.cli.settings import add_settings, read_settings

HELP = "write STAR files of kept particles, junk and clusters"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.importing import ExportSettings

    add_dataset(parser)
    parser.add_argument(
        "branch",
        type=Path,
        metavar="BRANCH",
        help="folder with selected.parquet, analysis/ and, if there is one, selection.yaml",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for STAR files")
    parser.add_argument(
        "--no-decisions",
        action="store_true",
        help="call no cluster junk, whatever selection.yaml says (of a branch without junk stage)",
    )
    add_settings(parser, ExportSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.importing import ExportSettings

    settings = read_settings(args, ExportSettings)
    from tomopipe.dataset.export import export
    from tomopipe.lineage.write import recorded

    of_branch = ["selected.parquet", "analysis/clusters.parquet"]
    of_branch += [] if args.no_decisions else ["selection.yaml"]
    inputs = [args.dataset / "import.json", args.dataset / "source"]
    inputs += [args.branch / name for name in of_branch]
    with recorded("export", args.out, settings, inputs=inputs):
        export(args.dataset, args.out, groups(args.branch, decided=not args.no_decisions), settings)


def groups(branch: Path, *, decided: bool = True) -> dict[str, list[str]]:
    """Uids by group name: kept, junk (if any), cluster_00 …; junk as selection.yaml decides it.

    If not `decided`, no cluster is junk.

    Raises
    ------
    StateError
        If the clusters lack a particle that the branch keeps, or selection.yaml was decided on
        others.
    """
    import numpy as np

    from tomopipe.analysis.latent import rows_of
    from tomopipe.analysis.selection import read_selection
    from tomopipe.io.atomic import read_parquet

    path = branch / "analysis" / "clusters.parquet"
    clusters = read_parquet(path)
    junk: list[int] = []
    if decided and (branch / "selection.yaml").exists():
        decisions = read_selection(branch / "selection.yaml", clusters).decisions
        junk = [cluster for cluster, decision in decisions.items() if decision == "junk"]
    uids = np.array(kept_uids(branch / "selected.parquet"), dtype=object)
    label = rows_of(clusters, uids, path)["cluster"].to_numpy(int)
    of_junk = np.isin(label, junk)
    named = {"kept": uids[~of_junk], "junk": uids[of_junk]}
    named |= {f"cluster_{cluster:02d}": uids[label == cluster] for cluster in np.unique(label)}
    return {name: members.tolist() for name, members in named.items() if len(members)}
