"""The overhead benchmark names work that exists, and its many branches are a config that runs."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.overhead import STEPS, many_branches, share, table
from tomopipe.cli.main import VERBS
from tomopipe.config.run import Config, parse_config


def test_every_step_is_a_verb_and_its_work_exists() -> None:
    assert set(STEPS) <= set(VERBS)
    for work, _ in STEPS.values():
        module, name = work.split(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_planning_walks_lineages_in_proportion_to_the_branches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walk = Config.lineage
    walked: list[str] = []

    def counting(config: Config, name: str) -> list[str]:
        walked.append(name)
        return walk(config, name)

    monkeypatch.setattr(Config, "lineage", counting)
    counts = []
    for n in (40, 80):
        walked.clear()
        config = parse_config(many_branches(n))
        for _ in range(10):  # what the rules ask for in every job
            assert [config.dataset_of(name) for name in config.branches] == ["d"] * n
        assert len(config.ready) == n
        counts.append(len(walked))
    assert counts[1] == 2 * counts[0]
    assert counts[0] <= 6 * 40


def test_the_share_of_a_run_counts_every_job(tmp_path) -> None:
    folder = tmp_path / "benchmarks" / "branches" / "b"
    folder.mkdir(parents=True)
    for verb, seconds in {"select": 2.0, "fit": 50.0}.items():
        (folder / f"{verb}.tsv").write_text(f"s\tmax_rss\n{seconds}\t100\n")
    rows = [
        {"verb": "select", "cpu_s": 1.0, "wall_s": 1.5, "whole_cpu_s": 1.0},
        {"verb": "linear", "cpu_s": 2.0, "wall_s": 3.0, "whole_cpu_s": 2.5},
    ]
    run = share(tmp_path, rows)
    assert run == {"results": str(tmp_path), "jobs": 2, "seconds": 52.0, "start_s": 3.0}
    shown = {"verb": "fit", "verbs": 24, "cpu_s": 0.3, "wall_s": 0.4}
    plans = [{"branches": 200, "cpu_s": 8.0, "wall_s": 9.0}]
    text = table({"machine": "m", "help": shown, "verbs": rows, "plans": plans, "run": run})
    assert "| plan of 200 branches | 8.0 | 9.0 | ≤ 15 |" in text
    assert "6 % of 52 s of wall | 3 |" in text
