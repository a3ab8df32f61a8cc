"""What the report says of recovery beyond the headline."""

from __future__ import annotations

from typing import Any

from tomopipe.report.recovered import junk_rows, perturbation, surroundings


def series(*degrees: float) -> dict[str, Any]:
    """Recovery of data sets that differ in the error of their poses."""
    return {
        "datasets": {
            f"d{i}": {
                "ari": 1 - d / 10,
                "fsc_area": 0.8,
                "states": {"whole": {"area": 0.9}, "part": {"area": 0.7}},
                "perturbation": {"degrees": d, "angstrom": d},
                "branches": {},
            }
            for i, d in enumerate(degrees)
        }
    }


def test_a_series_of_errors_is_drawn_from_three_on() -> None:
    assert perturbation({}) is None
    assert perturbation(series(0, 0.1)) is None
    assert perturbation(series(0, 0, 0)) is None
    drawn = perturbation(series(6.4, 0, 0.1))
    assert drawn is not None
    assert drawn.index(">0<") < drawn.index(">0.1<") < drawn.index(">6.4<")


def test_every_branch_with_surroundings_has_a_row() -> None:
    found = {"clusters": [1, 3], "ari": 0.9, "precision": 0.8, "recall": 1.0, "f1": 0.9}
    record = {
        "datasets": {
            "small": {"branches": {"pilot": {"ari": 1}}, "junk": {"true": 0, "precision": None}},
            "large": {
                "branches": {"around": {"found": {"neighbours": found, "membrane": found}}},
                "junk": {"true": 9, "precision": 1.0, "recall": 0.5},
            },
        }
    }
    rows = surroundings(record)
    assert [(r.branch, r.what, r.clusters) for r in rows] == [
        ("around", "in a chain", "1, 3"),
        ("around", "on the membrane", "1, 3"),
    ]
    assert junk_rows(record) == [("large", 1.0, 0.5)]


def test_junk_of_which_nothing_was_found_has_a_row() -> None:
    junk = {"true": 50, "found": 0, "precision": None, "recall": 0.0}
    assert junk_rows({"datasets": {"sim": {"junk": junk}}}) == [("sim", None, 0.0)]
    assert junk_rows({"datasets": {"sim": {"junk": {"true": 0}}}}) == []
