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
def on_slurm(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on SLURM, of which the first job of `consensus` was cancelled by hand."""
    run = Run(tmp_path_factory.mktemp("slurm"), cluster)
    run.start()
    cluster.scancel(run.until_running("consensus"))
    assert run.finish() == 0, run.log[-4000:] + cluster.logs()
    run.jobs = cluster.jobs()
    return run


@pytest.fixture(scope="session")
def without_slurm(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same run on this machine."""
    run = Run(tmp_path_factory.mktemp("local"), None)
    run.start()
    assert run.finish() == 0, run.log[-4000:]
    return run
