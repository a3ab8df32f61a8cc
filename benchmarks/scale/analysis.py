"""What clusters, states and coordinates of many particles cost: a process for each number of them.

Latents alone: maps of clusters take what back-projection takes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from benchmarks.scale.measure import Cost, run

SIZES = 20_000, 200_000
COMPONENTS, STATES = 6, 5


def measure() -> Iterator[tuple[int, bool, Cost]]:
    """Particles, whether UMAP was among it, and the cost."""
    for particles in SIZES:
        for umap in (False, True):
            words = ["-m", "benchmarks.scale.analysis", str(particles), str(int(umap))]
            yield particles, umap, run(words)


def table(costs: Iterator[tuple[int, bool, Cost]]) -> str:
    """The costs as a table."""
    lines = [
        f"{STATES} states and a motion, latents of {COMPONENTS} components with their covariances; "
        "number of states and coordinate found by themselves (`clusters: auto`), no maps.",
        "",
        "| particles | UMAP | time | own memory, GB |",
        "|--:|---|--:|--:|",
    ]
    lines += [
        f"| {particles:,} | {'with' if umap else 'without'} | {c.seconds:.0f} s | {c.own_gb:.2f} |"
        for particles, umap, c in costs
    ]
    return "\n".join(lines)


def explore_many(particles: int, *, umap: bool) -> None:
    """Explore the latents of so many particles."""
    from tomopipe.analysis.explore import explore
    from tomopipe.analysis.latent import Latents
    from tomopipe.config.analysis import AnalysisSettings

    rng = np.random.default_rng(0)
    centres = 4 * rng.normal(size=(STATES, COMPONENTS))
    z = centres[rng.integers(0, STATES, particles)]
    z += rng.uniform(-1, 1, (particles, 1)) * rng.normal(size=COMPONENTS)
    width = rng.uniform(0.2, 0.5, particles)
    z += width[:, None] * rng.normal(size=z.shape)
    uids = np.array([f"t/{i:07d}" for i in range(particles)], dtype=object)
    covariance = width[:, None, None] ** 2 * np.eye(COMPONENTS)
    latents = Latents(uids, z, covariance, np.full(particles, np.nan))
    explore(latents, AnalysisSettings(clusters="auto", umap=umap))


if __name__ == "__main__":
    explore_many(int(sys.argv[1]), umap=sys.argv[2] == "1")
