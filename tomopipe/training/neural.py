"""Training the neural models, from a store to a model on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tomopipe.config.training import (
    HeterogeneousSettings,
    HomogeneousSettings,
    TrainingSettings,
)
from tomopipe.dataset.reader import Reader, open_reader
from tomopipe.dataset.store import Store
from tomopipe.errors import ConfigError, InputError
from tomopipe.io.atomic import fingerprint, write_parquet
from tomopipe.io.mrc import write_volume
from tomopipe.io.unfinished import state_folder
from tomopipe.models.allocation import keep_freed_memory
from tomopipe.models.homogeneous import HomogeneousModel
from tomopipe.models.mean import FixedVolumes
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.distributed import Group, pick_device
from tomopipe.training.encoding import Encoding
from tomopipe.training.inference import embed, held_out_error
from tomopipe.training.loop import EndOfEpoch, Run, Stop, fit
from tomopipe.training.objective import (
    HeterogeneousObjective,
    HomogeneousObjective,
    Objective,
    concatenated_tilts,
)
from tomopipe.training.publish import latents_table, publish, retract
from tomopipe.training.snapshots import publish_snapshots, read_snapshot, save_snapshot
from tomopipe.training.splits import TiltSplit, hold_out, numpy_rng
from tomopipe.training.state import RunState
from tomopipe.training.stopping import judge, should_stop
from tomopipe.training.verdict import latent_shift
from tomopipe.training.warmstart import fixed_volumes, warm_start, warm_start_fingerprint

_VALIDATION = 4  # stream of random numbers


@dataclass(frozen=True)
class _Place:
    """Store, its reader on the device, processes and held-out tilts of a run."""

    store: Store
    reader: Reader
    group: Group
    split: TiltSplit

    @property
    def target(self) -> torch.device:
        """The device."""
        return self.reader.device

    @property
    def machine(self) -> dict[str, Any]:
        """What it ran on, for the record."""
        return {"device": self.target.type, "processes": self.group.size}


def train_heterogeneous(
    store_path: Path,
    out: Path,
    settings: HeterogeneousSettings | None = None,
    uids: Sequence[str] | None = None,
    state: Path | None = None,
    linear: Path | None = None,
    consensus: Path | None = None,
    device: str | None = None,
) -> None:
    """Train the variational autoencoder and embed every particle.

    Leaves `model.safetensors`, `config.json`, `metrics.jsonl`, `latents.parquet` (uid, z…, sd…,
    error) and `snapshots/` in `out`. An interrupted run goes on from its last checkpoint in
    `state` (by default `out` with `.state` behind its name), which is removed when all is written.

    Parameters
    ----------
    store_path, uids
        Packed store, and which of its particles (all by default).
    linear, consensus
        Directories of the linear model and of the consensus, for a warm start.
    device
        Overrides the setting of that name.

    Raises
    ------
    TrainingError
        If the loss is no longer finite.
    StateError
        If the state belongs to other settings or data, another process works on it, it is a folder
        of something else, or it and `out` lie one in the other.
    """
    settings = settings or HeterogeneousSettings()
    place = _prepare(store_path, settings, uids, device)
    store, group = place.store, place.group
    model = _new_model(settings, place, linear, consensus)
    objective = HeterogeneousObjective(model, place.reader, place.split)
    encoding = objective.encoding
    run_state = _state(out, state, settings, store, (linear, consensus))
    validation = _validation_particles(store, settings)
    end_of_epoch = partial(_after_epoch, encoding, place, run_state, validation)
    stop = partial(should_stop, rule=settings.stop)
    with run_state.held(group):
        if not run_state.record.is_file():
            warm_start(objective, linear)
        run = _run(model, objective, place, run_state, end_of_epoch, stop)
        metrics = fit(run)
        model.eval()
        z, spread = embed(model, store, place.target, group, encoding)
        shells = held_out_error(model, place.reader, place.split, group=group, encoding=encoding)
        error = shells.normalised()
        if group.leads:
            retract(out)
            publish_snapshots(run_state.snapshots, out / "snapshots", len(metrics))
            write_parquet(out / "latents.parquet", latents_table(store, z, spread, error))
            said = {"verdict": judge(metrics).sentence}
            publish(out, model, metrics, store, said | place.machine)
            run_state.put_away(out)
        group.barrier()


def train_homogeneous(
    store_path: Path,
    out: Path,
    settings: HomogeneousSettings | None = None,
    uids: Sequence[str] | None = None,
    state: Path | None = None,
    consensus: Path | None = None,
    device: str | None = None,
) -> None:
    """Train one map of all particles; leaves model, config, metrics and `map.mrc` in `out`.

    Parameters and errors are those of `train_heterogeneous`.
    """
    settings = settings or HomogeneousSettings()
    place = _prepare(store_path, settings, uids, device)
    store, group = place.store, place.group
    fixed = fixed_volumes(store, consensus=consensus, add=settings.warm_start)
    torch.manual_seed(settings.seed)
    model = HomogeneousModel(
        settings, box=store.box, pixel_size=store.pixel_size, scale=store.scale, fixed=fixed
    ).to(place.target)
    run_state = _state(out, state, settings, store, (consensus,))
    validation = _validation_particles(store, settings)

    def end_of_epoch(epoch: int) -> dict[str, Any]:
        shells = held_out_error(
            model, place.reader, place.split, validation, group, settings.fraction
        )
        return {"validation": shells.loss, "validation_zero": shells.loss_of_zero}

    with run_state.held(group):
        objective = HomogeneousObjective(model, place.reader, place.split)
        run = _run(model, objective, place, run_state, end_of_epoch, lambda metrics: False)
        metrics = fit(run)
        model.eval()
        if group.leads:
            retract(out)
            write_volume(out / "map.mrc", model.volume().numpy(), store.pixel_size)
            publish(out, model, metrics, store, place.machine)
            run_state.put_away(out)
        group.barrier()


def _prepare(
    store_path: Path, settings: TrainingSettings, uids: Sequence[str] | None, device: str | None
) -> _Place:
    """Open what a run works on and with."""
    target = pick_device(device or settings.device)
    if target.type == "cuda" and settings.deterministic:
        # sums by atomics come in any order; these forms give the same numbers every time
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    group = Group.join(target)
    store = Store.open(store_path, uids)
    if store.n_particles == 0:
        raise InputError(f"{store_path}: no particle is selected, so there is nothing to train on")
    if min(settings.batch, store.n_particles) < group.size:
        raise ConfigError(
            f"batch is {settings.batch}, but {group.size} processes share it: "
            f"make it at least {group.size}"
        )
    split = hold_out(
        list(store.uids), store.images_per_particle, settings.validation_fraction, settings.seed
    )
    keep_freed_memory()
    return _Place(store, open_reader(store, target, settings.memory_gb), group, split)


def _run(
    model: HeterogeneousModel | HomogeneousModel,
    objective: Objective,
    place: _Place,
    run_state: RunState,
    end_of_epoch: EndOfEpoch,
    stop: Stop,
) -> Run:
    # processes made their models alike, but not always to the last bit: sums by atomics, other GPUs
    place.group.share_out(model.state_dict().values())
    return Run(
        model,
        objective,
        place.store,
        model.settings,
        run_state,
        place.group,
        end_of_epoch,
        stop,
        ahead=place.target.type == "cuda",
    )


def _new_model(
    settings: HeterogeneousSettings, place: _Place, linear: Path | None, consensus: Path | None
) -> HeterogeneousModel:
    """The network as it begins, with the fixed volumes of its warm start."""
    store = place.store
    fixed = FixedVolumes.none(store.box)
    if settings.warm_start:
        fixed = fixed_volumes(store, consensus=consensus, linear=linear, zdim=settings.zdim)
    torch.manual_seed(settings.seed)
    return HeterogeneousModel(
        settings,
        box=store.box,
        pixel_size=store.pixel_size,
        scale=store.scale,
        tilts=concatenated_tilts(settings, place.split),
        fixed=fixed,
    ).to(place.target)


def _after_epoch(
    encoding: Encoding,
    place: _Place,
    run_state: RunState,
    validation: NDArray[np.int64],
    epoch: int,
) -> dict[str, Any]:
    """Numbers of an epoch, and its snapshot."""
    model, group = encoding.model, place.group
    z, _ = embed(model, place.store, place.target, group, encoding)
    shells = held_out_error(
        model, place.reader, place.split, validation, group, model.settings.fraction, encoding
    )
    moved = float("nan")
    if epoch > 1:
        moved = latent_shift(read_snapshot(run_state.snapshots, epoch - 1), z)
    if group.leads:
        save_snapshot(run_state.snapshots, epoch, model, z)
    group.barrier()
    return {
        "validation": shells.loss,
        "validation_zero": shells.loss_of_zero,
        "latent_shift": moved,
    }


def _state(
    out: Path,
    state: Path | None,
    settings: TrainingSettings,
    store: Store,
    inputs: Sequence[Path | None],
) -> RunState:
    """The run's state directory, tied to everything its result depends on."""
    identity: dict[str, Any] = settings.deciding()
    identity["particles"] = fingerprint(list(store.uids))
    identity["store"] = fingerprint(store.meta)
    for number, path in enumerate(inputs):
        identity[f"warm start {number + 1}"] = warm_start_fingerprint(path)
    return RunState(state_folder(out, state), identity)


def _validation_particles(store: Store, settings: TrainingSettings) -> NDArray[np.int64]:
    """A fixed sample of particles for the held-out loss of each epoch."""
    order = numpy_rng(settings.seed, _VALIDATION).permutation(store.n_particles)
    return np.sort(order[: settings.validation_particles])
