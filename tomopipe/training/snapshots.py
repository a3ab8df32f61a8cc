"""What is kept of every epoch: latents of all particles, and the decoder that goes with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tomopipe.models.files import load_tensors, save_tensors
from tomopipe.models.vae import HeterogeneousModel

Floats = NDArray[np.float32]


def save_snapshot(folder: Path, epoch: int, model: HeterogeneousModel, z: Floats) -> None:
    """Write `epoch_NNN.safetensors` (z) and `decoder_NNN.safetensors`, epochs from 1."""
    save_tensors(folder / f"decoder_{epoch:03d}.safetensors", model.decoder.state_dict())
    save_tensors(folder / f"epoch_{epoch:03d}.safetensors", {"z": torch.from_numpy(z)})
    keep = model.settings.snapshot_weights
    old = folder / f"decoder_{epoch - keep:03d}.safetensors"
    if keep and epoch > keep:
        old.unlink(missing_ok=True)


def read_snapshot(folder: Path, epoch: int) -> Floats:
    """Latents `(N, zdim)` after an epoch.

    Raises
    ------
    StateError
        If that epoch has no snapshot.
    """
    z: Floats = load_tensors(folder / f"epoch_{epoch:03d}.safetensors")["z"].numpy()
    return z


def publish_snapshots(source: Path, target: Path, epochs: int) -> None:
    """Copy the snapshots of epochs 1 … `epochs` to `target`, replacing what is there."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for epoch in range(1, epochs + 1):
        for name in (f"epoch_{epoch:03d}.safetensors", f"decoder_{epoch:03d}.safetensors"):
            if (source / name).is_file():
                shutil.copyfile(source / name, target / name)
