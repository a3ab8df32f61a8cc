"""What back-projection costs: images a second on one core, and what follows for a large set.

    python -m benchmarks.reconstruct

writes benchmarks/results/reconstruct.json and a table in docs/benchmarks/cost.md. Seconds are those
of the processor, so that others on the machine do not count.
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
from benchmarks.engine.measure import HERE, machine
from benchmarks.engine.synthetic import make_store
from tomopipe.config.reconstruct import ReconstructSettings
from tomopipe.io.atomic import write_json
from tomopipe.reconstruct.half_maps import half_sums
from tomopipe.reconstruct.particles import finish

# EMPIAR-10499, and the cores that it is to be done on in ten minutes
PARTICLES, TILTS, CORES = 22_291, 41, 16
# name: particles, box, Å per pixel
SHAPES: dict[str, tuple[int, int, float]] = {
    "box 48": (400, 48, 7.42),
    "box 96": (200, 96, 3.71),
}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--particles", type=int, help="fewer or more than the shape's own")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "reconstruct.json")
    parser.add_argument("--no-docs", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as work:
        for name in options.shapes:
            rows.append(measured(name, Path(work), options.particles))
            print(rows[-1], flush=True)
    record = {"machine": machine(torch.device("cpu")), "rows": rows}
    write_json(options.out, record)
    if not options.no_docs:
        write_section("reconstruct", table(record))


def measured(name: str, work: Path, particles: int | None = None) -> dict[str, Any]:
    """Both half-sets' sums of a store, and everything that is made of them."""
    count, box, pixel_size = SHAPES[name]
    count = particles or count
    store = make_store(
        work / name.replace(" ", "_"), particles=count, tilts=TILTS, box=box, pixel_size=pixel_size
    )
    half_sums(store, np.arange(min(20, count)))
    start = time.process_time()
    sums = half_sums(store, np.arange(count))
    summed = time.process_time() - start
    start = time.process_time()
    finish(sums, store.scale, pixel_size, ReconstructSettings(bfactor_A2=100.0))
    finished = time.process_time() - start
    rate = store.n_images / summed
    return {
        "shape": name,
        "images": store.n_images,
        "coefficients_an_image": store.meta["n_coefficients"] / store.n_images,
        "images_per_second": rate,
        "nanoseconds_a_coefficient": 1e9 * summed / store.meta["n_coefficients"],
        "finish_seconds": finished,
        "scaled_minutes": PARTICLES * TILTS / rate / CORES / 60,
    }


def table(record: dict[str, Any]) -> str:
    """Markdown."""
    scaled = f"{PARTICLES:,} × {TILTS} images on {CORES} cores (min, scaled)"
    lines = [
        record["machine"],
        "",
        "| shape | images | coefficients an image | images / s and core | ns a coefficient "
        f"| FSC, masks, local resolution (s, once) | {scaled} |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in record["rows"]:
        lines.append(
            f"| {row['shape']} | {row['images']:,} | {row['coefficients_an_image']:.0f} "
            f"| {row['images_per_second']:.0f} | {row['nanoseconds_a_coefficient']:.0f} "
            f"| {row['finish_seconds']:.1f} | {row['scaled_minutes']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
