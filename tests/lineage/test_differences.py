"""Settings that make a result another than the config wants."""

from __future__ import annotations

import pytest

from tomopipe.lineage.expected import differences


@pytest.mark.parametrize(
    ("step", "setting", "counts"),
    [
        ("heterogeneous", "memory_gb", False),
        ("homogeneous", "device", False),
        ("fit", "heterogeneous.memory_gb", False),
        ("fit", "heterogeneous.device", True),  # whether `network: auto` trains one
        ("fit", "linear.scratch", False),
        ("fit", "linear.memory_gb", True),  # how exact the statistics are
        ("linear", "memory_gb", True),
        ("report", "branches.all.linear.memory_gb", True),
        ("report", "branches.all.heterogeneous.memory_gb", False),
        ("heterogeneous", "epochs", True),
    ],
)
def test_only_what_decides_a_result_counts(step: str, setting: str, counts: bool) -> None:
    made, wanted = {"seed": 0, setting: 1}, {"seed": 0, setting: 2}
    assert differences(step, made, wanted) == ([f"{setting}: 1, the config has 2"] * counts)
