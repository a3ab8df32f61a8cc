"""The tree of branches: what is refused, in which words, and what is ready."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tomopipe.config import Config, parse_config, read_config
from tomopipe.config.fit import FitSettings
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.config.yaml_text import load_yaml
from tomopipe.errors import ConfigError


def raw(**branches: Any) -> dict[str, Any]:
    return {"results": "out", "datasets": {"sim": {"simulate": {}}}, "branches": branches}


ROOT = {"dataset": "sim", "consensus": {}, "linear": {}, "analysis": {}, "junk": {}}
MORE: dict[str, Any] = {"consensus": {}, "junk": {}}


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Python's YAML keeps the last of two branches of one name and says nothing."""
    path = tmp_path / "my.yaml"
    path.write_text("results: out\nbranches:\n  a: {}\n  b: {}\n  a: {parent: b}\n")
    with pytest.raises(ConfigError, match=r"my.yaml.*'a' stands twice, in lines 3 and 5"):
        read_config(path)
    merged = load_yaml("base: &base {zdim: 4}\na: {<<: *base, zdim: 8}\nb: {<<: *base}\n")
    assert merged == {"base": {"zdim": 4}, "a": {"zdim": 8}, "b": {"zdim": 4}}


def child(parent: str, **more: Any) -> dict[str, Any]:
    return {"parent": parent, "select": {"junk": "auto"}, "linear": {}, "analysis": {}} | more


def config(**branches: Any) -> Config:
    return parse_config(raw(**branches))


@pytest.mark.parametrize(
    ("branches", "sentence"),
    [
        ({"a": {"linear": {}}}, "a branch without a parent needs a dataset"),
        ({"a": ROOT | {"dataset": "smi"}}, "unknown dataset 'smi': known are sim"),
        ({"a": ROOT, "b": child("c")}, "branch 'b' has unknown parent 'c': known are a, b"),
        ({"a": child("b"), "b": child("a")}, "branch 'a' descends from itself"),
        ({"a": child("a")}, "branch 'a' descends from itself"),
        ({"a": ROOT | {"select": {"largest": 1}}}, "branches.a: select needs a parent"),
        ({"a": ROOT, "b": {"parent": "a"}}, "branches.b: parent needs select"),
        ({"a": {"dataset": "sim", "analysis": {}}}, "analysis needs fit or linear or"),
        ({"a": ROOT | {"fit": {}, "linear": {}}}, "fit holds both models: leave linear"),
        ({"a": {"dataset": "sim", "linear": {}, "junk": {}}}, "junk needs consensus"),
        ({"a": {"dataset": "sim", "convergence": {}}}, "convergence needs heterogeneous"),
        ({"a": ROOT | {"linear": None}}, "linear is empty: write {} for its defaults"),
        ({"a": ROOT | {"linear": {"component": 3}}}, "did you mean 'components'?"),
        ({"a": ROOT | {"linear": {"components": 0}}}, "branches.a.linear.components: should be"),
        (
            {"a": {"dataset": "sim", "linear": {}}, "b": child("a")},
            "branch 'b' selects by junk, which reads junk of its parent 'a'",
        ),
        (
            {"a": {"dataset": "sim", "linear": {}}, "b": child("a", select={"largest": 1})},
            "branch 'b' selects by largest, which reads analysis of its parent 'a'",
        ),
        ({"a/b": ROOT}, "branches.a/b: "),
        ({}, "branches: "),
    ],
)
def test_a_wrong_tree_is_refused_in_one_sentence(branches: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**branches)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "dataset", [{}, {"particles": "a.star", "simulate": {}}], ids=["none", "both"]
)
def test_a_data_set_has_one_source(dataset: dict[str, Any]) -> None:
    wrong = raw(a=ROOT) | {"datasets": {"sim": dataset}}
    with pytest.raises(ConfigError, match="exactly one of particles"):
        parse_config(wrong)


@pytest.mark.parametrize(
    "results", ["my results", "~/x", "$HOME/x", "a;b", "{x}", "-x", "<logs>", "a'b", "a\nb"]
)
def test_results_that_a_job_would_not_read_as_they_stand_are_refused(results: str) -> None:
    with pytest.raises(ConfigError, match=r"results: .* would not be read as it stands") as caught:
        parse_config(raw(a=ROOT) | {"results": results})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("results", ["results/2024-01_run.2", "/data/Zürich/a+b@c,d=e", "../x"])
def test_results_may_have_many_names(results: str) -> None:
    assert parse_config(raw(a=ROOT) | {"results": results}).results == results


def test_a_setting_of_the_network_of_fit_changes_no_other() -> None:
    given = config(a={"dataset": "sim", "fit": {"heterogeneous": {"zdim": 4}}}).branches["a"].fit
    assert given is not None
    assert given.heterogeneous == FitSettings().heterogeneous.model_copy(update={"zdim": 4})
    # a model reads them back as those of any network
    saved = HeterogeneousSettings.model_validate(given.heterogeneous.model_dump(mode="json"))
    assert (saved.epochs, saved.stop, saved.zdim) == (10, "converged", 4)


def test_who_stays_on_the_cpu_wants_no_gpu() -> None:
    for settings, wants in {"auto": True, "cuda:1": True, "cpu": False}.items():
        assert HeterogeneousSettings(device=settings).wants_gpu is wants
        assert FitSettings(heterogeneous={"device": settings}).wants_gpu is wants  # type: ignore[arg-type]
    assert not FitSettings(network="never").wants_gpu


def test_an_open_region_survives_every_way_of_writing_it() -> None:
    select = {"region": {"z0": ["-inf", 0.5], "z1": [0, math.inf]}}
    given = config(a=ROOT, b=child("a", select=select))
    region = {"z0": (-math.inf, 0.5), "z1": (0, math.inf)}
    text = given.model_dump_json(by_alias=True, exclude_unset=True)  # what jobs are given
    found = given.model_dump(mode="json", by_alias=True, exclude_unset=True)  # what lineage holds
    for raw_again in (json.loads(text), json.loads(json.dumps(found, allow_nan=False))):
        select_again = parse_config(raw_again).branches["b"].select
        assert select_again is not None and select_again.region == region


@pytest.mark.parametrize(
    ("branch", "where"),
    [
        ({"heterogeneous": {"learning_rate": math.inf}}, "heterogeneous.learning_rate"),
        ({"linear": {"mask_diameter_angstrom": math.nan}}, "linear.mask_diameter_angstrom"),
        ({"parent": "a", "select": {"region": {"z0": [math.nan, 1]}}}, "region z0: nan"),
    ],
)
def test_a_number_that_is_none_is_refused(branch: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError, match=where):
        config(a=ROOT, b={"dataset": "sim"} | branch)


def test_seeds_leave_room_for_replicates() -> None:
    with pytest.raises(ConfigError, match="seed: should be less than 2147483648"):
        config(a=ROOT | {"linear": {"seed": 2**32}})


def test_undecided_branches_wait_with_their_descendants() -> None:
    largest = {"largest": 1}
    tree = config(a=ROOT, b=child("a", select={}), c=child("b", select=largest), d=child("a"))
    assert tree.ready == ("a", "d")
    assert tree.waiting == {"b": "b", "c": "b"}


def test_a_child_takes_the_data_set_of_its_parent_or_its_own() -> None:
    content = raw(a=ROOT, b=child("a", **MORE), c=child("b", dataset="wide", **MORE), d=child("c"))
    content["datasets"]["wide"] = {"particles": "wide.star"}
    tree = parse_config(content)
    assert [tree.dataset_of(name) for name in "abcd"] == ["sim", "sim", "wide", "wide"]


def test_stages_follow_from_sections() -> None:
    branch = config(a=ROOT | {"heterogeneous": {"epochs": 3}}).branches["a"]
    assert branch.stages == (
        "consensus",
        "linear",
        "heterogeneous",
        "convergence",
        "analysis",
        "classes",
        "junk",
        "export",
    )
    assert branch.model == "heterogeneous"
    with pytest.raises(ConfigError, match="no section 'homogeneous'"):
        branch.settings("homogeneous")


def test_select_reads_what_its_kinds_need() -> None:
    few, poor = {"quality": {"min_images": 5}}, {"quality": {"max_error": 2, "min_signal": 0.1}}
    tree = config(a=ROOT, b=child("a"), c=child("a", select=few), d=child("a", select=poor))
    assert tree.select_reads("b") == {"junk": ("selection.yaml", "analysis/clusters.parquet")}
    assert tree.select_reads("c") == {}
    assert tree.select_reads("d") == {
        "max_error": ("analysis/latents.parquet",),
        "min_signal": ("junk_particles.parquet",),
    }


def test_selections_inside_another_are_read_and_waited_for() -> None:
    inner = {"any_of": [{"largest": 1}, {"not": {"junk": "auto", "region": {"z0": [0, 1]}}}]}
    tree = config(a=ROOT, b=child("a", select=inner), c=child("a", select={"not": {}}))
    assert set(tree.select_reads("b")) == {"largest", "junk", "region"}
    assert tree.waiting == {"c": "c"}
    bare = {key: value for key, value in ROOT.items() if key != "junk"}
    with pytest.raises(ConfigError, match="selects by junk, which reads junk of its parent 'a'"):
        config(a=bare, b=child("a", select=inner))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read"),
        ("datasets: [", "is not valid YAML"),
        ("- a\n", "must be a mapping"),
        ("branchs: {}\n", "did you mean 'branches'?"),
    ],
)
def test_an_unusable_file_is_named(text: str | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert sentence in str(caught.value)
