"""Which particles a branch keeps: its parent's, less what its selection leaves, with reasons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tomopipe.analysis.kinds import judge
from tomopipe.analysis.latent import Array
from tomopipe.config.analysis import Select
from tomopipe.errors import ConfigError, StateError
from tomopipe.io.atomic import read_parquet, write_parquet


def select(
    dataset: Path, out: Path, choice: Select | None = None, parent: Path | None = None
) -> pd.DataFrame:
    """Write `selected.parquet` (uid, kept, reason) of a branch, one row per particle.

    Rows are the particles of the branch's data set, in its order. Several kinds in `choice` must
    all agree; the first that does not gives the reason. In `any_of` the first that keeps a particle
    gives it, or else all of them; what `not` leaves is `excluded: …` with the reason inside.

    Parameters
    ----------
    dataset
        Folder of the branch's data set, with `particles.parquet`.
    out
        The table to write.
    choice
        The selection; None for a root, which keeps everything.
    parent
        Folder of the parent branch, with `selected.parquet` and what `choice` refers to.

    Raises
    ------
    ConfigError
        If `parent` and `choice` are not given together, or `choice` is undecided or names
        something that does not exist.
    StateError
        If results of the parent are missing, stale, or hold other particles, if the data set lacks
        kept particles, or if nothing would be kept.
    """
    uids = read_parquet(dataset / "particles.parquet")["uid"].to_numpy(object)
    if (parent is None) != (choice is None):
        raise ConfigError("a branch needs both parent and select, or neither: complete its config")
    if parent is None or choice is None:
        table = pd.DataFrame({"uid": uids, "kept": True, "reason": "all"})
    else:
        if not choice.decided:
            raise ConfigError(
                "select is undecided, or one inside it is: write junk, clusters, largest, region, "
                "file or quality"
            )
        table = _selected(uids, read_parquet(parent / "selected.parquet"), choice, parent, dataset)
    if not table["kept"].any():
        raise StateError(
            f"the selection ({', '.join(choice.kinds) if choice else 'all'}) keeps none of "
            f"{len(table)} particles: widen it"
        )
    write_parquet(out, table)
    return table


def _selected(
    uids: Array, before: pd.DataFrame, choice: Select, parent: Path, dataset: Path
) -> pd.DataFrame:
    known = before.set_index("uid")
    candidates = before.loc[before["kept"].astype(bool), "uid"].to_numpy(object)
    missing = candidates[~pd.Index(candidates).isin(pd.Index(uids))]
    if len(missing) and not choice.allow_missing:
        raise StateError(
            f"{dataset} lacks {len(missing)} of the {len(candidates)} particles that "
            f"{parent.name} kept, the first is {missing[0]!r}: use a data set of the same "
            "particles, or set allow_missing"
        )
    table = pd.DataFrame({"uid": np.concatenate([uids, missing])})
    position = pd.Index(known.index).get_indexer(pd.Index(table["uid"]))
    kept = (position >= 0) & known["kept"].to_numpy(bool)[position]
    reason = np.where(
        position < 0, f"not in {parent.name}", known["reason"].to_numpy(object)[position]
    ).astype(object)
    absent = table["uid"].isin(set(missing)).to_numpy()
    rows = np.flatnonzero(kept & ~absent)
    verdict = judge(table["uid"].to_numpy(object)[rows], choice, parent, dataset)
    kept[rows], reason[rows] = verdict.kept, verdict.reason
    kept[absent], reason[absent] = False, "absent"
    return table.assign(kept=kept, reason=reason)
