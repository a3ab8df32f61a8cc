"""The decision that a branch's particles were chosen by."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.analysis.selection import read_selection
from tomopipe.config.analysis import Select
from tomopipe.config.run import files_read
from tomopipe.io.atomic import fingerprint, read_parquet
from tomopipe.lineage.record import Chosen


def reads(select: Select, parent: Path | None) -> list[Path]:
    """Files that a selection reads, besides the particles of its data set."""
    if parent is None:
        return []
    of_parent = {file for files in files_read(select).values() for file in files}
    named = [Path(part.file) for part in select.parts() if part.file]
    return [parent / "selected.parquet", *(parent / file for file in sorted(of_parent)), *named]


def chosen(table: pd.DataFrame, out: Path, select: Select | None, parent: Path | None) -> Chosen:
    """What `select` has kept for a branch (`table`: uid, kept), and by which decision."""
    kept = table.loc[table["kept"].astype(bool), "uid"].astype(str).tolist()
    clusters = by = None
    if select is not None and parent is not None:
        files = {file for files in files_read(select).values() for file in files}
        if "analysis/clusters.parquet" in files:
            found = read_parquet(parent / "analysis" / "clusters.parquet")
            clusters = clusters_fingerprint(found)
            if "selection.yaml" in files:
                decided = read_selection(parent / "selection.yaml", found)
                by = "person" if decided.person else "automatic"
    return Chosen(
        branch=out.absolute().parent.name,
        parent=parent.name if parent is not None else None,
        decision=select.model_dump(mode="json", by_alias=True, exclude_none=True) if select else {},
        clusters=clusters,
        decided_by=by,
        kept=len(kept),
        of=len(table),
        particles=fingerprint(kept),
    )
