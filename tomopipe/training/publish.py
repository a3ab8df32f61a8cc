"""What a neural run leaves when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tomopipe import __version__
from tomopipe.dataset.store import Store
from tomopipe.io.atomic import fingerprint
from tomopipe.models.files import save_model
from tomopipe.models.homogeneous import HomogeneousModel
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.metrics import write_metrics


def latents_table(
    store: Store,
    z: NDArray[np.float32],
    spread: NDArray[np.float32],
    error: NDArray[np.float64],
) -> pd.DataFrame:
    """Latents of every particle: uid, z…, sd…, error."""
    columns: dict[str, Any] = {"uid": store.uids}
    columns |= {f"z{k}": z[:, k] for k in range(z.shape[1])}
    columns |= {f"sd{k}": spread[:, k] for k in range(z.shape[1])}
    return pd.DataFrame(columns | {"error": error})


def retract(out: Path) -> None:
    """Take back what `config.json` says of a model before, when its files are about to change."""
    (out / "config.json").unlink(missing_ok=True)


def publish(
    out: Path,
    model: HeterogeneousModel | HomogeneousModel,
    metrics: list[dict[str, Any]],
    store: Store,
    more: dict[str, Any],
) -> None:
    """Write metrics, weights and `config.json` of a trained model."""
    write_metrics(out / "metrics.jsonl", metrics)
    record = {
        "version": __version__,
        "torch": torch.__version__,
        "n_particles": store.n_particles,
        "n_images": store.n_images,
        "particles": fingerprint(list(store.uids)),
        "store": fingerprint(store.meta),
        "epochs_done": len(metrics),
        **more,
    }
    save_model(out, model, {**model.describe(), **record})
