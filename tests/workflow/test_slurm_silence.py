"""Jobs on SLURM are not forgotten while it does not answer (workflow/rules/slurm.smk)."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from tests.workflow.plan import ROOT


def executor(answers: bool) -> type:
    """A class like the plugin's: it gives back nothing when SLURM did not answer."""

    class Executor:
        logger = logging.getLogger("test")

        async def check_active_jobs(self, active_jobs: list[str]) -> AsyncIterator[str]:
            if answers:
                self._status_query_calls += 1
                for job in active_jobs[1:]:  # the first has ended
                    yield job

    local = SimpleNamespace(nodes=None, max_threads=None)
    rules: dict[str, object] = {"workflow": SimpleNamespace(resource_settings=local)}
    exec((ROOT / "workflow/rules/slurm.smk").read_text(), rules)
    rules["stay_with_jobs"](Executor)  # type: ignore[operator]
    return Executor


def left(executor: object, jobs: list[str]) -> list[str]:
    async def collect() -> list[str]:
        return [job async for job in executor.check_active_jobs(jobs)]  # type: ignore[attr-defined]

    return asyncio.run(collect())


def test_an_answer_is_believed() -> None:
    one = executor(answers=True)()
    one._status_query_calls = 3
    assert left(one, ["a", "b"]) == ["b"]


def test_without_an_answer_all_jobs_are_active() -> None:
    one = executor(answers=False)()
    one._status_query_calls = 3
    assert left(one, ["a", "b"]) == ["a", "b"]


def test_a_check_before_the_executor_is_made_is_harmless() -> None:
    assert left(executor(answers=False)(), []) == []


def test_the_plugin_counts_its_queries_where_we_look() -> None:
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm")
    check = inspect.getsource(plugin.Executor.check_active_jobs)
    assert "_status_query_calls" in check
