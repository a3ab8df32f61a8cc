"""What a result was made with: versions, the commit of a checkout, and the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import tomopipe

_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "umap-learn",
    "mrcfile",
    "snakemake",
)


def installed_versions() -> dict[str, str]:
    """Versions of tomopipe, Python and the packages that results depend on."""
    found = {"tomopipe": tomopipe.__version__, "Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """Commit of the checkout that runs, with `-dirty` where files are changed; None outside one."""
    root = Path(tomopipe.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            [*command, "--dirty"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def machine() -> dict[str, Any]:
    """Host, processor, threads, processes that share the work, and the GPU if one was used."""
    torch = sys.modules.get("torch")  # a verb that does without it need not wait for it
    threads = torch.get_num_threads() if torch else os.environ.get("OMP_NUM_THREADS")
    used = torch is not None and torch.cuda.is_initialized()
    return {
        "host": platform.node(),
        "processor": _processor(),
        "threads": int(threads) if threads else os.cpu_count(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "gpu": torch.cuda.get_device_name() if torch and used else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
