"""Junk: evidence on every cluster and an automatic decision that a person can change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.analysis.decide import decide
from tomopipe.analysis.evidence import gather_evidence
from tomopipe.analysis.latent import read_latents
from tomopipe.analysis.selection import looks_edited, read_selection, write_selection
from tomopipe.config.analysis import JunkSettings
from tomopipe.dataset.store import Store
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, read_parquet, write_parquet


def find_junk(
    store_path: Path,
    model_dir: Path,
    analysis_dir: Path,
    consensus_dir: Path,
    out_selection: Path,
    out_evidence: Path,
    settings: JunkSettings,
) -> pd.DataFrame:
    """Decide which clusters are junk: writes `selection.yaml` and `junk.parquet`.

    A selection.yaml that a person has changed is left as it is when it belongs to these clusters.

    Parameters
    ----------
    store_path, model_dir, analysis_dir, consensus_dir
        Results of the branch.
    out_selection
        Editable decisions, see `tomopipe.analysis.selection`.
    out_evidence
        Table of `gather_evidence` with shares, decision and reason, a row per cluster, and the
        settings among its attributes. Beside it
        `junk_particles.parquet`: uid, cluster, signal (1 = the good clusters' mean), error.
    settings
        Limits.

    Raises
    ------
    StateError
        If results do not belong together, or a person's decisions were made on other clusters.
    """
    clusters = read_parquet(analysis_dir / "clusters.parquet")
    fingerprint = clusters_fingerprint(clusters)
    if read_json(analysis_dir / "analysis.json").get("fingerprint") != fingerprint:
        raise StateError(
            f"{analysis_dir}/clusters.parquet does not belong to its analysis.json: "
            "run `tomopipe analyze` again"
        )
    edited = _edited_by_person(out_selection, clusters)
    uids = clusters["uid"].to_numpy(object)
    store = Store.open(store_path, list(uids))
    latents = read_latents(model_dir / "latents.parquet", uids)
    evidence, particles = gather_evidence(
        store, latents, clusters, analysis_dir, consensus_dir, settings
    )
    table = decide(evidence, settings)
    typical = table.loc[table["good"], "signal"].mean()
    particles["signal"] = particles["signal"] / typical if typical > 0 else np.nan
    write_parquet(out_evidence.with_name("junk_particles.parquet"), particles)
    table.attrs["settings"] = settings.model_dump(mode="json")
    write_parquet(out_evidence, table)
    if not edited:
        write_selection(out_selection, table, fingerprint)
    return table


def _edited_by_person(path: Path, clusters: pd.DataFrame) -> bool:
    """Whether `path` holds a person's decisions on these clusters.

    Raises
    ------
    StateError
        If it holds a person's decisions on other clusters: they are not overwritten.
    """
    if not path.exists():
        return False
    text = path.read_text(encoding="utf-8")
    try:
        return read_selection(path, clusters).person
    except StateError:
        if not looks_edited(text):
            return False
        raise
