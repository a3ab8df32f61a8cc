"""`tomopipe branch`: what is added is right, and nothing else of the file changes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.cli.main import main
from tomopipe.config.run import read_config

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "config" / "config.yaml", *sorted((ROOT / "config" / "examples").glob("*.yaml"))]

CONFIG = """\
# mine
title: 'A title'   # quoted
results: run
datasets:
    one:  {particles: "a.star",  import: { } }
    two: {particles: b.star}

branches:
    pilot:   # all
        dataset: one
        consensus: &map {mask_diameter_angstrom: 2.0e+2}
        linear: {components:   3}
        analysis: {clusters: 3}
        junk: {}

    clean: # no junk
        parent: pilot
        select: {junk: auto}
        consensus: *map
        linear:
            components: 4  # four
            # seed: 1
        # junk: {}
    # later: {parent: clean}

# the end
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config, and the clusters that its branch pilot has: 15, 10 and 5 particles."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my.yaml"
    path.write_text(CONFIG)
    folder = tmp_path / "run" / "branches" / "pilot" / "analysis"
    folder.mkdir(parents=True)
    labels = np.repeat([0, 1, 2], [15, 10, 5])
    table = pd.DataFrame({"uid": [f"t/{i}" for i in range(30)], "cluster": labels})
    table.to_parquet(folder / "clusters.parquet")
    return path


def added(config: Path, *words: str) -> dict[str, Any]:
    """The new branch as YAML reads it; what was there is there still, to the byte."""
    before = config.read_bytes()
    assert main(["branch", "new", "--config", str(config), *words]) == 0
    _only_added(before, config.read_bytes())
    read_config(config)
    branch: dict[str, Any] = yaml.safe_load(config.read_text())["branches"]["new"]
    return branch


def _only_added(before: bytes, after: bytes) -> None:
    """`after` is `before` with one stretch inserted."""
    extra = len(after) - len(before)
    assert extra > 0
    at = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), None)
    at = len(before) if at is None else at
    assert before[at:] == after[at + extra :]


def refused(config: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    before = config.read_bytes()
    assert main(["branch", *words, "--config", str(config)]) == 2
    assert config.read_bytes() == before
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_the_file_reads_as_if_written_by_hand(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert added(config, "--parent", "pilot", "--clusters", "2", "0")
    mark = clusters_fingerprint(pd.read_parquet("run/branches/pilot/analysis/clusters.parquet"))
    block = f"""\
    # later: {{parent: clean}}

    new:
        parent: pilot
        select: {{clusters: {{keep: [0, 2], of: '{mark[:23]}'}}}}
        consensus: {{mask_diameter_angstrom: 200.0}}
        linear: {{components: 3}}
        analysis: {{clusters: 3}}
        junk: {{}}

# the end
"""
    assert config.read_text().endswith(block)
    said = capsys.readouterr().out
    assert f"added to {config}" in said
    assert "hold 20 of 30 particles of pilot" in said
    assert f"run: snakemake --configfile {config}" in said


def test_every_kind_of_selection(config: Path) -> None:
    kinds: dict[str, Any] = {
        "--drop 1 2": {"clusters": {"drop": [1, 2]}},
        "--junk": {"junk": "auto"},
        "--largest 2": {"largest": 2},
        "--region z0=-1:0.5 umap1=2:3e1": {"region": {"z0": [-1, 0.5], "umap1": [2, 30]}},
        "--region z0=-inf:0.5": {"region": {"z0": [-math.inf, 0.5]}},
        "--file uids.txt": {"file": "uids.txt"},
        "--all --dataset two": {"all": True},
        "--junk --largest 1": {"junk": "auto", "largest": 1},
        "": {},
    }
    for words, select in kinds.items():
        config.write_text(CONFIG)
        found = added(config, "--parent", "pilot", *words.split())
        found["select"].get("clusters", {}).pop("of", None)
        assert found["select"] == select, words
        assert found.get("dataset") == ("two" if "two" in words else None)


def test_stages_of_the_parent_of_another_or_as_named(config: Path) -> None:
    stages = {
        "--parent clean": {"consensus": 200, "linear": 4},
        "--parent clean --like pilot": {"consensus": 200, "linear": 3, "analysis": 3, "junk": None},
        "--parent pilot --stages fit consensus": {"consensus": 200, "fit": None},
    }
    for words, wanted in stages.items():
        config.write_text(CONFIG)
        found = added(config, "--all", *words.split())
        sections = {k: v for k, v in found.items() if k not in ("parent", "select")}
        assert {k: next(iter(v.values()), None) for k, v in sections.items()} == wanted
        assert list(sections) == list(wanted)
    config.write_text("results: r\ndatasets: {a: {particles: p}}\nbranches: {b: {dataset: a}}\n")
    assert list(added(config, "--parent", "b", "--all")) == [
        *("parent", "select", "consensus", "fit", "analysis")
    ]


def test_without_results_the_choice_has_no_fingerprint(config: Path) -> None:
    words = ("--parent", "clean", "--clusters", "7")
    config.write_text(CONFIG.replace("        # junk: {}", "        analysis: {}"))
    assert added(config, *words)["select"] == {"clusters": {"keep": [7]}}


def test_a_dry_run_says_the_same_and_leaves_the_file(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["branch", "new", "--config", str(config), "--parent", "pilot"]
    assert main([*words, "--dry-run"]) == 0
    assert config.read_text() == CONFIG
    planned = capsys.readouterr().out
    assert main(words) == 0
    assert planned.replace("would add", "added") == capsys.readouterr().out
    assert "waits until branches.new.select is filled in" in planned


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("new --parent pilto --junk", "--parent: there is no branch 'pilto': known are pilot, cl"),
        ("new --parent pilot --junk --like x", "--like: there is no branch 'x'"),
        ("new --parent pilot --junk --stages lin", "--stages: there is no stage 'lin': choose"),
        ("new --parent pilot --all --stages junk", "junk needs consensus in this branch"),
        ("new --parent pilot --all --dataset no", "unknown dataset 'no': known are one, two"),
        ("new --parent clean --junk", "selects by junk, which reads junk of its parent 'clean'"),
        ("clean --parent pilot --junk", "branches.clean is there already: give another name"),
        ("a:b --parent pilot --junk", "should match pattern"),
        ("new --parent pilot --region z0=1", "'z0=1' is not COLUMN=LOW:HIGH"),
        ("new --parent pilot --region z0=2:1", "region z0: 2.0 is above 1.0"),
        ("new --parent pilot --region z0=0:1 z0=2:3", "'z0' is given twice"),
        ("new --parent pilot --largest 0", "largest: should be greater than or equal to 1"),
        (
            "new --parent pilot --clusters 1 7",
            "pilot has no cluster 7: choose among 0 (15 particles), 1 (10 particles), 2 (5 part",
        ),
        ("new --parent pilot --drop 0 1 2", "all 3 of pilot are dropped: drop fewer"),
    ],
)
def test_an_error_is_one_sentence_and_leaves_the_file(
    config: Path, capsys: pytest.CaptureFixture[str], words: str, sentence: str
) -> None:
    assert sentence in refused(config, capsys, *words.split())


def test_a_round_can_be_the_parent(config: Path) -> None:
    """It has the settings of the branch that is repeated, and is not in the file itself."""
    config.write_text(CONFIG.replace("junk: {}\n\n", "junk: {}\n        repeat: until clean\n\n"))
    words = ["branch", "new", "--config", str(config), "--parent", "pilot_round1", "--junk"]
    assert main(words) == 0
    child = read_config(config).branches["new"]
    assert child.parent == "pilot_round1"
    assert child.linear is not None and child.linear.components == 3
    assert child.repeat is None


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configs_take_a_child_of_every_branch(config: Path, path: Path) -> None:
    for parent in read_config(path).branches:
        config.write_bytes(path.read_bytes())
        assert added(config, "--parent", parent, "--all")["parent"] == parent


HEAD = "results: r\ndatasets: {a: {particles: p}}\n"


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "branches:\n  b: {dataset: a}",
        HEAD + "branches: {b: {dataset: a}, }  # one\ntitle: last\n",
        HEAD + "branches:\n  {\n    b: {dataset: a},\n    c: {dataset: a} # two\n  }\n",
        HEAD + "branches:\n  b:\n    dataset: a\n  # of b\n# of the title\ntitle: last\n",
        HEAD.replace("\n", "\r\n") + "branches:\r\n  b:\r\n    dataset: a\r\ntitle: last\r\n",
        HEAD + "branches:\n  b: &b\n    dataset: a\n  c: {<<: *b, fit: {}}\n  d:\n    <<: *b\n",
        "branches: # first\n  b:\n    dataset: 'a'\n\n\n" + HEAD + "title: |\n  last\n\n",
        '{"datasets": {"a": {"particles": "p"}}, "branches": {"b": {"dataset": "a"}}}',
        "---\n" + HEAD + "branches:\n  b: {dataset: a}\n...\n",
        "\ufeff" + HEAD + "branches:\n  b: {dataset: a}  # µ\n",
    ],
)
def test_any_style_of_file(config: Path, text: str) -> None:
    config.write_bytes(text.encode())
    found = added(config, "--parent", "b", "--all", "--stages", "consensus")
    assert found == {"parent": "b", "select": {"all": True}, "consensus": {}}
    after = config.read_bytes()
    assert after.count(b"\r\n") in (0, after.count(b"\n")), "one kind of line ends"


def test_names_that_yaml_would_read_as_something_else(config: Path) -> None:
    for name in ("12", "yes", "1e3"):
        assert main(["branch", name, "--config", str(config), "--parent", "pilot", "--all"]) == 0
    assert list(read_config(config).branches)[-3:] == ["12", "yes", "1e3"]


def test_aliases_of_branches(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(HEAD + "branches: {b: &b {dataset: a}, c: *b}\n")
    assert added(config, "--parent", "b", "--all")
    config.write_text("x: &b {b: {dataset: a}}\n" + HEAD + "branches: *b\n")
    assert "x: unknown setting" in refused(config, capsys, "new", "--parent", "b", "--all")


def test_a_link_to_a_config_stays_one(config: Path) -> None:
    link = config.with_name("link.yaml")
    link.symlink_to(config)
    added(link, "--parent", "pilot", "--all")
    assert link.is_symlink()
    assert "new" in read_config(config).branches
