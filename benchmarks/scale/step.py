"""One step of a run, timed inside its own process: `python -m benchmarks.scale.step NAME …`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from tomopipe.config.linear import LinearSettings
from tomopipe.config.prepare import PrepareSettings
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import Store
from tomopipe.reconstruct import match
from tomopipe.reconstruct.consensus import consensus
from tomopipe.training.linear import fit_linear
from tomopipe.training.neural import train_heterogeneous

ROUNDS = 8
FALLOFF_PASSES = 2  # one where nothing is found, up to five where much is


def run(name: str, data: Path, out: Path, value: int) -> dict[str, float]:
    """Seconds by what they are for; `value` is K of the linear model or z of the network."""
    store, start = data / "store", time.monotonic()
    if name == "prepare":
        prepare(data, store, PrepareSettings(workers=1))
    elif name == "falloff":
        opened = Store.open(store)
        match.LEAST_FSC = -1.0  # half-maps of noise do not agree: all shells are compared, at most
        for _ in range(FALLOFF_PASSES):
            match.match_halves(opened, opened)
    elif name == "consensus":
        consensus(store, out / "consensus")
    elif name == "linear":
        fit_linear(store, out / "linear", LinearSettings(components=value, rounds=ROUNDS))
        rows = _rows(out / "linear")
        # the quickest: others may have had the processor in between
        rounds = [row["seconds"] for row in rows]
        return {"statistics": time.monotonic() - start - sum(rounds), "round": min(rounds[1:])}
    else:
        settings = HeterogeneousSettings(zdim=value, epochs=1, device="cpu", dtype="float32")
        train_heterogeneous(store, out / "train", settings)
        return {"epoch": _rows(out / "train")[0]["seconds"]}
    return {name: time.monotonic() - start}


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    step, data_folder, out_folder, number, result = sys.argv[1:]
    seconds = run(step, Path(data_folder), Path(out_folder), int(number))
    Path(result).write_text(json.dumps(seconds))
