"""The models side by side: each takes a set and leaves a folder with latents and a model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.heterogeneity.sets import Made
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


QUICK: dict[str, Method] = {"linear": linear}
ALL: dict[str, Method] = {
    **QUICK,
    "split from linear": split_from_linear,
    "split alone": split_alone,
    "reference": reference,
}


def timed(method: Method, made: Made, out: Path) -> float:
    """Run a method; wall seconds from the prepared store to latents of all particles."""
    start = time.monotonic()
    method(made, out)
    return time.monotonic() - start
