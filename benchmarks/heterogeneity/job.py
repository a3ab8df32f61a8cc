"""Work of the benchmark in a process of its own: `python -m benchmarks.heterogeneity.job`.

Takes what to do (`bounds`, `run` or `score`), the folder of the sets, and cells as JSON; prints a
line of JSON per cell. A `run` is timed, so it has its process to itself; the others share one.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.heterogeneity.sets import Made, make
from tomopipe.io.atomic import read_json, write_json


def main() -> None:
    """Do it for every cell."""
    task, work, cells = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    for cell in cells:
        made = make(cell["set"], cell["noise"], cell["seed"], cell["box"], work)
        print(json.dumps(TASKS[task](made, cell["method"])), flush=True)


def model_folder(made: Made, method: str) -> Path:
    """Where a method leaves what it found; `timing.json` lies beside it."""
    return made.folder / "fits" / method.replace(" ", "_") / "model"


def bounds(made: Made, method: str) -> dict[str, Any]:
    """ARI of the bounds, or of a motion the order that the true volumes give."""
    from benchmarks.heterogeneity.bounds import bounds

    return bounds(made)


def run(made: Made, method: str) -> dict[str, Any]:
    """Wall time and peak memory of a method, from the prepared store to its last file."""
    from benchmarks.heterogeneity.methods import METHODS

    out = model_folder(made, method)
    shutil.rmtree(out.parent, ignore_errors=True)
    start = time.monotonic()
    METHODS[method](made, out)
    timing = {
        "seconds": time.monotonic() - start,
        # in kB on Linux
        "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    write_json(out.parent / "timing.json", timing)
    return timing


def score(made: Made, method: str) -> dict[str, Any]:
    """Figures of a method that has run."""
    from benchmarks.heterogeneity.scores import epochs, scores

    out = model_folder(made, method)
    timing = read_json(out.parent / "timing.json")
    found = scores(made, out)
    return timing | found | {"epochs": epochs(made, out, timing["seconds"])}


TASKS = {"bounds": bounds, "run": run, "score": score}

if __name__ == "__main__":
    main()
