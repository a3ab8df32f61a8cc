from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
import yaml
from pydantic import ValidationError

from tomopipe.analysis.choose import choose_region
from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.analysis.select import select
from tomopipe.analysis.selection import read_decisions, read_selection, write_selection
from tomopipe.cli.main import main
from tomopipe.cli.settings import add_settings, read_settings
from tomopipe.config.analysis import Select
from tomopipe.errors import ConfigError, InputError, StateError
from tomopipe.io.atomic import read_json
from tomopipe.report.words import select_words

UIDS = [f"tomo_{t}/{i:03d}" for t in (1, 10, 2) for i in range(10)]
LABELS = np.repeat([0, 1, 2], [15, 10, 5])


@pytest.fixture
def tree(tmp_path):
    """A data set of 30 particles and a parent branch with three clusters, in shuffled tables."""
    rng = np.random.default_rng(0)
    particles = pd.DataFrame({"uid": UIDS, "n_images": np.arange(30) + 1})
    (tmp_path / "dataset").mkdir()
    particles.to_parquet(tmp_path / "dataset" / "particles.parquet")
    parent = tmp_path / "parent"
    (parent / "analysis").mkdir(parents=True)
    pd.DataFrame({"uid": UIDS, "kept": True, "reason": "all"}).to_parquet(
        parent / "selected.parquet"
    )
    clusters = pd.DataFrame({"uid": UIDS, "cluster": LABELS}).iloc[rng.permutation(30)]
    clusters.to_parquet(parent / "analysis" / "clusters.parquet")
    latents = pd.DataFrame(
        {"uid": UIDS, "z0": np.arange(30.0), "umap0": -np.arange(30.0), "error": np.arange(30) / 10}
    ).iloc[rng.permutation(30)]
    latents.to_parquet(parent / "analysis" / "latents.parquet")
    table = pd.DataFrame(
        {
            "cluster": [0, 1, 2],
            "count": [15, 10, 5],
            "decision": ["keep", "unsure", "junk"],
            "reason": ["Fine.", "Odd: so so.", "Shows 3 % of the signal."],
        }
    )
    write_selection(parent / "selection.yaml", table, clusters_fingerprint(clusters))
    return tmp_path


def choose(tree, **kinds):
    choice = Select.model_validate(kinds)
    return select(tree / "dataset", tree / "child.parquet", choice, tree / "parent")


def kept(table):
    return [UIDS.index(uid) for uid in table.loc[table["kept"], "uid"]]


def edit(tree, old, new):
    path = tree / "parent" / "selection.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_root_keeps_everything(tree):
    table = select(tree / "dataset", tree / "root.parquet")
    assert table["kept"].all()
    assert set(table["reason"]) == {"all"}
    assert pd.read_parquet(tree / "root.parquet")["uid"].tolist() == UIDS


def test_automatic_junk_is_left_with_its_reason(tree):
    table = choose(tree, junk="auto")
    assert kept(table) == list(range(25))
    assert list(table["uid"]) == UIDS  # the source's order, whatever the tables' order
    assert table["reason"].iloc[29] == "junk: cluster 2. Shows 3 % of the signal."
    assert table["reason"].iloc[16] == "unsure: cluster 1. Odd: so so."


def test_a_person_s_change_is_obeyed_and_recorded(tree):
    edit(tree, "decision: unsure", "decision: junk")
    edit(tree, "  2:\n    decision: junk", "  2:\n    decision: keep")
    table = choose(tree, junk="auto")
    assert kept(table) == [*range(15), *range(25, 30)]
    assert table["reason"].iloc[20] == "junk: cluster 1, decided by a person"


def test_decisions_on_other_clusters_are_refused(tree):
    path = tree / "parent" / "analysis" / "clusters.parquet"
    table = pd.read_parquet(path)
    table["cluster"] = (table["cluster"] + 1) % 3
    table.to_parquet(path)
    with pytest.raises(StateError, match=r"selection.yaml was decided on other clusters.*junk"):
        choose(tree, junk="auto")
    assert not (tree / "child.parquet").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  2:\n", "  7:\n", "names cluster 7, which does not exist"),
        ("decision: unsure", "decision: maybe", "cluster 1 is 'maybe': write keep, junk or unsure"),
        ("  2:\n", "  two:\n", "'two' under 'clusters' is not a cluster number"),
        ("clusters:\n", "groups:\n", "no section 'clusters'"),
        ("decided_by: automatic", "decided_by: [", "not valid YAML"),
    ],
)
def test_broken_edits_are_one_sentence(tree, old, new, words):
    edit(tree, old, new)
    with pytest.raises(StateError, match=words) as error:
        choose(tree, junk="auto")
    assert "\n" not in str(error.value)


def test_a_removed_entry_is_missed(tree):
    path = tree / "parent" / "selection.yaml"
    content = yaml.safe_load(path.read_text())
    del content["clusters"][1]
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(StateError, match="says nothing about cluster 1"):
        choose(tree, junk="auto")


def test_selection_file_survives_a_round_trip(tree):
    clusters = pd.read_parquet(tree / "parent" / "analysis" / "clusters.parquet")
    found = read_selection(tree / "parent" / "selection.yaml", clusters)
    assert found.decisions == {0: "keep", 1: "unsure", 2: "junk"}
    assert not found.person
    assert found.reasons[1] == "Odd: so so."


def test_decisions_are_read_as_they_stand_whatever_their_clusters(tree):
    edit(tree, "clusters_fingerprint: sha256:", "clusters_fingerprint: sha256:0")
    found = read_decisions(tree / "parent" / "selection.yaml")
    assert found.decisions == {0: "keep", 1: "unsure", 2: "junk"}
    assert found.counts == {0: 15, 1: 10, 2: 5}
    edit(tree, "count: 10", "count: many")
    with pytest.raises(StateError, match="count of cluster 1 is 'many': write its number"):
        read_decisions(tree / "parent" / "selection.yaml")


def test_clusters_to_keep_or_to_drop(tree):
    assert kept(choose(tree, clusters={"keep": [0, 2]})) == [*range(15), *range(25, 30)]
    assert kept(choose(tree, clusters={"drop": [0]})) == list(range(15, 30))
    with pytest.raises(ConfigError, match="names 3, parent has 3 clusters, 0 to 2"):
        choose(tree, clusters={"keep": [1, 3]})


def test_a_choice_of_clusters_may_carry_their_fingerprint(tree):
    clusters = pd.read_parquet(tree / "parent" / "analysis" / "clusters.parquet")
    mark = clusters_fingerprint(clusters)
    for given in (mark, mark[:20], mark.removeprefix("sha256:")[:8]):
        assert kept(choose(tree, clusters={"keep": [2], "of": given})) == list(range(25, 30))
    with pytest.raises(StateError, match="renew 'of'"):
        choose(tree, clusters={"keep": [2], "of": "sha256:00000000"})


def test_the_largest_clusters(tree):
    assert kept(choose(tree, largest=1)) == list(range(15))
    assert kept(choose(tree, largest=2)) == list(range(25))
    with pytest.raises(ConfigError, match="more than the 3 clusters"):
        choose(tree, largest=4)


def test_regions_of_any_coordinate(tree):
    table = choose(tree, region={"z0": [3, 20], "umap0": [-10, 0]})
    assert kept(table) == list(range(3, 11))
    assert table["reason"].iloc[0] == "z0 outside 3 to 20"
    assert table["reason"].iloc[15] == "umap0 outside -10 to 0"
    with pytest.raises(ConfigError, match=r"names 'z9', .* has z0, umap0, error"):
        choose(tree, region={"z9": [0, 1]})


def test_a_region_may_carry_the_fingerprint_of_its_coordinates(tree):
    path = tree / "parent" / "analysis" / "latents.parquet"
    latents = pd.read_parquet(path)
    choice, words = choose_region(tree / "parent", {"z0": [3, 20], "umap0": [-10, 0]})
    assert words == "8 of 30 particles of parent"
    assert kept(choose(tree, **choice)) == list(range(3, 11))
    # whatever the order of rows, the other columns, and another range of the same coordinates
    latents.sample(frac=1, random_state=1).assign(error=0.0).to_parquet(path)
    wider = choice | {"region": {"umap0": [-12, 0], "z0": [3, 20]}}
    assert kept(choose(tree, **wider)) == list(range(3, 13))
    latents.assign(umap0=-latents["umap0"]).to_parquet(path)
    assert kept(choose(tree, region={"z0": [3, 20]})) == list(range(3, 21))
    with pytest.raises(StateError, match=r"those of parent are now .* renew 'region_of'"):
        choose(tree, **choice)
    with pytest.raises(ValidationError, match="region_of is given without region"):
        Select.model_validate({"largest": 1, "region_of": choice["region_of"]})


def test_an_open_region_as_a_job_is_given_it(tree):
    settings = Select.model_validate({"region": {"z0": [-np.inf, 4], "umap0": [-3, np.inf]}})
    out = tree / "open.parquet"
    words = ["select", tree / "dataset", "--parent", tree / "parent", "--out", out]
    assert main([*map(str, words), "--settings", settings.model_dump_json(exclude_none=True)]) == 0
    table = pd.read_parquet(out)
    assert kept(table) == [0, 1, 2, 3]
    assert table["reason"].iloc[29] == "z0 outside -inf to 4"
    chosen = read_json(tree / "open.lineage.json")["chosen"]["decision"]
    assert select_words(chosen) == "takes z0 from -inf to 4; takes umap0 from -3 to inf"


def test_quality_limits(tree):
    table = choose(tree, quality={"min_images": 6, "max_error": 2.0})
    assert kept(table) == list(range(5, 21))
    assert table["reason"].iloc[0] == "images 1 below 6"
    assert table["reason"].iloc[-1] == "error 2.9 above 2"
    pd.DataFrame({"uid": UIDS[::-1], "signal": np.linspace(1, 0, 30)}).to_parquet(
        tree / "parent" / "junk_particles.parquet"
    )
    assert kept(choose(tree, quality={"min_signal": 0.5})) == list(range(15, 30))


def test_kinds_combine(tree):
    table = choose(tree, junk="auto", quality={"min_images": 11}, region={"z0": [0, 19]})
    assert kept(table) == list(range(10, 20))


@pytest.mark.parametrize("name", ["uids.txt", "uids.csv", "uids.parquet"])
def test_a_file_of_uids(tree, name):
    # a substring of a tomogram's name selects nothing else: tomo_1 is not tomo_10
    wanted = [uid for uid in UIDS if uid.startswith("tomo_1/")][::-1]
    table = pd.DataFrame({"uid": wanted})
    path = tree / name
    if name.endswith(".txt"):
        path.write_text("# mine\n" + "\n".join(wanted) + "\n\n")
    elif name.endswith(".csv"):
        table.to_csv(path)
    else:
        everything = pd.DataFrame({"uid": UIDS, "kept": [u in wanted for u in UIDS]})
        everything.to_parquet(path)
    assert kept(choose(tree, file=str(path))) == list(range(10))


def test_unusable_files_of_uids_are_one_sentence(tree):
    path = tree / "uids.txt"
    with pytest.raises(InputError, match="does not exist"):
        choose(tree, file=str(path))
    path.write_text("")
    with pytest.raises(InputError, match="names no particle"):
        choose(tree, file=str(path))
    path.write_text(f"{UIDS[0]}\n{UIDS[0]}\n")
    with pytest.raises(InputError, match="twice"):
        choose(tree, file=str(path))
    path.write_text(f"{UIDS[0]}\nelsewhere/1\nelsewhere/2\n")
    with pytest.raises(StateError, match=r"names 2 particles that the data set lacks.*elsewhere/1"):
        choose(tree, file=str(path))
    assert kept(choose(tree, file=str(path), allow_missing=True)) == [0]


def test_grandchildren_choose_among_what_the_parent_kept(tree):
    first = choose(tree, junk="auto")
    child = tree / "child"
    (child / "analysis").mkdir(parents=True)
    first.to_parquet(child / "selected.parquet")
    some = [uid for uid, keep in zip(first["uid"], first["kept"], strict=True) if keep]
    # the child's clusters have labels of their own, and only its own particles
    clusters = pd.DataFrame({"uid": some[::-1], "cluster": ([1] * 20 + [0] * 5)})
    clusters.to_parquet(child / "analysis" / "clusters.parquet")
    choice = Select.model_validate({"clusters": {"keep": [0]}})
    table = select(tree / "dataset", tree / "grandchild.parquet", choice, child)
    assert kept(table) == list(range(5))
    assert list(table["uid"]) == UIDS
    assert table["reason"].iloc[29].startswith("junk: cluster 2")  # why it was left, and when
    assert table["reason"].iloc[10] == "cluster 1"


def test_another_data_set_of_the_same_particles(tree):
    (tree / "larger").mkdir()
    fewer = [uid for uid in UIDS if uid not in (UIDS[3], UIDS[4])]
    pd.DataFrame({"uid": ["new/1", *fewer[::-1]]}).to_parquet(tree / "larger" / "particles.parquet")
    choice = Select.model_validate({"largest": 1})
    with pytest.raises(StateError, match=rf"lacks 2 of the 30 .*first is '{UIDS[3]}'"):
        select(tree / "larger", tree / "out.parquet", choice, tree / "parent")
    choice = Select.model_validate({"largest": 1, "allow_missing": True})
    table = select(tree / "larger", tree / "out.parquet", choice, tree / "parent")
    reason = table.set_index("uid")["reason"]
    assert reason[UIDS[3]] == "absent"
    assert reason["new/1"] == "not in parent"
    assert sorted(kept(table)) == [0, 1, 2, *range(5, 15)]
    assert list(table["uid"])[:29] == ["new/1", *fewer[::-1]]  # the new data set's order


def test_nothing_left_and_nothing_decided_are_said(tree):
    with pytest.raises(StateError, match=r"\(region\) keeps none of 30"):
        choose(tree, region={"z0": [100, 200]})
    with pytest.raises(ConfigError, match="undecided"):
        choose(tree)
    with pytest.raises(ConfigError, match="both parent and select"):
        select(tree / "dataset", tree / "out.parquet", Select(), None)


def test_which_selections_are_decided():
    assert not Select().decided
    assert Select(junk="auto").kinds == ("junk",)
    assert Select.model_validate({"largest": 2, "quality": {"min_images": 3}}).kinds == (
        "largest",
        "quality",
    )
    for wrong in (
        {"clusters": {"keep": [1], "drop": [2]}},
        {"clusters": {"keep": []}},
        {"clusters": {}},
        {"quality": {}},
        {"region": {"z0": [2, 1]}},
        {"region": {}},
        {"largest": 0},
        {"biggest": 1},
    ):
        with pytest.raises(ValidationError):
            Select.model_validate(wrong)


def test_a_star_file_of_the_source_s_particles(planted, tmp_path):
    star = Path(read_json(planted.dataset / "import.json")["star"])
    rows = starfile.read(star)
    names = rows["rlnGroupName"].unique()[[7, 30, 100]]
    starfile.write(rows[rows["rlnGroupName"].isin(names)], tmp_path / "picked.star")
    (tmp_path / "parent").mkdir()
    select(planted.dataset, tmp_path / "parent" / "selected.parquet")
    choice = Select(file=str(tmp_path / "picked.star"))
    table = select(planted.dataset, tmp_path / "out.parquet", choice, tmp_path / "parent")
    assert np.flatnonzero(table["kept"]).tolist() == [7, 30, 100]


A, B = {"clusters": {"keep": [0, 1]}}, {"region": {"z0": [10, 27]}}


def test_selections_inside_another(tree):
    assert kept(choose(tree, any_of=[A, B])) == list(range(28))
    assert kept(choose(tree, **{"not": A})) == list(range(25, 30))
    assert kept(choose(tree, **A, **{"not": B})) == list(range(10))
    assert kept(choose(tree, **{"not": {"not": A}})) == kept(choose(tree, **A))
    assert kept(choose(tree, any_of=[B])) == kept(choose(tree, **B))


def test_de_morgan(tree):
    nor = kept(choose(tree, **{"not": {"any_of": [A, B]}}))
    assert nor == kept(choose(tree, **{"not": A}, any_of=[{"not": B}])) == [28, 29]
    nand = kept(choose(tree, **{"not": A | B}))
    assert nand == kept(choose(tree, any_of=[{"not": A}, {"not": B}]))
    assert nand == [*range(10), *range(25, 30)]


def test_reasons_of_selections_inside_another(tree):
    either = choose(tree, any_of=[A, B])["reason"]
    assert either[0] == "cluster 0"
    assert either[26] == "inside the region"  # the first that keeps it, not the first
    assert either[29] == "cluster 2; z0 outside 10 to 27"
    without = choose(tree, **{"not": A | B})["reason"]
    assert without[0] == "z0 outside 10 to 27"
    assert without[12] == "excluded: inside the region"
    twice = choose(tree, **{"not": {"not": A}})["reason"]
    assert twice[0] == "cluster 0"
    assert twice[29] == "excluded: cluster 2"


def test_a_selection_inside_another_is_checked_like_any(tree):
    with pytest.raises(ConfigError, match="names 7, parent has 3 clusters"):
        choose(tree, **{"not": {"clusters": {"keep": [7]}}})
    with pytest.raises(ConfigError, match="one inside it is"):
        choose(tree, any_of=[A, {}])
    with pytest.raises(StateError, match=r"\(not\) keeps none of 30"):
        choose(tree, **{"not": {"largest": 3}})
    path = tree / "uids.txt"
    path.write_text(f"{UIDS[0]}\nelsewhere/1\n")
    outside = {"not": {"file": str(path)}, "allow_missing": True}
    assert kept(choose(tree, **outside)) == list(range(1, 30))
    assert not Select.model_validate({"any_of": [A, {"not": {}}]}).decided
    with pytest.raises(ValidationError):
        Select.model_validate({"any_of": []})


def test_everything_is_a_flag(tree):
    parser = argparse.ArgumentParser()
    add_settings(parser, Select)
    assert read_settings(parser.parse_args(["--all"]), Select).all
    assert read_settings(parser.parse_args([]), Select).all is None


def test_selections_inside_another_on_the_command_line(tree):
    command = ["select", str(tree / "dataset"), "--parent", str(tree / "parent")]
    as_flags = [
        *command,
        "--not",
        '{"largest": 1}',
        "--any-of",
        '[{"largest": 2}, {"junk": "auto"}]',
    ]
    assert main([*as_flags, "--out", str(tree / "flags.parquet")]) == 0
    choice = Select.model_validate({"not": {"largest": 1}, "any_of": [{"largest": 2}]})
    as_json = [*command, "--settings", choice.model_dump_json(exclude_none=True)]
    assert main([*as_json, "--out", str(tree / "json.parquet")]) == 0
    for name in ("flags", "json"):
        assert kept(pd.read_parquet(tree / f"{name}.parquet")) == list(range(15, 25))
