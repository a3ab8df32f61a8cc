"""A change re-runs the branch that it is made in and its descendants, and nothing else.

Every kind of change has a family of branches of its own, so that one plan shows them all.
"""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.plan import planned, pretend_done

RULES = {
    "selecting particles": "select",
    "consensus map and half-maps": "consensus",
    "linear model, network where it pays, and clusters": "fit",
    "linear model of heterogeneity": "linear",
    "neural map of all particles": "homogeneous",
    "neural model of heterogeneity": "heterogeneous",
    "has the training converged?": "convergence",
    "clusters and volumes": "analysis",
    "every cluster's own map against the model": "classes",
    "judging every cluster": "junk",
    "STAR files for RELION, M and WarpTools": "export",
    "importing particles": "import",
    "packing images": "prepare",
}
ROOT: dict[str, Any] = {
    "dataset": "sim",
    **{stage: {} for stage in ("consensus", "linear", "heterogeneous", "analysis", "junk")},
}
PLAIN = {name: section for name, section in ROOT.items() if name != "heterogeneous"}
QUICK = {"dataset": "sim", "consensus": {}, "fit": {}, "analysis": {}, "junk": {}}
JUDGED = {"analysis", "classes", "junk", "export"}
NETWORK = {"heterogeneous", "convergence"} | JUDGED
CHILD = {"select", "consensus"}
ALL = {"select", "consensus", "linear"} | NETWORK

# Change: root, what is changed in root and child, what is planned for them.
Case = tuple[dict[str, Any], dict[str, Any], dict[str, Any], set[str], set[str]]
CASES: dict[str, Case] = {
    "consensus": (
        ROOT,
        {"consensus": {"mask_diameter_angstrom": 90}},
        {},
        {"consensus"} | NETWORK,
        CHILD,
    ),
    "linear": (ROOT, {"linear": {"components": 3}}, {}, {"linear"} | NETWORK, CHILD),
    "heterogeneous": (ROOT, {"heterogeneous": {"epochs": 3}}, {}, NETWORK, CHILD),
    "convergence": (ROOT, {"convergence": {"patience": 4}}, {}, {"convergence"}, set()),
    "analysis": (PLAIN, {"analysis": {"clusters": 4}}, {}, JUDGED, CHILD),
    "classes": (PLAIN, {"classes": {"min_particles": 9}}, {}, {"classes"}, set()),
    "junk": (PLAIN, {"junk": {"sigmas": 5}}, {}, {"junk", "export"}, CHILD),
    "export": (PLAIN, {"export": {"relion5": False}}, {}, {"export"}, set()),
    "fit": (QUICK, {"fit": {"network": "never"}}, {}, {"fit"} | JUDGED, CHILD),
    "seed": (QUICK, {"fit": {"seed": 1}}, {}, {"fit"} | JUDGED, CHILD),
    "homogeneous": (
        QUICK | {"homogeneous": {}},
        {"homogeneous": {"epochs": 3}},
        {},
        {"homogeneous"},
        set(),
    ),
    "select": (PLAIN, {}, {"select": {"largest": 1}}, set(), CHILD),
    "parent": (PLAIN, {}, {"parent": "junk_root"}, set(), CHILD),
    "dataset": (PLAIN, {"dataset": "other"}, {}, ALL - {"heterogeneous", "convergence"}, CHILD),
    "file": (
        PLAIN | {"dataset": "file"},
        {},
        {},
        ALL - {"heterogeneous", "convergence"},
        CHILD,
    ),
    "added": (PLAIN, {}, {"linear": {}}, set(), {"linear"}),
    "removed": (QUICK | {"homogeneous": {}}, {"homogeneous": None}, {}, set(), set()),
}


def config(*, changed: bool) -> dict[str, Any]:
    """Families `CASE_root` with a child, before or after all changes; after, there is `new` too."""
    branches: dict[str, Any] = {}
    for name, (root, in_root, in_child, _, _) in CASES.items():
        child = {"parent": f"{name}_root", "select": {"junk": "auto"}, "consensus": {}}
        pair = [root, child]
        if changed:
            pair = [root | in_root, child | in_child]
        for key, branch in zip(("root", "child"), pair, strict=True):
            branches[f"{name}_{key}"] = {k: v for k, v in branch.items() if v is not None}
    if changed:
        branches["new"] = branches["junk_child"] | {"select": {"largest": 2}}
    sources = {"sim": {"simulate": {}}, "other": {"simulate": {}}}
    sources["file"] = {"particles": "particles.star"}
    return copy.deepcopy({"results": "out", "datasets": sources, "branches": branches})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where everything is there, before any change."""
    folder = tmp_path_factory.mktemp("families")
    (folder / "particles.star").write_text("data_\n")
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config(changed=False)))
    pretend_done(folder, path)
    return folder


@pytest.fixture(scope="module")
def plan(done: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Rules by branch or data set that are planned after all changes."""
    folder = tmp_path_factory.mktemp("changed") / "run"
    shutil.copytree(done, folder, copy_function=shutil.copy2)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config(changed=True)))
    (folder / "particles.star").write_text("data_particles\n")
    return by_name(planned(folder, path))


def by_name(jobs: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for job in jobs:
        name, _, message = job.partition(": ")
        if message in RULES:
            found.setdefault(name, set()).add(RULES[message])
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_change_reruns_its_branch_and_what_descends_from_it(
    case: str, plan: dict[str, set[str]]
) -> None:
    _, _, _, root, child = CASES[case]
    assert plan.get(f"{case}_root", set()) == root
    assert plan.get(f"{case}_child", set()) == child


def test_a_new_branch_and_a_changed_file_are_all_the_other_work(plan: dict[str, set[str]]) -> None:
    families = {f"{case}_{key}" for case in CASES for key in ("root", "child")}
    others = {name: rules for name, rules in plan.items() if name not in families}
    # the other data set has only been simulated for nobody: it is imported now
    assert others == {
        "new": CHILD,
        "file": {"import", "prepare"},
        "other": {"import", "prepare"},
    }


def test_a_raised_step_format_reruns_that_step_and_what_follows(done: Path) -> None:
    found = by_name(planned(done, done / "config.yaml", raised="classes"))
    assert found == {f"{case}_root": {"classes"} for case in CASES}
