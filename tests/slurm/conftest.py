"""A throw-away SLURM for the session, and one small run on it beside the same run without it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, missing
from tests.slurm.run import Run


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if missing():
        pytest.skip(f"no SLURM for tests: {missing()}")

    def end(number: int, _: object) -> None:
        raise KeyboardInterrupt(f"signal {number}")

    before = signal.signal(signal.SIGTERM, end)  # so that the cluster is taken down then, too
    try:
        with Cluster() as running:
            yield running
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def runs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A finished run on SLURM, of which the first job of `consensus` was cancelled by hand, and
    the same run on this machine; side by side, because SLURM's mostly waits.
    """
    there = Run(tmp_path_factory.mktemp("slurm"), cluster)
    here = Run(tmp_path_factory.mktemp("local"), None)
    there.start()
    here.start()
    try:
        cluster.scancel(there.until_running("consensus"))
        assert there.finish() == 0, there.log[-4000:] + cluster.logs()
        assert here.finish() == 0, here.log[-4000:]
    finally:
        there.kill()
        here.kill()
    there.jobs = cluster.jobs()
    return there, here


@pytest.fixture(scope="session")
def on_slurm(runs: tuple[Run, Run]) -> Run:
    return runs[0]


@pytest.fixture(scope="session")
def without_slurm(runs: tuple[Run, Run]) -> Run:
    return runs[1]
