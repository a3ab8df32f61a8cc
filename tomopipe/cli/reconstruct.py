"""`tomopipe reconstruct`: the map of any particles, with everything that judges it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tomopipe.cli.arguments import add_device, add_particles, add_store, kept_uids
from tomopipe.cli.settings import add_settings, read_settings
from tomopipe.errors import ConfigError, StateError

if TYPE_CHECKING:
    import pandas as pd

HELP = "back-project any particles: half-maps, FSC, mask, local resolution, sharpened map"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.reconstruct import ReconstructSettings

    add_store(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for maps and fsc.csv")
    add_particles(parser)
    parser.add_argument(
        "--clusters", type=Path, metavar="TABLE", help="clusters.parquet of an analysis"
    )
    parser.add_argument(
        "--cluster", type=int, nargs="+", metavar="N", help="only particles of these clusters"
    )
    parser.add_argument(
        "--uids", type=Path, metavar="FILE", help="only these particles: text, CSV, parquet or STAR"
    )
    add_device(parser)
    add_settings(parser, ReconstructSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.reconstruct import ReconstructSettings

    settings = read_settings(args, ReconstructSettings)
    uids = chosen_uids(args)
    from tomopipe.lineage.write import recorded
    from tomopipe.reconstruct.particles import reconstruct
    from tomopipe.training.distributed import pick_device

    device = pick_device(args.device)
    mask = Path(settings.mask) if settings.mask not in ("auto", "sphere") else None
    inputs = [args.store, args.particles, args.clusters, args.uids, mask]
    with recorded("reconstruct", args.out, settings, inputs=inputs):
        found = reconstruct(args.store, args.out, settings, uids=uids, device=device)
    print(
        f"{found['n_particles']} particles: {found['resolution_0143_angstrom']:.1f} Å at FSC "
        f"0.143, {found['resolution_05_angstrom']:.1f} Å at FSC 0.5"
    )


def chosen_uids(args: argparse.Namespace) -> list[str] | None:
    """Uids that selection, clusters and file all name; None where none of them is given.

    Raises
    ------
    ConfigError
        If only one of --clusters and --cluster is given.
    StateError
        If no particle is left, or the table is not one of clusters.
    """
    if (args.clusters is None) != (args.cluster is None):
        raise ConfigError("--cluster: give --clusters TABLE and --cluster N together")
    lists = [kept_uids(args.particles)]
    if args.clusters is not None:
        lists.append(_of_clusters(args.clusters, args.cluster))
    if args.uids is not None:
        from tomopipe.analysis.uids import read_uids

        lists.append(read_uids(args.uids, args.store.parent))
    given = [uids for uids in lists if uids is not None]
    if not given:
        return None
    common = set(given[0]).intersection(*given[1:])
    if not common:
        raise StateError(
            f"{args.store}: no particle is in all of --particles, --cluster and --uids: "
            "leave one of them out"
        )
    return [uid for uid in given[0] if uid in common]


def _of_clusters(path: Path, labels: list[int]) -> list[str]:
    from tomopipe.io.atomic import read_parquet

    table: pd.DataFrame = read_parquet(path)
    if not {"uid", "cluster"} <= set(table.columns):
        raise StateError(f"{path}: has no columns uid and cluster; give a clusters.parquet")
    known = set(table["cluster"].unique().tolist())
    for label in labels:
        if label not in known:
            raise ConfigError(
                f"--cluster: {path} has no cluster {label}; it has "
                f"{', '.join(str(k) for k in sorted(known))}"
            )
    members = table["cluster"].isin(labels)
    return [str(uid) for uid in table.loc[members, "uid"]]
