"""Rough cost of a run: time, memory and disk of each stage, from slopes that were measured.

Times are the table of docs/benchmarks/cost.md, "Cost against size" (`python -m benchmarks.scale`,
one x86_64 core, 2026-11-30): seconds = start + a x 10^6 kept coefficients + b x 10^6 voxels
(box^3). Memory and disk are those of docs/scale.md. Measured on small sets: far beyond them nothing
was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tomopipe.config.linear import LinearSettings
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.suggest.seen import Seen

# (seconds to begin with, per 10^6 kept coefficients, per 10^6 voxels of the box), one core
PREPARE = (0.30, 0.392, 0.0)
CONSENSUS = (0.03, 0.210, 3.93)
FALLOFF, FALLOFF_IMAGES = (0.0, 1.116, 3.55), 200_000  # two passes of at most so many images
LINEAR_STATISTICS = (0.15, 0.320, 2.24)
LINEAR_ROUND = (0.0, 0.012, 1.50)  # of the linear model with K = 6 components
TRAINING_EPOCH = (0.16, 4.014, 3.76)  # with its embedding, 256 x 3 decoder
COMPONENTS_EXPONENT = 1.20  # seconds of a round over components
MEASURED_COMPONENTS = 6
# images a second of one core, from files to files, binning 2: docs/benchmarks/cost.md, "Extraction"
EXTRACT_IMAGES, EXTRACT_BOX = 576.0, 96

START_SECONDS = 4.0  # of Python and torch, and reading of tables, of every job
START_GB = 0.3
STAR_ROW_BYTES = 1800.0  # docs/scale.md, "What is held in memory"
IMAGE_ROW_BYTES = 400.0
PREPARE_WORKER_GB = 0.45
FALLOFF_VOXEL_BYTES, FALLOFF_SUM_BYTES = 640.0, 58.0  # of an image and shell
CONSENSUS_VOXEL_BYTES = 900.0  # with 4 threads: 880; with one 760
LINEAR_VOXEL_BYTES = 30.0  # x (K + 1)(K + 4) / 2
STATISTICS_BYTES = (16.0, 8.0)  # a coefficient: exact, and packed when memory is short
STATISTICS_GB = 4.0  # what the linear model takes by default
TRAINING_GB = 0.44
STORE_BYTES = 4.0  # a coefficient
STACK_BYTES = 2.0  # a pixel of an extracted stack, float16

# cores that profiles/default gives to a job
MOST_CORES = {"extract": 1, "import": 1, "prepare": 8, "consensus": 4, "fit": 8, "heterogeneous": 8}


@dataclass(frozen=True)
class Cost:
    """What a stage takes; `cores_seconds` is `seconds` shared out among the cores, at best.

    Seconds that were not measured are NaN.
    """

    stage: str
    seconds: float
    cores_seconds: float
    memory_gb: float
    disk_gb: float


def estimate(seen: Seen, cores: int) -> list[Cost]:
    """Costs of the stages of a pilot, and of a neural branch of all particles, in order."""
    tables = START_GB + seen.images * IMAGE_ROW_BYTES / 1e9
    voxels = seen.box**3 / 1e9
    linear = LinearSettings()
    k = linear.components
    epochs = HeterogeneousSettings().epochs
    rounds = linear.rounds * (k / MEASURED_COMPONENTS) ** COMPONENTS_EXPONENT
    linear_seconds = _seconds(LINEAR_STATISTICS, seen) + rounds * _seconds(LINEAR_ROUND, seen)
    statistics, scratch = _statistics(seen.coefficients)
    volumes = voxels * LINEAR_VOXEL_BYTES * (k + 1) * (k + 4) / 2
    used = {stage: max(1, min(cores, most)) for stage, most in MOST_CORES.items()}
    rows = START_GB + seen.rows * STAR_ROW_BYTES / 1e9
    stages = [
        ("import", math.nan, max(rows, tables), 0.0),
        (
            "prepare",
            _seconds(PREPARE, seen) + _falloff_seconds(seen),
            tables + max(used["prepare"] * PREPARE_WORKER_GB, _falloff_gb(seen)),
            seen.coefficients * STORE_BYTES / 1e9,
        ),
        ("consensus", _seconds(CONSENSUS, seen), tables + voxels * CONSENSUS_VOXEL_BYTES, 0.0),
        ("fit: linear model", linear_seconds, tables + statistics + volumes, scratch),
        (
            f"heterogeneous: {epochs} epochs",
            epochs * _seconds(TRAINING_EPOCH, seen),
            tables + TRAINING_GB,
            0.0,
        ),
    ]
    if seen.series_pixel is not None:
        stages.insert(0, ("extract", _extract_seconds(seen), rows, _stacks_gb(seen)))
    return [
        Cost(stage, START_SECONDS + seconds, START_SECONDS + seconds / shared, memory, disk)
        for stage, seconds, memory, disk in stages
        for shared in [used[stage.partition(":")[0]]]
    ]


def _seconds(slopes: tuple[float, float, float], seen: Seen) -> float:
    start, per_coefficients, per_voxels = slopes
    return start + per_coefficients * seen.coefficients / 1e6 + per_voxels * seen.box**3 / 1e6


def _falloff_seconds(seen: Seen) -> float:
    looked_at = min(1.0, FALLOFF_IMAGES / seen.images)
    return _seconds(FALLOFF, replace(seen, coefficients=int(looked_at * seen.coefficients)))


def _falloff_gb(seen: Seen) -> float:
    sums = FALLOFF_SUM_BYTES * min(seen.images, FALLOFF_IMAGES) * seen.box / 2
    return (FALLOFF_VOXEL_BYTES * seen.box**3 + sums) / 1e9


def _statistics(coefficients: int) -> tuple[float, float]:
    """GB in memory and in the scratch file, which takes what does not fit."""
    exact, packed = (coefficients * each / 1e9 for each in STATISTICS_BYTES)
    if exact <= STATISTICS_GB:
        return exact, 0.0
    return (packed, 0.0) if packed <= STATISTICS_GB else (STATISTICS_GB, packed)


def _extract_seconds(seen: Seen) -> float:
    # boxes of 200 pixels take 2.1 times as long: docs/benchmarks/cost.md
    return seen.images / EXTRACT_IMAGES * max(1.0, seen.box / EXTRACT_BOX)


def _stacks_gb(seen: Seen) -> float:
    return seen.images * seen.box**2 * STACK_BYTES / 1e9
