"""The default combination: linear model, network where it pays, and clusters, in one step."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tomopipe import __version__
from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.analysis.explore import Findings, cluster_table, explore
from tomopipe.analysis.latent import read_latents
from tomopipe.analysis.takeover import OF_ONE_MODEL
from tomopipe.config.analysis import AnalysisSettings
from tomopipe.config.fit import FitSettings
from tomopipe.config.linear import LinearSettings
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.dataset.store import Store
from tomopipe.io.atomic import (
    atomic_directory,
    fingerprint,
    read_json,
    remove_directory,
    write_json,
    write_parquet,
)
from tomopipe.io.lock import locked
from tomopipe.io.unfinished import check_own, state_folder
from tomopipe.training.distributed import pick_device
from tomopipe.training.heldout import Comparison, can_compare, compare
from tomopipe.training.linear import fit_linear
from tomopipe.training.neural import train_heterogeneous

STEP_FORMAT = 8
_LOCK = "fit.lock"  # marks the state as a fit's


def fit(
    store_path: Path,
    out: Path,
    settings: FitSettings | None = None,
    uids: Sequence[str] | None = None,
    state: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Fit a data set without choosing a model; returns what `fit.json` says.

    Leaves the better model's files in `out` (a folder that `analyze` and `volumes` read), with
    `latents.parquet` and `clusters.parquet` (uid, cluster, probability, …; always of the linear
    model's latents) by uid and `fit.json`.
    If the network was better, the linear model stands in `out/linear`.

    Parameters
    ----------
    store_path, uids
        Packed store, and which of its particles (all by default).
    state
        Folder of unfinished work, from which an interrupted fit goes on (by default `out` with
        `.state` behind its name); gone when all is written, but for what others put there.
    device
        auto, cpu, cuda or cuda:N.

    Raises
    ------
    StateError
        If there are too few particles, `uids` are not in the store, another fit works on the
        state, it is a folder of something else, or it and `out` lie one in the other.
    """
    settings = settings or FitSettings()
    work = state_folder(out, state)
    target = pick_device(device)
    store = Store.open(store_path, uids)
    check_own(work, (_LOCK,), "state of a fit")
    with locked(work / _LOCK, work, "fit"):
        record = _fit(store, uids, out, settings, work, target)
        _put_away(work)
    return record


def _fit(
    store: Store,
    uids: Sequence[str] | None,
    out: Path,
    settings: FitSettings,
    work: Path,
    target: torch.device,
) -> dict[str, Any]:
    """Fit, compare, find the states and write `out`; `work` is ours."""
    chosen, compared = _models(store, uids, settings, work, target)
    found = _states(work / "linear", settings)
    clusters = cluster_table(found, store.uids)
    record = {
        "step_format": STEP_FORMAT,
        "version": __version__,
        "model": chosen.name,
        "reason": reason(settings, target, compared),
        "comparison": asdict(compared) if compared is not None else None,
        "clusters": len(found.chosen.centres),
        "device": target.type,
        "method": found.method,
        "fingerprint": clusters_fingerprint(clusters),
        "n_particles": store.n_particles,
        "settings": settings.model_dump(mode="json"),
    }
    with atomic_directory(out, optional=OF_ONE_MODEL) as folder:
        shutil.copytree(chosen, folder, dirs_exist_ok=True)
        if chosen.name == "network":
            shutil.copytree(work / "linear", folder / "linear")
        write_parquet(folder / "clusters.parquet", clusters)
        write_json(folder / "fit.json", record)
    return record


def _put_away(work: Path) -> None:
    """Remove what fits have left in their state; what others put there stays."""
    for name in ("network", "network.state", "linear"):
        if (work / name).is_dir():
            remove_directory(work / name)
    for half in (*work.glob(".network.*"), *work.glob(".linear.*")):  # of fits that were killed
        shutil.rmtree(half, ignore_errors=True)
    (work / _LOCK).unlink()
    with suppress(OSError):  # not empty, or in a folder that we may not write to
        work.rmdir()


def _states(model: Path, settings: FitSettings) -> Findings:
    """Clusters of the linear model's latents, by the method that `analyze` takes too.

    Also where the network was better: by its own latents states are found less surely
    (docs/benchmarks/models.md).
    """
    wanted = AnalysisSettings(
        clusters=settings.clusters, umap=False, coordinate=False, seed=settings.seed
    )
    return explore(read_latents(model / "latents.parquet"), wanted, others=False)


def _models(
    store: Store,
    uids: Sequence[str] | None,
    settings: FitSettings,
    work: Path,
    device: torch.device,
) -> tuple[Path, Comparison | None]:
    """Fit both models below `work`, or what is left to do of them; folder of the better one."""
    linear, network = work / "linear", work / "network"
    if not _is_done(linear, settings.linear, store):
        if network.exists():
            remove_directory(network)  # it began from another linear model
        fit_linear(store.path, linear, settings.linear, uids, device)
    wanted = settings.heterogeneous
    if not wants_network(settings, device) or not can_compare(store, wanted):
        return linear, None
    if not _is_done(network, wanted, store):
        train_heterogeneous(store.path, network, wanted, uids, linear=linear, device=str(device))
    compared = compare(store, linear, network, device)
    return network if compared.network_wins else linear, compared


def wants_network(settings: FitSettings, device: torch.device) -> bool:
    """Whether a network is trained at all."""
    return settings.network == "always" or (settings.network == "auto" and device.type == "cuda")


def reason(settings: FitSettings, device: torch.device, compared: Comparison | None) -> str:
    """Why the model was taken, in a sentence for the report."""
    if compared is None:
        if settings.network == "never":
            return "The linear model was taken: no network was asked for."
        if wants_network(settings, device):
            return (
                "The linear model was taken: a network is judged by tilts held out of its "
                "training, and there are none (a particle needs four tilts, and "
                "`validation_fraction` must be above 0). `heterogeneous:` trains one unjudged."
            )
        return (
            f"The linear model was taken: on a {device.type.upper()} a network is trained only "
            "with `network: always`."
        )
    figures = (
        f"on tilts that its training had not seen ({compared.particles} particles, "
        f"{abs(compared.sigmas):.1f} standard errors)"
    )
    if compared.network_wins:
        return (
            f"The network was taken: it predicts better than the linear model {figures}, by "
            f"{100 * compared.gain:.0f} % of what the linear model gains over one mean volume."
        )
    word = "worse" if compared.sigmas < 0 else "no better beyond chance"
    return f"The linear model was taken: the network predicts {word} {figures}."


def _is_done(model: Path, settings: LinearSettings | HeterogeneousSettings, store: Store) -> bool:
    """Whether an interrupted fit has left this model."""
    if not (model / "config.json").is_file():
        return False
    record = read_json(model / "config.json")
    wanted = {
        "version": __version__,
        "particles": fingerprint(list(store.uids)),
        "store": fingerprint(store.meta),
    }
    same = all(record.get(name) == value for name, value in wanted.items())
    return same and settings.decide_as(record.get("settings", {}))
