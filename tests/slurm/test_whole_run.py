"""The whole workflow through `snakemake --profile slurm` on a real SLURM."""

from __future__ import annotations

from tests.slurm.cluster import Cluster
from tests.slurm.run import Run, fingerprints

ON_GPU = {"fit", "heterogeneous"}
RULES = ON_GPU | {
    *("simulate", "import_particles", "prepare", "select", "consensus", "linear", "convergence"),
    *("analyze", "classes", "junk", "export", "recover", "report"),
}


def test_every_rule_is_a_job_of_its_own(on_slurm: Run) -> None:
    assert {job.rule for job in on_slurm.jobs} == RULES
    assert (on_slurm.folder / "out/report.html").stat().st_size > 10_000


def test_rules_that_need_a_gpu_get_it_in_its_partition(on_slurm: Run, cluster: Cluster) -> None:
    # the job that was cancelled may have ended before its first step
    for job in (job for job in on_slurm.jobs if job.state == "COMPLETED"):
        seen = cluster.seen_in(job)
        gpus = int(job.rule in ON_GPU)
        assert (job.partition, job.gpus) == (("gpu", 1) if gpus else ("cpu", 0)), job
        assert seen["SLURM_JOB_PARTITION"] == job.partition
        assert seen.get("CUDA_VISIBLE_DEVICES") in (("0", "1") if gpus else (None,)), job


def test_a_job_that_failed_is_given_more_memory_and_time(on_slurm: Run) -> None:
    first, second = (job for job in on_slurm.jobs if job.rule == "consensus")
    assert (first.state, second.state) == ("CANCELLED", "COMPLETED")
    assert (first.memory_mb, first.minutes) == (16000, 60)
    assert (second.memory_mb, second.minutes) == (32000, 120)
    others = [job for job in on_slurm.jobs if job.rule != "consensus"]
    assert {job.state for job in others} == {"COMPLETED"}


def test_results_are_those_of_a_run_without_slurm(on_slurm: Run, without_slurm: Run) -> None:
    here = fingerprints(without_slurm.folder / "out")
    there = fingerprints(on_slurm.folder / "out")
    assert here.keys() == there.keys()
    assert not [path for path in here if here[path] != there[path]]
