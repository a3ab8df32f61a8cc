"""The workflow as a module of another one: its rules run, and leave the outer ones alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.workflow.plan import ROOT

OUTER = """
configfile: "config.yaml"

module tomopipe:
    snakefile: "{snakefile}"
    config: config["tomopipe"]

use rule * from tomopipe as tomopipe_*

rule mine:
    default_target: True
    input: "out/branches/b/selected.parquet"
    output: "mine.txt"
    shell: "echo '{{tomopipe.CHECKOUT}}' ${{{{PYTHONPATH:-none}}}} > {{output}}"

onsuccess:
    print("the outer word")
"""


@pytest.fixture
def outer(tmp_path: Path) -> Path:
    """Folder of an outer workflow, and of a data set that is imported already."""
    config = {
        "results": "out",
        "datasets": {"d": {"particles": "gone.star"}},
        "branches": {"b": {"dataset": "d", "consensus": {}, "linear": {}, "analysis": {}}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"tomopipe": config, "mine": 1}))
    (tmp_path / "Snakefile").write_text(OUTER.format(snakefile=ROOT / "Snakefile"))
    data = tmp_path / "out" / "datasets" / "d"
    (data / "source").mkdir(parents=True)
    table = pd.DataFrame({"uid": ["t/1", "t/2"], "tomogram": "t", "n_images": 3})
    table.to_parquet(data / "particles.parquet")
    table.to_parquet(data / "images.parquet")
    (data / "import.json").write_text("{}")
    return tmp_path


def snakemake(folder: Path, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_a_rule_runs_from_this_checkout_in_another_workflow(outer: Path) -> None:
    said = snakemake(outer, "--cores", "1")
    assert "the outer word" in said
    kept = pd.read_parquet(outer / "out" / "branches" / "b" / "selected.parquet")
    assert kept["uid"].tolist() == ["t/1", "t/2"] and kept["kept"].all()
    # the outer rule sees our folder, but our jobs' environment does not leak into its own
    assert (outer / "mine.txt").read_text().split() == [str(ROOT), "none"]


def test_the_whole_plan_stands_under_other_names(outer: Path) -> None:
    said = snakemake(outer, "tomopipe_all", "-n", "--quiet", "rules")
    for rule in ("prepare", "consensus", "linear", "analyze", "classes", "export", "report"):
        assert f"tomopipe_{rule} " in said


def test_the_catalog_finds_the_workflow(tmp_path: Path) -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert (ROOT / "config" / "README.md").is_file()
    snakefile, config = ROOT / "workflow" / "Snakefile", ROOT / "config" / "config.yaml"
    arguments = ("-s", str(snakefile), "--configfile", str(config), "-n", "--quiet", "rules")
    assert "\nreport " in snakemake(tmp_path, *arguments)
