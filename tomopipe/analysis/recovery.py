"""What a run on simulated particles recovered, measured against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from tomopipe.config import Config
from tomopipe.config.simulate import SimulateSettings
from tomopipe.config.simulate_tilt_series import TiltSeriesSimulation
from tomopipe.config.states import StatesSettings
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, read_parquet
from tomopipe.io.mrc import read_volume
from tomopipe.models import load_model
from tomopipe.physics.fsc import fsc
from tomopipe.simulate.states import rendered

_SAMPLED = 100  # particles whose own volume is compared with their own truth (CryoBench)
_MOVING_SHARE = 0.6  # a branch shows a motion if this share of its particles has a coordinate


@dataclass(frozen=True)
class _Branch:
    """What recovery reads of a branch: its clusters and latents by uid, and its folder."""

    name: str
    folder: Path
    model: Path
    clusters: pd.Series[Any]
    latents: pd.DataFrame


def recovery(config: Config, results: Path) -> dict[str, Any]:
    """Figures of every simulated data set; the first one's headline figures at the top level.

    - `ari`: adjusted Rand index over **all** particles between the true states (junk is one of
      them) and what the run says: the cluster in the state branch, or junk where a selection
      dropped the particle before it. The state branch is the deepest one that selects by junk,
      else the root.
    - `spearman`: |Spearman correlation| of the 1-D coordinate with the true one in the branch
      where most particles move.
    - `fsc_area`: mean over particles of the area under the FSC (mean over shells) between the
      volume decoded at a particle's latents and its own true volume: 100 particles at an even
      stride, as CryoBench defines it.

    Raises
    ------
    StateError
        If no data set is simulated, or results are missing.
    """
    simulated = [name for name in config.datasets if config.truth_of(name)]
    if not simulated:
        raise StateError(
            "no dataset of this config is simulated: there is no truth to compare with"
        )
    found = {name: _dataset(config, results, name) for name in simulated}
    return {**found[simulated[0]], "datasets": found}


def _dataset(config: Config, results: Path, name: str) -> dict[str, Any]:
    truth, shape = _truth(config, results, name)
    branches = {
        b: _read(config, results, b)
        for b in config.branches
        if config.dataset_of(b) == name
        and config.is_ready(b)
        and config.branches[b].analysis is not None
    }
    if not branches:
        return {"ari": None, "spearman": None, "fsc_area": None, "branches": {}}
    state = branches[_state_branch(config, list(branches))]
    motion = _motion(branches, truth)
    said = _said(state, truth)
    return {
        "ari": float(adjusted_rand_score(truth["state"], said)),
        "spearman": motion["spearman"],
        "fsc_area": _fsc_area(state, truth, shape),
        "state_branch": state.name,
        "motion_branch": motion["branch"],
        "confusion": _confusion(truth["state"], said),
        "junk": _junk(truth["junk"], said == "junk"),
        "states": _states(state, truth, shape),
        "perturbation": _perturbation(shape.settings),
        "branches": {b: _branch_figures(branch, truth) for b, branch in branches.items()},
    }


@dataclass(frozen=True)
class _Shape:
    """What particles of a simulation look like on the grid of a data set's images."""

    settings: StatesSettings
    box: int
    pixel_size: float

    def __call__(self, state: str, coordinate: float) -> Tensor:
        """True map `(box, box, box)`."""
        return rendered(self.settings, state, coordinate, self.box, self.pixel_size)


def _truth(config: Config, results: Path, name: str) -> tuple[pd.DataFrame, _Shape]:
    """Truth of the particles of a data set by uid, and their true maps."""
    folder = results / str(config.truth_of(name))
    truth = read_parquet(folder / "truth.parquet").set_index("uid")
    raw = read_json(folder / "simulation.json")["settings"]
    extract = config.datasets[name].extract
    if extract is None:
        settings = SimulateSettings.model_validate(raw)
        return truth, _Shape(settings, settings.box, settings.pixel_size_angstrom)
    # only some of the simulated particles may have been extracted
    there = read_parquet(results / "datasets" / name / "particles.parquet")["uid"]
    shape = _Shape(
        TiltSeriesSimulation.model_validate(raw), extract.box, extract.pixel_size_angstrom
    )
    return truth[truth.index.isin(there)], shape


def _perturbation(settings: StatesSettings) -> dict[str, float]:
    """Mean error of the poses and shifts that the simulation wrote."""
    return {
        "degrees": float(getattr(settings, "perturb_degrees", 0.0)),
        "angstrom": float(getattr(settings, "perturb_angstrom", 0.0)),
    }


def _read(config: Config, results: Path, name: str) -> _Branch:
    folder = results / "branches" / name
    clusters = read_parquet(folder / "analysis" / "clusters.parquet").set_index("uid")["cluster"]
    latents = read_parquet(folder / "analysis" / "latents.parquet").set_index("uid")
    return _Branch(name, folder, folder / config.branches[name].model, clusters, latents)


def _state_branch(config: Config, names: list[str]) -> str:
    """The deepest branch reached by junk selections alone: its particles are all the good ones."""
    best = names[0]
    for name in names:
        line = config.lineage(name)
        selects = [config.branches[b].select for b in line]
        by_junk = all(s is None or tuple(s.kinds) == ("junk",) for s in selects)
        if by_junk and len(line) > len(config.lineage(best)):
            best = name
    return best


def _said(branch: _Branch, truth: pd.DataFrame) -> pd.Series[Any]:
    """Label of every particle of the data set: its cluster as text, or `junk` if it was dropped."""
    return branch.clusters.astype(str).reindex(truth.index).fillna("junk")


def _confusion(state: pd.Series[Any], said: pd.Series[Any]) -> dict[str, dict[str, int]]:
    table = pd.crosstab(state, said)
    return {str(s): {str(c): int(table.loc[s, c]) for c in table.columns} for s in table.index}


def _junk(true: pd.Series[Any], said: pd.Series[Any]) -> dict[str, float | int | None]:
    hits = int((true & said).sum())
    return {
        "true": int(true.sum()),
        "found": int(said.sum()),
        "precision": hits / int(said.sum()) if said.any() else None,
        "recall": hits / int(true.sum()) if true.any() else None,
    }


def _branch_figures(branch: _Branch, truth: pd.DataFrame) -> dict[str, Any]:
    own = truth.loc[branch.clusters.index]
    found = {
        name: told_apart(branch.clusters, wanted)
        for name, wanted in _surroundings(own).items()
        if wanted.any() and not wanted.all()
    }
    return {
        "ari": float(adjusted_rand_score(own["state"], branch.clusters)),
        "spearman": _spearman(branch, truth),
        "particles": len(own),
    } | ({"found": found} if found else {})


def _surroundings(truth: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    """What simulated tomograms know of a particle's surroundings, as yes or no."""
    out = {}
    if "neighbours" in truth:
        out["neighbours"] = truth["neighbours"] != "single"
    if "membrane_bound" in truth:
        out["membrane"] = truth["membrane_bound"].astype(bool)
    return out


def told_apart(clusters: pd.Series[Any], wanted: pd.Series[Any]) -> dict[str, Any]:
    """How well clusters tell the particles that are `wanted` from the others.

    The clusters are joined, those with the largest share of wanted particles first, to the union of
    the best F1; precision, recall and adjusted Rand index are that union's. Choosing the union
    takes the truth, as a person takes the volumes.
    """
    wanted = wanted.loc[clusters.index].astype(bool)
    shares = wanted.groupby(clusters).mean().sort_values(ascending=False)
    best: dict[str, Any] = {"f1": -1.0}
    for count in range(1, len(shares) + 1):
        chosen = sorted(int(c) for c in shares.index[:count])
        said = clusters.isin(chosen)
        hits = int((said & wanted).sum())
        f1 = 2 * hits / max(int(said.sum() + wanted.sum()), 1)
        if f1 > best["f1"]:
            best = {
                "clusters": chosen,
                "f1": f1,
                "precision": hits / max(int(said.sum()), 1),
                "recall": hits / max(int(wanted.sum()), 1),
                "ari": float(adjusted_rand_score(wanted, said)),
            }
    return best


def _spearman(branch: _Branch, truth: pd.DataFrame) -> float | None:
    """|Spearman| of the branch's coordinate with the truth, over the particles that have one."""
    true = truth.loc[branch.latents.index, "coordinate"]
    moving = true.notna()
    if "coordinate" not in branch.latents or moving.sum() < 10:
        return None
    found = branch.latents.loc[moving, "coordinate"]
    return float(abs(spearmanr(found, true[moving], nan_policy="omit").statistic))


def _motion(branches: dict[str, _Branch], truth: pd.DataFrame) -> dict[str, Any]:
    """The branch with the largest share of moving particles, and its correlation."""
    shares = {
        name: float(truth.loc[branch.latents.index, "coordinate"].notna().mean())
        for name, branch in branches.items()
    }
    name = max(shares, key=lambda n: shares[n])
    if shares[name] < _MOVING_SHARE:
        return {"branch": None, "spearman": None}
    return {"branch": name, "spearman": _spearman(branches[name], truth)}


def _fsc_area(branch: _Branch, truth: pd.DataFrame, shape: _Shape) -> float | None:
    """Mean area under the per-particle FSC of an even sample of the branch's good particles."""
    good = truth.loc[branch.latents.index].query("not junk")
    if good.empty:
        return None
    sample = good.iloc[np.unique(np.linspace(0, len(good) - 1, _SAMPLED).astype(int))]
    model = load_model(branch.model)
    columns = [f"z{i}" for i in range(model.zdim)]
    values = branch.latents.loc[sample.index, columns].to_numpy(np.float32, copy=True)
    latents = torch.from_numpy(values)
    areas = []
    for z, row in zip(latents, sample.itertuples(), strict=True):
        own = shape(str(row.state), float(row.coordinate))  # type: ignore[arg-type]
        areas.append(float(fsc(model.volumes(z[None])[0].cpu(), own).mean()))
    return float(np.mean(areas))


def _states(branch: _Branch, truth: pd.DataFrame, shape: _Shape) -> dict[str, Any]:
    """FSC of every state's true map with the volume of the cluster that holds most of it."""
    own = truth.loc[branch.clusters.index, "state"]
    out = {}
    for state in sorted(set(own) & set(shape.settings.states)):
        cluster = int(branch.clusters[own == state].mode().iloc[0])
        volume, _ = read_volume(
            branch.folder / "analysis" / "volumes" / f"cluster_{cluster:02d}.mrc"
        )
        if len(volume) != shape.box:
            continue
        curve = fsc(torch.from_numpy(volume), shape(state, 0.5))
        shells = np.arange(1, len(curve) + 1)
        out[state] = {
            "cluster": cluster,
            "area": float(curve.mean()),
            "frequency_per_angstrom": (shells / (shape.box * shape.pixel_size)).tolist(),
            "fsc": curve.tolist(),
        }
    return out
