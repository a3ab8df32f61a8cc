"""A data set of two dozen small particles, imported and packed once; disks that are full."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.harness import simulate
from tomopipe.config.prepare import PrepareSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare

ONE = PrepareSettings(workers=1)


@dataclass(frozen=True)
class Packed:
    star: Path
    dataset: Path
    store: Path


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    root = tmp_path_factory.mktemp("packed")
    star = simulate(root / "source")
    import_star(star, root / "dataset")
    prepare(root / "dataset", root / "store", ONE)
    return Packed(star, root / "dataset", root / "store")


@pytest.fixture
def store(packed: Packed, tmp_path: Path) -> Path:
    """A copy of the store, to be damaged."""
    return Path(shutil.copytree(packed.store, tmp_path / "store"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a file system of some kilobytes in memory, or mounts it anew, `ro` for example."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(kilobytes: int, *options: str) -> Path:
        what = ",".join([f"size={kilobytes}k", *(["remount"] if disk.is_mount() else []), *options])
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", what, "tmpfs", str(disk)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no small disk could be mounted, which takes root on Linux: {done.stderr}")
        return disk

    try:
        yield mount
    finally:
        if disk.is_mount():
            subprocess.run(["umount", "-l", str(disk)], check=True)
