"""The models side by side.

Each takes a set and leaves a folder with latents, and where it has them its model, its own clusters
(`clusters.parquet`: uid, cluster) and snapshots of its epochs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.heterogeneity.sets import Made
from tomopipe.analysis.fit import fit
from tomopipe.config.linear import LinearSettings
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.reconstruct.consensus import consensus
from tomopipe.training.linear import fit_linear
from tomopipe.training.neural import train_heterogeneous

Method = Callable[[Made, Path], None]


def linear(made: Made, out: Path) -> None:
    """The linear model with its defaults."""
    fit_linear(made.store, out, LinearSettings())


def split_from_linear(made: Made, out: Path) -> None:
    """The split-tilt network, started from consensus and linear model."""
    consensus(made.store, out.parent / "consensus")
    fit_linear(made.store, out.parent / "start", LinearSettings())
    train_heterogeneous(
        made.store,
        out,
        HeterogeneousSettings(epochs=6),
        state=out.with_suffix(".state"),
        linear=out.parent / "start",
        consensus=out.parent / "consensus",
    )


def split_alone(made: Made, out: Path) -> None:
    """The split-tilt network without a warm start."""
    settings = HeterogeneousSettings(epochs=10, warm_start=False)
    train_heterogeneous(made.store, out, settings, state=out.with_suffix(".state"))


def reference(made: Made, out: Path) -> None:
    """The objective and architecture of tomoDRGN (mean pooling, z 16), five epochs."""
    settings = HeterogeneousSettings.reference(epochs=5, zdim=16, pooling="mean")
    train_heterogeneous(made.store, out, settings, state=out.with_suffix(".state"))


def default(made: Made, out: Path) -> None:
    """What `tomopipe fit` does with a user's particles; it finds the number of clusters itself."""
    fit(made.store, out)


METHODS: dict[str, Method] = {
    "default": default,
    "linear": linear,
    "split from linear": split_from_linear,
    "split alone": split_alone,
    "reference": reference,
}
QUICK = ("default", "linear")  # what `make bench-quick` runs
