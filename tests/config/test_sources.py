"""Data sets cut out of tilt series: what a config may say, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from tomopipe.config import Config, parse_config
from tomopipe.errors import ConfigError


def scales(**changes: Any) -> dict[str, Any]:
    """Two data sets of the same simulated particles; the large one holds what `clean` kept."""
    small = {"tilt_series": "cell", "box": 32, "pixel_size_angstrom": 10}
    stages = {"linear": {}, "analysis": {}}
    raw: dict[str, Any] = {
        "results": "out",
        "tilt_series": {"cell": {"simulate": {}}, "real": {"path": "tomograms.star"}},
        "datasets": {
            "small": {"extract": small},
            "large": {"extract": small | {"box": 64, "keep": "clean"}},
        },
        "branches": {
            "pilot": {"dataset": "small", "consensus": {}, "junk": {}} | stages,
            "clean": {"parent": "pilot", "select": {"junk": "auto"}} | stages,
            "around": {"parent": "clean", "dataset": "large", "select": {"all": True}} | stages,
        },
    }
    for path, value in changes.items():
        *way, last = path.split("__")
        place = raw
        for key in way:
            place = place[key]
        place[last] = value
    return raw


def test_extracted_particles_keep_their_truth() -> None:
    config = parse_config(scales())
    assert config.truth_of("small") == config.truth_of("large") == "tilt_series/cell/simulated"
    real = {"tilt_series": "real", "particles": "p.star", "box": 32, "pixel_size_angstrom": 10}
    config = parse_config(scales(datasets__small={"extract": real}))
    assert config.truth_of("small") is None


def test_a_branch_waits_for_the_decision_that_its_data_set_needs() -> None:
    config = parse_config(scales(branches__clean__select={}))
    assert config.ready == ("pilot",)
    assert config.waiting == {"clean": "clean", "around": "clean"}
    apart = scales(branches__clean__select={})
    apart["branches"]["alone"] = {"dataset": "large", "consensus": {}}
    config = parse_config(apart)
    assert config.waiting["alone"] == "clean"


def test_only_on_extracted_data_sets_may_particles_be_missing() -> None:
    config = parse_config(scales())
    around, clean = config.select_of("around"), config.select_of("clean")
    assert around is not None and around.allow_missing
    assert clean is not None and clean.allow_missing  # small is extracted too
    plain = {
        "results": "out",
        "datasets": {"d": {"simulate": {}}},
        "branches": {
            "a": {"dataset": "d", "linear": {}, "analysis": {}},
            "b": {"parent": "a", "select": {"largest": 1}},
        },
    }
    chosen = parse_config(plain).select_of("b")
    assert chosen is not None and not chosen.allow_missing


def test_what_the_verb_takes_leaves_out_where_things_come_from() -> None:
    raw = scales(tilt_series__real__read={"hand": 1})
    raw["datasets"]["large"]["extract"] |= {"tilt_series": "real", "particles": "p.star"}
    config = Config.model_validate(raw)
    extract = config.datasets["large"].extract
    assert extract is not None
    settings = extract.settings(config.tilt_series["real"].read)
    assert (settings.box, settings.tilt_series.hand) == (64, 1)
    assert not hasattr(settings, "keep")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datasets__small__extract__tilt_series": "cells"}, "known are cell, real"),
        ({"datasets__small__extract__tilt_series": "real"}, "set particles of extract"),
        ({"datasets__large__extract__keep": "clear"}, "unknown branch 'clear'"),
        ({"datasets__large__extract__keep": "around"}, "is made from it"),
        ({"datasets__small__particles": "p.star"}, "exactly one of particles"),
        ({"tilt_series__real__simulate": {}}, "exactly one of path"),
        ({"datasets__small__extract__box": 33}, "box"),
        ({"tilt_series__cell__simulate": {"image_pixels": [-5, 0]}}, r"image_pixels\.0: should be"),
        ({"tilt_series__cell__simulate": {"volume_angstrom": [0, 0, 0]}}, r"volume_angstrom\.0"),
        ({"tilt_series__cell__simulate": {"tilts": 61}}, "degrees reach 180: stay below 90"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        parse_config(scales(**changes))
    assert "\n" not in str(error.value)
