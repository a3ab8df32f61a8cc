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
        If selection.yaml was decided on other clusters.
    """
    from tomopipe.analysis.selection import read_selection
    from tomopipe.io.atomic import read_parquet

    clusters = read_parquet(branch / "analysis" / "clusters.parquet")
    label = dict(zip(clusters["uid"].astype(str), clusters["cluster"].astype(int), strict=True))
    junk: set[int] = set()
    if decided and (branch / "selection.yaml").exists():
        decisions = read_selection(branch / "selection.yaml", clusters).decisions
        junk = {cluster for cluster, decision in decisions.items() if decision == "junk"}
    uids = [uid for uid in kept_uids(branch / "selected.parquet") or [] if uid in label]
    named = {
        "kept": [uid for uid in uids if label[uid] not in junk],
        "junk": [uid for uid in uids if label[uid] in junk],
    }
    for cluster in sorted(set(label.values())):
        named[f"cluster_{cluster:02d}"] = [uid for uid in uids if label[uid] == cluster]
    return {name: members for name, members in named.items() if members}
