"""The engine on a GPU: speed at published sizes, and what precision and determinism cost.

    python -m benchmarks.gpu

needs 12 GB of disk for its synthetic stores (EMPIAR-10499's shape: 22,291 particles of 41 tilts,
box 96 at 3.71 Å, 3 e/Å² a tilt, dose mask; and box 200 with fewer particles), and writes
benchmarks/results/gpu.json and a table in docs/benchmarks/cost.md. `--small` tries the script in a
minute on any machine, and writes no docs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from benchmarks.docs import write_section
from benchmarks.engine.measure import (
    HERE,
    Bench,
    machine,
    peak_rate,
    wait,
)
from benchmarks.engine.synthetic import make_store
from tomopipe.config.linear import LinearSettings
from tomopipe.config.simulate import SimulateSettings
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import Store
from tomopipe.io.atomic import read_parquet, write_json
from tomopipe.models.precision import product_dtype, products
from tomopipe.training.distributed import pick_device
from tomopipe.training.inference import embed
from tomopipe.training.linear import fit_linear
from tomopipe.training.neural import train_heterogeneous

LIMIT_GB = 24
PUBLISHED = {96: (22_291, 3.71), 200: (2_500, 1.78)}  # box: particles, Å per pixel
FULL = 22_291
# of a step: what is changed from dtype auto, deterministic, not compiled
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "not deterministic": {"deterministic": False},
    "compiled": {"compile": "on"},
    "tf32": {"dtype": "tf32"},
    "float32": {"dtype": "float32"},
}
QUALITY = ("bfloat16", "tf32", "float32")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="tiny shapes, to try the script")
    parser.add_argument("--work", type=Path, help="keep the synthetic stores here")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, nargs="+", default=[4, 32])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gpu.json")
    options = parser.parse_args()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic products
    with tempfile.TemporaryDirectory() as temporary:
        record = measure(options, options.work or Path(temporary))
    write_json(options.out, record)
    text = table(record)
    print(text)
    if not options.small:
        write_section("gpu", text)


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Everything; each figure is printed as soon as it is known."""
    device = pick_device(options.device)
    batches = options.batch[:1] if options.small else options.batch
    side = 256 if options.small else 8192
    rates = {}
    for name in QUALITY:
        with products(HeterogeneousSettings(dtype=name), device) as dtype:
            rates[name] = peak_rate(device, dtype, side) / 1e12
    record: dict[str, Any] = {"machine": machine(device), "peak_tflops": rates, "steps": []}
    shapes = {16: (24, 10.0)} if options.small else PUBLISHED
    for box, (particles, pixel_size) in shapes.items():
        store = make_store(
            work / f"box{box}",
            particles=particles,
            tilts=11 if options.small else 41,
            box=box,
            pixel_size=pixel_size,
        )
        for batch in batches:
            for name, changes in VARIANTS.items():
                row = step_row(store, device, batch, changes, rates, options.small)
                record["steps"].append({"box": box, "batch": batch, "variant": name} | row)
                print(record["steps"][-1], flush=True)
    first = next(iter(shapes))
    record["linear"] = linear_row(Store.open(work / f"box{first}"), device, work, options.small)
    print(record["linear"], flush=True)
    record["quality"] = quality(work, device, options.small)
    return record


def step_row(
    store: Store,
    device: torch.device,
    batch: int,
    changes: dict[str, Any],
    rates: dict[str, float],
    small: bool,
) -> dict[str, Any]:
    """Epoch, share of the matrix rate, embedding and peak memory; decoder 256 x 3, z 128."""
    settings = HeterogeneousSettings.model_validate(
        {"zdim": 128, "hidden": 256, "layers": 3, "batch": batch, "encoder_components": 16}
        | ({"zdim": 8, "hidden": 32, "encoder_radius": 4} if small else {})
        | changes
    )
    torch.compiler.reset()  # neither limits nor memory of what earlier rows compiled
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    torch.use_deterministic_algorithms(settings.deterministic, warn_only=True)
    try:
        bench = Bench(store, settings, device)
        count = 3 if small else 50
        bench.run(count)  # compiles what these steps need
        start = time.perf_counter()
        bench.run(count)
        taken = (time.perf_counter() - start) / count
    except Exception as error:  # a missing compiler is a result, too
        return {"failed": f"{type(error).__name__}: {str(error)[:100]}"}
    finally:
        torch.use_deterministic_algorithms(False)
    _, flop = bench.products()
    start = time.perf_counter()
    embed(bench.model, store, device, encoding=bench.objective.encoding)
    wait(device)
    rate = flop / taken / 1e12
    precision: str = settings.dtype
    if precision == "auto":
        precision = str(product_dtype(settings, device)).removeprefix("torch.")
    memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
    steps = -(-store.n_particles // batch)
    return {
        "step_ms": 1e3 * taken,
        "epoch_seconds": taken * steps,
        "full_epoch_seconds": taken * -(-FULL // batch),
        "tflops": rate,
        "share_of_peak": rate / rates[precision],
        "embed_seconds": time.perf_counter() - start,
        "peak_gb": memory,
        "resident": bench.reader.resident,
    }


def linear_row(store: Store, device: torch.device, work: Path, small: bool) -> dict[str, Any]:
    """The linear model with 16 components and 20 rounds."""
    settings = LinearSettings(components=2 if small else 16, rounds=2 if small else 20)
    start = time.perf_counter()
    fit_linear(store.path, work / "linear", settings, device=device)
    wait(device)
    return {"components": settings.components, "seconds": time.perf_counter() - start}


def quality(work: Path, device: torch.device, small: bool) -> list[dict[str, Any]]:
    """ARI by k-means and held-out loss of each precision on simulated particles, three seeds."""
    rows = []
    for seed in range(1 if small else 3):
        folder = work / f"simulated{seed}"
        simulated = SimulateSettings(
            particles=16 if small else 600, box=16 if small else 32, snr=0.2, seed=seed
        )
        if not (folder / "store").exists():
            simulate_set(simulated, folder)
        truth = read_parquet(folder / "raw" / "truth.parquet").set_index("uid")
        for dtype in QUALITY:
            settings = HeterogeneousSettings(
                epochs=1 if small else 12, dtype=dtype, seed=seed, device=str(device)
            )
            out = folder / dtype
            start = time.perf_counter()
            train_heterogeneous(folder / "store", out, settings)
            latents = read_parquet(out / "latents.parquet").set_index("uid")
            z = latents[[c for c in latents if c.startswith("z")]].to_numpy()
            z = (z - z.mean(0)) / z.std(0).clip(min=1e-6)
            states = truth.loc[latents.index, "state"].astype(str).to_numpy()
            labels = KMeans(len(set(states)), n_init=10, random_state=0).fit_predict(z)
            row = {
                "dtype": dtype,
                "seed": seed,
                "ari": float(adjusted_rand_score(states, labels)),
                "error": float(np.nanmean(latents["error"])),
                "seconds": time.perf_counter() - start,
            }
            rows.append(row)
            print(row, flush=True)
    return rows


def simulate_set(settings: SimulateSettings, folder: Path) -> None:
    """Simulate, import, prepare."""
    from tomopipe.simulate.particles import simulate_particles

    simulate_particles(settings, folder / "raw")
    import_star(folder / "raw" / "particles.star", folder / "dataset")
    prepare(folder / "dataset", folder / "store")


def table(record: dict[str, Any]) -> str:
    """Markdown."""
    peak = ", ".join(f"{k} {v:.1f}" for k, v in record["peak_tflops"].items())
    lines = [
        f"{record['machine']}. Largest matrix rates measured (TFLOP/s): {peak}.",
        "",
        "| box | batch | step | step (ms) | epoch of 22,291 particles (s) | TFLOP/s | of peak "
        "| embedding (s) | peak memory (GB) |",
        "|--:|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for r in record["steps"]:
        head = f"| {r['box']} | {r['batch']} | {r['variant']} "
        if "failed" in r:
            lines.append(f"{head}| {r['failed'].replace('|', ' ')} | | | | | |")
            continue
        lines.append(
            f"{head}| {r['step_ms']:.2f} | {r['full_epoch_seconds']:.0f} | {r['tflops']:.2f} "
            f"| {r['share_of_peak']:.2f} | {r['embed_seconds']:.2f} | {r['peak_gb']:.1f} |"
        )
    largest = max((r.get("peak_gb", 0.0) for r in record["steps"]), default=0.0)
    fits = "fits" if largest <= LIMIT_GB else "does not fit"
    linear = record["linear"]
    lines += [
        "",
        f"Largest peak memory {largest:.1f} GB, which {fits} a card of {LIMIT_GB} GB. Linear model "
        f"with {linear['components']} components: {linear['seconds']:.0f} s.",
        "",
        "| precision | ARI, k-means (lowest–highest seed) | held-out error | seconds |",
        "|---|--:|--:|--:|",
    ]
    for dtype in QUALITY:
        rows = [r for r in record["quality"] if r["dtype"] == dtype]
        ari = [r["ari"] for r in rows]
        error, taken = (np.mean([r[k] for r in rows]) for k in ("error", "seconds"))
        lines.append(
            f"| {dtype} | {np.mean(ari):.3f} ({min(ari):.3f}–{max(ari):.3f}) | {error:.4f} "
            f"| {taken:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
