"""What SLURM needs beside its executor.

Jobs are not forgotten while SLURM does not answer: when no status query succeeds, the executor (2.8)
drops every job that it waits for, and then waits for ever. Here they stay active until SLURM can be
asked again.

Jobs get the threads that they ask for: Snakemake holds them to `--cores` wherever they run, which
profiles/default takes from the machine that submits. Where other machines run them, and a profile
says `max-threads` of those, that is the limit.
"""

import sys


def stay_with_jobs(executor):
    """Wrap the executor's check, which gives back those of the jobs that have not ended."""
    check = executor.check_active_jobs

    async def checked(self, active_jobs):
        # the first check, of no jobs, may come before the executor is made
        heard = getattr(self, "_status_query_calls", 0)
        left = [job async for job in check(self, active_jobs)]
        if active_jobs and self._status_query_calls == heard:
            self.logger.warning(
                f"SLURM does not answer: {len(active_jobs)} jobs are taken as active."
            )
            left = active_jobs
        for job in left:
            yield job

    executor.check_active_jobs = checked


# Snakemake imports it where it is installed. This file is read once in each process.
if "snakemake_executor_plugin_slurm" in sys.modules:
    stay_with_jobs(sys.modules["snakemake_executor_plugin_slurm"].Executor)


if workflow.resource_settings.nodes and workflow.resource_settings.max_threads:
    workflow.global_resources["_cores"] = None
