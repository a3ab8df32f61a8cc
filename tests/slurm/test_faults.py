"""What a cluster does to a training, and what becomes of its results."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, Job
from tests.slurm.run import Run, fingerprints

TRAINED = "out/branches/net/heterogeneous"
TARGET = f"{TRAINED}/latents.parquet"
EPOCHS = 2  # that are done when the fault comes


class Training:
    """A run in which everything before the training of `net` is done, and that at work."""

    def __init__(self, run: Run, undisturbed: dict[str, str]) -> None:
        self.run, self.undisturbed = run, undisturbed
        self.before: list[dict[str, object]] = []

    @property
    def cluster(self) -> Cluster:
        assert self.run.cluster is not None
        return self.run.cluster

    @property
    def state(self) -> Path:
        return self.run.folder / f"{TRAINED}.state"

    def jobs(self) -> list[Job]:
        """Submissions of this training, not of the tests before it."""
        return [job for job in self.cluster.jobs("heterogeneous") if job.id > self.first]

    def start(self, *arguments: str) -> Job:
        """Start snakemake, and freeze the training when some epochs of it are done."""
        self.first = max(job.id for job in self.cluster.jobs())
        self.run.start(TARGET, *arguments)
        job = self.run.until_running("heterogeneous", after=self.first)
        self.before = self.run.until(self._done, "epochs")
        self.signal(job, signal.SIGSTOP)
        return job

    def _done(self) -> list[dict[str, object]]:
        try:
            record = json.loads((self.state / "checkpoint.json").read_text())
        except FileNotFoundError:
            return []
        metrics = record["position"]["metrics"]
        return metrics if len(metrics) >= EPOCHS else []

    def signal(self, job: Job, number: int) -> None:
        """Send a signal to the training itself, not to what started it."""
        for pid in self.cluster.processes(job):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"tomopipe" in words and b"train" in words and words[0].endswith(b"python"):
                os.kill(pid, number)

    def went_on(self) -> None:
        """Results are those of a training without faults, and no epoch was trained twice."""
        assert fingerprints(self.run.folder / TRAINED) == self.undisturbed
        lines = (self.run.folder / TRAINED / "metrics.jsonl").read_text().splitlines()
        # with the seconds that they took: these epochs were not trained again
        assert [json.loads(line)["seconds"] for line in lines[: len(self.before)]] == [
            metrics["seconds"] for metrics in self.before
        ]
        assert not self.state.exists()


@pytest.fixture
def training(on_slurm: Run, cluster: Cluster, tmp_path: Path) -> Iterator[Training]:
    folder = tmp_path / "run"
    shutil.copytree(on_slurm.folder, folder, symlinks=True)
    shutil.rmtree(folder / TRAINED)
    (folder / "snakemake.log").unlink()
    training = Training(Run(folder, cluster), fingerprints(on_slurm.folder / TRAINED))
    yield training
    training.run.kill()
    for job in training.jobs():
        cluster.scancel(job)


@pytest.mark.fault(
    "A training is cancelled with scancel",
    "Snakemake submits it once more, with more memory, and it goes on from its last checkpoint.",
)
def test_scancel(training: Training) -> None:
    training.cluster.scancel(training.start())
    assert training.run.finish() == 0, training.run.log[-4000:]
    first, second = training.jobs()
    assert (first.state, second.state) == ("CANCELLED", "COMPLETED")
    assert second.memory_mb == 2 * first.memory_mb
    training.went_on()


@pytest.mark.fault(
    "A training runs out of its time on SLURM",
    "Snakemake submits it once more, and it goes on from its last checkpoint.",
)
def test_timeout(training: Training) -> None:
    training.start("--set-resources", "heterogeneous:runtime=60 ** (attempt - 1)")
    assert training.run.finish() == 0, training.run.log[-4000:]
    first, second = training.jobs()
    assert (first.state, first.minutes) == ("TIMEOUT", 1)
    assert (second.state, second.minutes) == ("COMPLETED", 60)
    training.went_on()


@pytest.mark.fault(
    "A node dies under a training",
    "SLURM starts the job again when there is a node, and it goes on from its last checkpoint.",
)
def test_node_failure(training: Training) -> None:
    job = training.start()
    training.cluster.kill_node()
    training.run.until(lambda: training.cluster.node_state() == "DOWN", "node to be missed")
    training.cluster.start_slurmd()
    assert training.run.finish() == 0, training.run.log[-4000:]
    (again,) = training.jobs()
    assert (again.id, again.state, again.restarts) == (job.id, "COMPLETED", 1)
    training.went_on()


@pytest.mark.fault(
    "SLURM's controller dies while a training runs",
    "The training goes on, and snakemake hears of its end when the controller is back.",
)
def test_controller_dies(training: Training) -> None:
    job = training.start()
    training.cluster.kill_slurmctld()
    asked = "SLURM does not answer"
    training.run.until(lambda: asked in training.run.log, "snakemake to miss the controller")
    training.signal(job, signal.SIGCONT)
    training.run.until((training.run.folder / TARGET).exists, "training to end")
    training.cluster.start_slurmctld()
    assert training.run.finish() == 0, training.run.log[-4000:]
    (same,) = training.jobs()
    assert (same.id, same.state) == (job.id, "COMPLETED")
    training.went_on()


@pytest.mark.fault(
    "Snakemake is killed while its SLURM jobs run, and started again",
    "A second training is refused and names the job that is at work; once that has ended, "
    "snakemake takes its results.",
)
def test_snakemake_killed(training: Training) -> None:
    job = training.start()
    training.run.kill()
    training.run.start("--unlock")
    assert training.run.finish() == 0
    training.run.start(TARGET, "--retries", "0")
    assert training.run.finish() == 1
    said = (training.run.folder / "out/logs/branches/net/heterogeneous.log").read_text()
    assert f"SLURM job {job.id}" in said
    assert "wait for it or stop it" in said
    training.signal(job, signal.SIGCONT)
    training.cluster.wait(job)
    training.run.start(TARGET)
    assert training.run.finish() == 0, training.run.log[-4000:]
    training.went_on()
    assert [j.state for j in training.jobs()] == ["COMPLETED", "FAILED"]
