"""`tomopipe branch`: a child branch in the config file, from what was seen of its parent."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any, Literal

HELP = "add a child branch to a config: clusters, a region or a file of particles"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("name", metavar="NAME", help="name of the new branch")
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("config/config.yaml"),
        metavar="FILE",
        help="config file to add it to (default: config/config.yaml)",
    )
    parser.add_argument("--parent", required=True, help="branch whose particles it starts from")
    _add_select(parser)
    parser.add_argument("--dataset", metavar="D", help="data set (default: the parent's)")
    parser.add_argument(
        "--stages",
        nargs="+",
        metavar="STAGE",
        help="stages to run (default: those of --like, else of the parent)",
    )
    parser.add_argument(
        "--like", metavar="OTHER", help="branch whose settings to copy (default: the parent)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print it, and leave the file")


def _add_select(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "particles", "several must all agree; none: the branch waits for a decision in the file"
    )
    clusters = group.add_mutually_exclusive_group()
    clusters.add_argument(
        "--clusters", nargs="+", type=int, metavar="N", help="clusters of the parent to keep"
    )
    clusters.add_argument(
        "--drop", nargs="+", type=int, metavar="N", help="clusters of the parent to leave"
    )
    group.add_argument("--junk", action="store_true", help="leave what the parent calls junk")
    group.add_argument("--largest", type=int, metavar="N", help="the N largest clusters")
    group.add_argument(
        "--region",
        nargs="+",
        metavar="COLUMN=LOW:HIGH",
        help="ranges of latent or other coordinates, such as z0=-1:0.5",
    )
    group.add_argument(
        "--file", metavar="UIDS", help="uids to keep: text (one a line), parquet, CSV or STAR"
    )
    group.add_argument("--all", action="store_true", help="everything that the parent kept")


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    import yaml

    from tomopipe.config.child import child_branch
    from tomopipe.config.cycles import written_name
    from tomopipe.config.edit import with_branch
    from tomopipe.config.run import parse_config, read_config
    from tomopipe.io.atomic import write_text

    config = read_config(args.config)
    text = args.config.read_bytes().decode("utf-8")  # as it is, line ends too
    raw = yaml.safe_load(text)
    branches = raw["branches"]
    select, said = _select(args, Path(config.results) / "branches" / args.parent)
    # rounds and replicates too: each has the settings of the branch that is written
    known = {name: branches[written_name(name, made)] for name, made in config.branches.items()}
    child = child_branch(
        known, args.parent, select, dataset=args.dataset, stages=args.stages, like=args.like
    )
    parse_config(raw | {"branches": branches | {args.name: child}}, str(args.config))
    edited = with_branch(text, args.name, child, str(args.config))
    if not args.dry_run:
        write_text(args.config.resolve(), edited.text)  # a link stays one
    print(_report(args, edited.added, said, decided=bool(select)))


def _select(args: argparse.Namespace, parent: Path) -> tuple[dict[str, Any], list[str]]:
    """What `select` of the branch says, and sentences on how many particles that is."""
    given = {
        "all": args.all or None,
        "junk": "auto" if args.junk else None,
        "largest": args.largest,
        "file": args.file,
    }
    select: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    chosen, said = _of_analysis(args, parent)
    return chosen | select, said


def _of_analysis(args: argparse.Namespace, parent: Path) -> tuple[dict[str, Any], list[str]]:
    """Clusters and region of `select`, tied to the parent's analysis, with a sentence on each."""
    labels = args.clusters or args.drop
    if not (labels or args.region):
        return {}, []
    from tomopipe.analysis.choose import choose_clusters, choose_region
    from tomopipe.config.child import region_of

    select: dict[str, Any] = {}
    said = []
    if labels:
        how: Literal["keep", "drop"] = "keep" if args.clusters else "drop"
        select["clusters"], words = choose_clusters(parent, how, labels)
        said += [f"The clusters chosen hold {words}."] if words else []
    if args.region:
        region, words = choose_region(parent, region_of(args.region))
        select |= region
        said += [f"The region holds {words}."] if words else []
    return select, said


def _report(args: argparse.Namespace, added: str, said: list[str], *, decided: bool) -> str:
    file = shlex.quote(str(args.config))
    lines = [f"{'would add' if args.dry_run else 'added'} to {args.config}:", "", added, "", *said]
    if not decided:
        lines.append(f"It waits until branches.{args.name}.select is filled in.")
    return "\n".join([*lines, f"run: snakemake --configfile {file}"])
