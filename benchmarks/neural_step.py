"""What a training step, embedding and decoding cost beside their matrix products.

    python -m benchmarks.neural_step

writes benchmarks/results/neural_step.json and a table in docs/benchmarks/cost.md. Both times of a
ratio are taken in turns in the same run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.docs import write_section
from benchmarks.engine.measure import HERE, Bench, machine, seconds
from benchmarks.engine.synthetic import make_store
from tomopipe.config.linear import LinearSettings
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.io.atomic import write_json
from tomopipe.models.linear import LinearModel
from tomopipe.models.precision import product_dtype
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.encoding import Encoding
from tomopipe.training.inference import embed

# name: particles, tilts, box, Å per pixel, e/Å² a tilt
SHAPES: dict[str, tuple[int, int, int, float, float]] = {
    "box 32, 16 tilts": (200, 16, 32, 10.0, 3.0),
    "box 96, 41 tilts": (40, 41, 96, 3.71, 3.0),
}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--volumes", type=int, default=100)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "neural_step.json")
    parser.add_argument("--no-docs", action="store_true")
    options = parser.parse_args()
    device = torch.device("cpu")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as work:
        for name in options.shapes:
            rows.append(measured_step(name, Path(work), options.repeats, options.rounds))
            print(rows[-1], flush=True)
    volumes = measured_volumes(options.volumes)
    print(volumes, flush=True)
    record = {"machine": machine(device), "steps": rows, "volumes": volumes}
    write_json(options.out, record)
    if not options.no_docs:
        write_section("neural step", table(record))


def measured_step(name: str, work: Path, repeats: int, rounds: int) -> dict[str, Any]:
    """Step, products, and embedding of one data set's shape; default settings."""
    particles, tilts, box, pixel_size, dose = SHAPES[name]
    device = torch.device("cpu")
    store = make_store(
        work / name.replace(" ", "_"),
        particles=particles,
        tilts=tilts,
        box=box,
        pixel_size=pixel_size,
        dose_per_tilt=dose,
    )
    settings = HeterogeneousSettings(device="cpu")
    bench = Bench(store, settings, device)
    bench.step(0)
    pairs = []
    for _ in range(rounds):
        bench.coefficients.clear()
        step = seconds(bench.step, device, repeats)
        run, flop = bench.products()
        pairs.append((step, seconds(lambda i, run=run: run(), device, repeats), flop))
    step, products, flop = np.median(np.array(pairs), axis=0).tolist()
    start = time.perf_counter()
    embed(bench.model, store, device, encoding=Encoding(bench.model, bench.reader))
    first = time.perf_counter() - start
    start = time.perf_counter()
    embed(bench.model, store, device, encoding=bench.objective.encoding)
    again = time.perf_counter() - start
    epoch = step * -(-store.n_particles // settings.batch)
    return {
        "shape": name,
        "coefficients": int(np.mean(bench.coefficients)),
        "dtype": str(product_dtype(settings, device)).removeprefix("torch."),
        "step_ms": 1e3 * step,
        "products_ms": 1e3 * products,
        "ratio": float(np.median([s / p for s, p, _ in pairs])),
        "gflops": flop / products / 1e9,
        "embed_first_of_epoch": first / epoch,
        "embed_of_epoch": again / epoch,
    }


def measured_volumes(count: int, box: int = 64) -> dict[str, Any]:
    """Decode volumes of box 64 with the default network, and with a linear model."""
    settings = HeterogeneousSettings(device="cpu")
    network = HeterogeneousModel(settings, box=box, pixel_size=5.0, scale=1.0).eval()
    components = torch.randn(LinearSettings().components, box, box, box)
    linear = LinearModel(components[0], components, 5.0)
    taken = {}
    for name, model in (("network", network), ("linear", linear)):
        z = torch.randn(count, model.zdim)
        model.volumes(z[:2])
        start = time.perf_counter()
        model.volumes(z)
        taken[name] = time.perf_counter() - start
    # half of the sphere's points through all layers but the first, which all volumes share
    points = 4 / 3 * np.pi * (box / 2) ** 3 / 2
    flop = 2 * points * count * settings.layers * settings.hidden**2
    x = torch.randn(4096, settings.hidden).to(product_dtype(settings, torch.device("cpu")))
    weight = x[: settings.hidden]
    rate = 2 * 4096 * settings.hidden**2 / seconds(lambda i: x @ weight.T, torch.device("cpu"), 20)
    return {
        "count": count,
        "box": box,
        "seconds": taken["network"],
        "products_seconds": flop / rate,
        "linear_seconds": taken["linear"],
    }


def table(record: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        record["machine"],
        "",
        "| shape | coefficients a step | precision | step (ms) | products alone (ms) | ratio "
        "| embedding / epoch | first embedding / epoch |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for row in record["steps"]:
        lines.append(
            f"| {row['shape']} | {row['coefficients']} | {row['dtype']} | {row['step_ms']:.1f} "
            f"| {row['products_ms']:.1f} | {row['ratio']:.2f} | {row['embed_of_epoch']:.4f} "
            f"| {row['embed_first_of_epoch']:.3f} |"
        )
    v = record["volumes"]
    lines += [
        "",
        f"{v['count']} volumes of box {v['box']}: {v['seconds']:.1f} s; their matrix products "
        f"alone {v['products_seconds']:.1f} s. The same of a linear model of "
        f"{LinearSettings().components} components, which `fit` takes on a CPU: "
        f"{v['linear_seconds']:.2f} s.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
