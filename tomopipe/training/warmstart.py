"""Beginning where cheaper models ended: the consensus map and the linear model's latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomopipe.dataset.reader import Reader
from tomopipe.dataset.store import Store
from tomopipe.errors import StateError
from tomopipe.io.atomic import fingerprint, read_parquet
from tomopipe.io.mrc import read_volume
from tomopipe.models.encoder import VolumeEncoder
from tomopipe.models.linear import LinearModel
from tomopipe.models.mean import FixedVolumes
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.objective import HeterogeneousObjective, trainable
from tomopipe.training.splits import TiltSplit, numpy_rng

_STREAM = 3
_SUBSPACE = 5
_BATCH = 32
_SUBSPACE_PARTICLES = 10_000
_ROUNDS = 20


def warm_start(objective: HeterogeneousObjective, linear: Path | None) -> None:
    """Fit what a new model begins from: its subspace, and its encoder to the linear latents.

    `linear` is the folder of the linear model; without it the subspace alone is fitted.
    """
    model, reader = objective.model, objective.reader
    fit_subspace(model, reader, objective.split)
    settings = model.settings
    if linear and settings.linear_epochs and settings.encoder == "tilts":
        goal = linear_latents(linear, reader.store, settings.zdim)
        learn_latents(model, objective, goal)


def fixed_volumes(
    store: Store,
    *,
    consensus: Path | None = None,
    linear: Path | None = None,
    zdim: int = 0,
    add: bool = True,
) -> FixedVolumes:
    """What lies under the decoder: the linear model's mean and directions, or the consensus map.

    Without `add` nothing is added to the decoder's output; the consensus then gives no more than
    the amplitude that the output is scaled with.

    Raises
    ------
    StateError
        If a model or map is of another box or pixel size than the store.
    """
    if linear and add:
        model = LinearModel.load(linear)
        _check_size(linear, model.box, model.pixel_size, store)
        return FixedVolumes(model.mean / store.scale, model.components[:zdim] / store.scale)
    if consensus is None:
        return FixedVolumes.none(store.box)
    volume = consensus_volume(consensus, store)
    no_basis = torch.zeros(0, *volume.shape)
    return FixedVolumes(volume if add else torch.zeros_like(volume), no_basis, volume)


def consensus_volume(consensus: Path, store: Store) -> Tensor:
    """The consensus map `(box, box, box)` in the store's scale.

    Raises
    ------
    StateError
        If the map is of another box or pixel size.
    """
    path = consensus / "map.mrc" if consensus.is_dir() else consensus
    volume, pixel_size = read_volume(path)
    _check_size(path, volume.shape[0], pixel_size, store)
    return torch.from_numpy(volume) / store.scale


def _check_size(path: Path, box: int, pixel_size: float, store: Store) -> None:
    if box != store.box or abs(pixel_size / store.pixel_size - 1) > 1e-3:
        raise StateError(
            f"{path} has box {box} at {pixel_size:.3f} Å, the store has {store.box} at "
            f"{store.pixel_size:.3f} Å: make it from this store"
        )


def linear_latents(linear: Path, store: Store, zdim: int) -> NDArray[np.float32]:
    """First latents `(N, <= zdim)` of the linear model in the store's order, each of variance 1.

    Raises
    ------
    StateError
        If particles of the store are missing from it.
    """
    table = read_parquet(linear / "latents.parquet").set_index("uid")
    missing = [u for u in store.uids if u not in table.index]
    if missing:
        raise StateError(
            f"{linear}/latents.parquet lacks {len(missing)} particles, for example {missing[0]!r}: "
            "run `tomopipe linear` on this selection"
        )
    names = [f"z{k}" for k in range(zdim) if f"z{k}" in table]
    z = table.loc[list(store.uids), names].to_numpy(np.float32)
    return np.asarray((z - z.mean(0)) / z.std(0).clip(min=1e-6), dtype=np.float32)


def learn_latents(
    model: HeterogeneousModel,
    objective: HeterogeneousObjective,
    target: NDArray[np.float32],
) -> None:
    """Train the encoder alone to give `target` `(N, K)` in its first K dimensions.

    It sees the same random shares of the training tilts as later. No decoding: an epoch costs
    little.
    """
    settings, reader = model.settings, objective.reader
    optimiser = torch.optim.AdamW(trainable(model.encoder), lr=settings.learning_rate)
    goal = torch.from_numpy(target).to(reader.device)
    for epoch in range(settings.linear_epochs):
        rng = numpy_rng(settings.seed, _STREAM, epoch)
        order = rng.permutation(reader.store.n_particles)
        for chosen in np.array_split(order, -(-len(order) // _BATCH)):
            encode, _ = objective.draw(chosen, [rng] * len(chosen))
            mean, _ = objective.encoding(chosen, encode)
            rows = torch.from_numpy(chosen).to(goal.device)
            loss = (mean[:, : goal.shape[1]] - goal[rows]).square().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()


def fit_subspace(model: HeterogeneousModel, reader: Reader, split: TiltSplit) -> None:
    """Set the linear subspace that the encoder `volume` reads: the linear model's, or a new one.

    The new one is fitted to the training tilts at low resolution, in seconds.

    The prior variance per shell is a share of the mean map's power there: of the consensus, or
    without one of the mean of these statistics.
    """
    encoder, settings = model.encoder, model.settings
    if not isinstance(encoder, VolumeEncoder):
        return
    if len(model.fixed.basis):
        encoder.adopt(model.fixed.basis)
        return
    order = numpy_rng(settings.seed, _SUBSPACE).permutation(reader.store.n_particles)
    order = order[:_SUBSPACE_PARTICLES]
    matched, power = [], []
    for chosen in np.array_split(order, -(-len(order) // _BATCH)):
        tilts = [split.training[p] for p in chosen]
        batch = reader.batch(chosen, tilts=tilts, first=encoder.n_points)
        b, a = encoder.statistics(batch, model.fixed, damage=settings.damage)
        matched.append(b)
        power.append(a)
    b, a = torch.cat(matched), torch.cat(power)
    prior = settings.encoder_prior * _mean_power(model, encoder, b, a)
    encoder.subspace.fit(b, a, prior, _ROUNDS)


def _mean_power(model: HeterogeneousModel, encoder: VolumeEncoder, b: Tensor, a: Tensor) -> Tensor:
    """Power of the mean map in each voxel's shell, per real number: `(V,)`."""
    if model.fixed.known:
        return 0.5 * model.fixed.amplitude[encoder.lattice.float().norm(dim=-1).round().long()] ** 2
    mean = b.sum(0) / (a.sum(0) + 1)[:, None]
    shell = encoder.lattice.float().norm(dim=-1).round().long()
    total = a.new_zeros(int(shell.max()) + 1).index_add_(0, shell, mean.square().mean(-1))
    return (total / torch.bincount(shell)).clamp(min=1e-6)[shell]


def warm_start_fingerprint(path: Path | None) -> str:
    """Fingerprint of a consensus or linear model, by the files that a warm start reads."""
    if path is None:
        return "none"
    names = ("map.mrc", "latents.parquet") if path.is_dir() else ("",)
    return fingerprint(*(path / n for n in names if (path / n).is_file()))
