"""Junk: evidence on every cluster and an automatic decision, which a person can then change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tomopipe import __version__
from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.analysis.decide import decide
from tomopipe.analysis.evidence import gather_evidence
from tomopipe.analysis.latent import read_latents
from tomopipe.config.analysis import JunkSettings
from tomopipe.dataset.store import Store
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, read_parquet, write_parquet


def find_junk(
    store_path: Path,
    model_dir: Path,
    analysis_dir: Path,
    consensus_dir: Path,
    out: Path,
    settings: JunkSettings,
) -> pd.DataFrame:
    """Judge which clusters are junk: writes `junk.parquet`, from which `settle` makes decisions.

    Parameters
    ----------
    store_path, model_dir, analysis_dir, consensus_dir
        Results of the branch.
    out
        Table of `gather_evidence` with shares, decision and reason, a row per cluster, and the
        settings among its attributes. Beside it
        `junk_particles.parquet`: uid, cluster, signal (1 = mean of the good clusters' particles),
        error.
    settings
        Limits.

    Raises
    ------
    StateError
        If results do not belong together.
    """
    clusters = read_parquet(analysis_dir / "clusters.parquet")
    made_on = read_json(analysis_dir / "analysis.json").get("fingerprint")
    if made_on != clusters_fingerprint(clusters):
        raise StateError(
            f"{analysis_dir}/clusters.parquet does not belong to its analysis.json: "
            "run `tomopipe analyze` again"
        )
    uids = clusters["uid"].to_numpy(object)
    store = Store.open(store_path, list(uids))
    latents = read_latents(model_dir / "latents.parquet", uids)
    evidence, particles = gather_evidence(
        store, latents, clusters, analysis_dir, consensus_dir, settings
    )
    table = decide(evidence, settings)
    good = particles["cluster"].isin(table.loc[table["good"], "cluster"])
    typical = particles.loc[good, "signal"].mean()
    particles["signal"] = particles["signal"] / typical if typical > 0 else np.nan
    write_parquet(out.with_name("junk_particles.parquet"), particles)
    table.attrs |= {"settings": settings.model_dump(mode="json"), "version": __version__}
    write_parquet(out, table)
    return table
