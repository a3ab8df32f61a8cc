"""Branches that run more than once become branches that run once, and stay them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tomopipe.config import Config, parse_config
from tomopipe.config.cycles import replicates_of, taken_from
from tomopipe.config.summary import waiting_words
from tomopipe.errors import ConfigError

PILOT: dict[str, Any] = {"dataset": "sim", "consensus": {}, "fit": {}, "analysis": {}, "junk": {}}
NEXT = {"parent": "pilot", "select": {"largest": 1}, "consensus": {}}


def config(**branches: Any) -> Config:
    return parse_config({"datasets": {"sim": {"simulate": {}}}, "branches": branches})


def test_a_cycle_is_a_line_of_rounds_that_ends_with_the_branch() -> None:
    found = config(pilot=PILOT | {"repeat": {"rounds": 3}}, next=NEXT)
    assert list(found.branches) == ["pilot_round1", "pilot_round2", "pilot", "next"]
    assert found.lineage("next") == ["next", "pilot", "pilot_round2", "pilot_round1"]
    selects = [found.branches[name].select for name in ("pilot_round1", "pilot_round2", "pilot")]
    assert selects[0] is None
    assert all(select is not None and select.junk == "auto" for select in selects[1:])
    assert len({found.branches[name].fit for name in list(found.branches)[:3]}) == 1


def test_short_and_long_say_the_same() -> None:
    short, long = PILOT | {"repeat": "until clean"}, PILOT | {"repeat": {"until": "clean"}}
    assert config(pilot=short).branches == config(pilot=long).branches
    assert len(config(pilot=short).branches) == 4
    three = config(pilot=PILOT | {"replicates": 3}).branches
    assert three == config(pilot=PILOT | {"replicates": {"count": 3}}).branches


def test_what_is_unrolled_is_not_unrolled_again() -> None:
    found = config(pilot=PILOT | {"repeat": "until clean", "replicates": 2}, next=NEXT)
    again = parse_config(json.loads(found.model_dump_json(by_alias=True, exclude_unset=True)))
    assert again.branches == found.branches


def test_replicates_differ_in_their_seeds_and_run_what_is_compared() -> None:
    seeded = PILOT | {"fit": {"seed": 4, "linear": {"components": 3}}, "replicates": 3}
    found = config(pilot=seeded, next=NEXT)
    assert replicates_of(found.branches, "pilot") == [
        *("pilot", "pilot_replicate2", "pilot_replicate3")
    ]
    assert replicates_of(found.branches, "next") == []
    second = found.branches["pilot_replicate2"]
    assert second.stages == ("consensus", "fit", "analysis")
    assert found.branches["pilot"].stages[-2:] == ("junk", "export")
    assert second.fit is not None and second.analysis is not None
    assert (second.fit.seed, second.fit.linear.seed, second.fit.heterogeneous.seed) == (5, 1, 1)
    assert (second.fit.linear.components, second.analysis.seed) == (3, 1)
    assert found.lineage("pilot_replicate2") == ["pilot_replicate2"]


def test_a_seed_too_large_for_replicates_is_refused() -> None:
    branch = {"fit": {"seed": 2**31 - 1}, "replicates": 3}
    with pytest.raises(ConfigError, match="leaves no room for replicates"):
        config(a=PILOT | branch)


def test_replicates_of_a_cycle_are_of_its_last_round() -> None:
    found = config(pilot=PILOT | {"repeat": {"rounds": 2}, "replicates": 2})
    assert list(found.branches) == ["pilot_round1", "pilot", "pilot_replicate2"]
    assert found.lineage("pilot_replicate2")[1:] == ["pilot_round1"]


def test_what_may_be_taken_over() -> None:
    branches = config(pilot=PILOT | {"repeat": {"rounds": 2}, "replicates": 2}).branches

    def of(name: str, stage: str) -> str | None:
        return taken_from(name, branches[name], stage)

    assert of("pilot_round1", "fit") is None
    assert of("pilot", "fit") == of("pilot", "junk") == "pilot_round1"
    assert of("pilot", "export") is None
    assert of("pilot_replicate2", "consensus") == "pilot"
    assert of("pilot_replicate2", "fit") is None


@pytest.mark.parametrize(
    ("branch", "sentence"),
    [
        ({"repeat": "until done"}, "branches.pilot.repeat: "),
        ({"repeat": {"rounds": 1}}, "branches.pilot.repeat.rounds: should be greater than"),
        ({"replicates": 1}, "branches.pilot.replicates.count: should be greater than"),
    ],
)
def test_what_cannot_be_repeated_is_refused(branch: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(pilot=PILOT | branch)
    assert sentence in str(caught.value)


def test_what_a_repeated_branch_needs() -> None:
    bare = {"dataset": "sim", "consensus": {}, "fit": {}}
    with pytest.raises(ConfigError, match="repeat needs junk in this branch: add `junk"):
        config(pilot=bare | {"repeat": "until clean"})
    with pytest.raises(ConfigError, match="replicates needs analysis in this branch"):
        config(pilot=bare | {"replicates": 2})
    with pytest.raises(ConfigError, match="makes a branch 'pilot_round1', but there is one"):
        config(pilot=PILOT | {"repeat": "until clean"}, pilot_round1=PILOT)


def test_an_undecided_cycle_waits_as_one() -> None:
    later = PILOT | {"parent": "pilot", "select": {}, "repeat": "until clean"}
    words = waiting_words(config(pilot=PILOT, later=later)).splitlines()
    assert len(words) == 1
    assert words[0].startswith("later waits for a decision: look at pilot")
    assert "fill in branches.later.select" in words[0]
