"""Settings that make a result another than the config wants."""

from __future__ import annotations

from typing import Any

import pytest

from tomopipe.config import parse_config
from tomopipe.config.base import Section
from tomopipe.config.branch import RESULTS, Branch
from tomopipe.config.fit import FitSettings
from tomopipe.config.linear import LinearSettings
from tomopipe.config.prepare import PrepareSettings
from tomopipe.config.training import HeterogeneousSettings, HomogeneousSettings
from tomopipe.lineage.expected import differences

RUN = parse_config(
    {
        "results": "out",
        "datasets": {"d": {"particles": "particles.star"}},
        "branches": {"all": {"dataset": "d", "linear": {}, "heterogeneous": {}}},
    },
    "a test",
)


@pytest.mark.parametrize(
    ("wanted", "setting", "value", "counts"),
    [
        (HeterogeneousSettings(), "memory_gb", 2.0, False),
        (HomogeneousSettings(), "device", "cuda", False),
        (FitSettings(), "heterogeneous.memory_gb", 2.0, False),
        (FitSettings(), "heterogeneous.device", "cpu", True),  # `network: auto` looks at it
        (FitSettings(), "linear.scratch", "/fast", False),
        (FitSettings(), "linear.memory_gb", 2.0, True),  # how exact the statistics are
        (LinearSettings(), "memory_gb", 2.0, True),
        (PrepareSettings(), "workers", 3, False),
        (RUN, "branches.all.linear.memory_gb", 2.0, True),
        (RUN, "branches.all.heterogeneous.memory_gb", 2.0, False),
        (RUN, "datasets.d.prepare.workers", 2, False),
        (HeterogeneousSettings(), "epochs", 7, True),
    ],
)
def test_only_what_decides_a_result_counts(
    wanted: Section, setting: str, value: object, counts: bool
) -> None:
    made = wanted.model_dump(mode="json", by_alias=True)
    *path, last = setting.split(".")
    place: dict[str, Any] = made
    for name in path:
        place = place[name]
    was = place[last]
    place[last] = value
    assert differences(made, wanted) == (
        [f"{setting}: {value}, the config has {was}"] if counts else []
    )
    if wanted is not RUN:
        assert wanted.decide_as(made) is not counts


@pytest.mark.parametrize("stage", [stage for stage in RESULTS if stage in Branch.model_fields])
def test_every_stage_knows_its_own_settings(stage: str) -> None:
    model = "fit" if stage == "fit" else "linear"
    needed: dict[str, Any] = {key: {} for key in ("consensus", model, "analysis", stage)}
    if stage == "convergence":
        needed["heterogeneous"] = {}
    settings = Branch.model_validate({"dataset": "d", **needed}).settings(stage)
    assert settings.decide_as(settings.model_dump(mode="json"))


def test_settings_of_another_version_decide_nothing_alike() -> None:
    assert differences({"gone": 1}, Section()) == ["gone: 1, the config has None"]
    assert not Section().decide_as({"gone": 1})
