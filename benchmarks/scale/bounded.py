"""Every step on a store larger than the memory it may take."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.engine.measure import Bench
from benchmarks.scale.measure import Cost, run, verb
from benchmarks.scale.sets import Size, write_raw
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.dataset.reader import Reader
from tomopipe.dataset.store import Store

LARGE = Size(particles=24400, tilts=41, box=64)
LIMIT_GB = 2.0
# steps that do the same with every particle see every so many-th, to end in minutes; the linear
# model's statistics of a quarter are still larger than the limit
PARTS = {"consensus": 8, "linear": 4, "train": 60}


def steps(data: Path, out: Path) -> dict[str, list[str]]:
    """Verbs by name, in order; `out` holds `all.parquet` and `part_N.parquet`."""
    store = data / "store"
    few = {name: ("--particles", out / f"{name}.parquet") for name in PARTS}
    training = {"epochs": 1, "zdim": 4, "device": "cpu", "dtype": "float32"}
    return {
        "prepare": verb("prepare", data, "--out", store, workers=1),
        "linear": verb(
            *("linear", store, "--out", out / "linear", "--device", "cpu", *few["linear"]),
            **{"rounds": 2, "memory_gb": 0.25},
        ),
        "consensus": verb(
            *("consensus", store, "--out", out / "consensus", "--device", "cpu"),
            *few["consensus"],
        ),
        "train and embedding": verb(
            *("train", store, "--out", out / "heterogeneous", *few["train"]), **training
        ),
        "export": verb("export", data, out, "--out", out / "export"),
    }


def measure(work: Path, only: list[str] | None = None) -> dict[str, Cost]:
    """Costs of all steps on `LARGE` under the limit, made in `work` (30 GB); prints as it goes."""
    folder = LARGE.folder(work)
    data, out = folder / "dataset", folder / "branch"
    if not (data / "import.json").exists():
        # no dose: every coefficient is kept, so that the store is large for its number of images
        star = write_raw(LARGE, folder / "raw", dose=0.0)
        print("import", run(verb("import", star, "--out", data)), flush=True)
    _selections(data, out)
    costs = {}
    for name, arguments in steps(data, out).items():
        if only is None or name in only:
            costs[name] = run(arguments, limit_gb=LIMIT_GB)
            print(name, costs[name], flush=True)
    return costs


def _selections(data: Path, out: Path) -> None:
    uids: list[Any] = pd.read_parquet(data / "particles.parquet")["uid"].tolist()
    (out / "analysis").mkdir(parents=True, exist_ok=True)
    clusters = pd.DataFrame({"uid": uids, "cluster": [i % 4 for i in range(len(uids))]})
    clusters.to_parquet(out / "analysis" / "clusters.parquet")
    for name, part in (PARTS | {"selected": 1}).items():
        kept = [i % part == 0 for i in range(len(uids))]
        table = pd.DataFrame({"uid": uids, "kept": kept, "reason": ""})
        table.to_parquet(out / f"{name}.parquet")


def streaming(store_path: Path, batches: int = 300, batch: int = 8) -> dict[str, float]:
    """Million coefficients a second of training batches of random particles of a large store.

    "disk": just after the store's pages were dropped from memory; "cached": again; "memory": from
    coefficients that were read into an array before.
    """
    store = Store.open(store_path)
    rng = np.random.default_rng(0)
    some = store.subset(store.uids[rng.permutation(store.n_particles)[: batches * batch]].tolist())
    parts = np.array_split(rng.permutation(some.n_particles), batches)
    mapped = Reader(some)
    seconds = {
        "disk": _seconds(mapped, parts, drop=True),
        "cached": _seconds(mapped, parts, drop=False),
        "memory": _seconds(Reader(some, resident=True), parts, drop=False),
    }
    return {name: float(some.counts.sum()) / 1e6 / value for name, value in seconds.items()}


def training(store_path: Path, steps: int = 24) -> dict[str, float]:
    """Seconds of a training step on particles that were never read before, and from memory.

    The particles of a step are others each time; in turns of a third of the steps, so that other
    work on the machine hits both alike.
    """
    settings = HeterogeneousSettings(device="cpu")
    store = Store.open(store_path)
    rng = np.random.default_rng(1)
    uids = store.uids[rng.permutation(store.n_particles)[: steps * settings.batch]]
    some = store.subset(uids.tolist())
    benches = {
        name: Bench(some, settings, torch.device("cpu"), reader=Reader(some, resident=resident))
        for name, resident in (("disk", False), ("memory", True))
    }
    turns: dict[str, list[float]] = {name: [] for name in benches}
    parts = np.array_split(rng.permutation(some.n_particles), steps)
    for some_parts in np.array_split(np.array(parts), 3):
        for name, bench in benches.items():
            bench.step(0, some_parts[0])
            _drop_pages(store)
            start = time.monotonic()
            for number, part in enumerate(some_parts):
                bench.step(number, part)
            turns[name].append((time.monotonic() - start) / len(some_parts))
    return {name: float(np.median(values)) for name, values in turns.items()}


def _drop_pages(store: Store) -> None:
    """Let the system forget what it keeps of the store in memory."""
    with (store.path / "coefficients.npy").open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _seconds(reader: Reader, parts: list[np.ndarray], *, drop: bool) -> float:
    if drop:
        _drop_pages(reader.store)
    start = time.monotonic()
    for part in parts:
        reader.batch(part)
    return time.monotonic() - start
