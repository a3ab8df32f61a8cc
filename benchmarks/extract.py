"""How many particle images a second one core cuts out of a tilt image.

    python -m benchmarks.extract

writes benchmarks/results/extract.json and a table in docs/benchmarks/cost.md. Times are CPU time of
one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pandas as pd
import torch

from benchmarks.docs import write_section
from benchmarks.engine.measure import HERE, machine
from tomopipe.config.extract import ExtractSettings
from tomopipe.dataset.tilt_series.geometry import TiltImage, TiltSeries
from tomopipe.extract.extract import extract
from tomopipe.extract.images import Extractor
from tomopipe.extract.particles import read_particles
from tomopipe.extract.stacks import as_stored
from tomopipe.io.atomic import write_json
from tomopipe.io.star import Block, write_star

PIXELS, PIXEL_SIZE, TILTS = 4096, 1.35, 3
# name: box, Å per pixel, premultiplied and dose-weighted
CASES: dict[str, tuple[int, float, bool]] = {
    "box 96, binning 2": (96, 2.7, False),
    "box 96, binning 2.75": (96, 3.71, False),
    "box 200, binning 1": (200, 1.35, False),
    "box 200, binning 2": (200, 2.7, False),
    "box 96, binning 2, CTF and dose": (96, 2.7, True),
    "box 200, binning 2, CTF and dose": (200, 2.7, True),
}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "extract.json")
    parser.add_argument("--no-docs", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as work:
        series = written_series(Path(work))
        for name in CASES:
            rows.append(measured(name, series, Path(work), options))
            print(rows[-1], flush=True)
    record = {"machine": machine(torch.device("cpu")), "cases": rows}
    write_json(options.out, record)
    if not options.no_docs:
        write_section("extract", table(record))


def measured(
    name: str, series: TiltSeries, work: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Images a second of one case: from memory, and from files to files."""
    box, pixel_size, filtered = CASES[name]
    settings = ExtractSettings(
        box=box, pixel_size_angstrom=pixel_size, ctf_premultiply=filtered, dose_weight=filtered
    )
    rng = np.random.default_rng(0)
    edge = box * pixel_size / PIXEL_SIZE / 2 + 2
    centre = rng.uniform(edge, PIXELS - edge, (options.particles, 2))
    depth = rng.uniform(-1000, 1000, options.particles)
    image = torch.from_numpy(rng.normal(size=(PIXELS, PIXELS))).float()
    extractor = Extractor(series, settings)

    def cut() -> None:
        for _, boxes in extractor(image, 0, centre, depth):
            as_stored(boxes, series.images[0].path, 0, settings)

    half = (PIXELS / 2 - edge) * PIXEL_SIZE - 1
    flat = rng.uniform(-half, half, (options.particles, 2))
    star = written_particles(work, np.concatenate([flat, depth[:, None] / 10], axis=1))

    def whole() -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            particles = read_particles(star)
            extract({"tomogram": series}, particles, work / f"out {name}", settings)

    return {
        "case": name,
        "images_per_second": options.particles / cpu_seconds(cut, options.repeats),
        "whole_images_per_second": TILTS * options.particles / cpu_seconds(whole, 2),
    }


def cpu_seconds(work: Callable[[], None], repeats: int) -> float:
    """Median CPU time after a first round."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return float(np.median(times))


def written_series(folder: Path) -> TiltSeries:
    """Untilted images of noise, float32."""
    path = folder / "tomogram.mrc"
    with mrcfile.new_mmap(path, (TILTS, PIXELS, PIXELS), mrc_mode=2) as mrc:
        mrc.voxel_size = PIXEL_SIZE
        for section in mrc.data:
            section[:] = np.random.default_rng(0).normal(size=section.shape)
    each = np.ones(TILTS)
    return TiltSeries(
        name="tomogram",
        images=tuple(TiltImage(path, tilt) for tilt in range(TILTS)),
        pixel_size=PIXEL_SIZE,
        image_size=(PIXELS, PIXELS),
        volume_angstrom=np.full(3, np.nan),
        rotation=np.stack([np.eye(3)] * TILTS),
        shift_angstrom=np.zeros((TILTS, 2)),
        defocus_u_angstrom=30500 * each,
        defocus_v_angstrom=29500 * each,
        astigmatism_degrees=40 * each,
        phase_shift_degrees=0 * each,
        dose_e_per_A2=3.0 * np.arange(1, TILTS + 1),
        dose_per_tilt=3.0,
        hand=-1.0,
        voltage_kv=300.0,
        cs_mm=2.7,
        amplitude_contrast=0.07,
    )


def written_particles(folder: Path, position: np.ndarray) -> Path:
    """A STAR file of particles at `position` `(n, 3)` Å from the tomogram's centre."""
    rows = pd.DataFrame(
        {
            "rlnTomoName": "tomogram",
            **{
                f"rlnCenteredCoordinate{axis}Angst": [f"{v:.3f}" for v in position[:, k]]
                for k, axis in enumerate("XYZ")
            },
        },
        index=range(len(position)),
    )
    write_star(folder / "particles.star", [Block("particles", rows)])
    return folder / "particles.star"


def table(record: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        record["machine"],
        "",
        "| case | images/s and core | from files to files |",
        "|---|--:|--:|",
    ]
    for row in record["cases"]:
        lines.append(
            f"| {row['case']} | {row['images_per_second']:.0f} "
            f"| {row['whole_images_per_second']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
