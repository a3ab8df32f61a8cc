"""Charts say what the numbers say."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from tomopipe.report import charts, figures
from tomopipe.report.axes import axis
from tomopipe.report.charts import Series


def _parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.sub(r"<ul.*", "", svg, flags=re.S))


def _text(svg: str) -> list[str]:
    return [t.text or "" for t in _parse(svg).iter("text")]


def test_first_crossing_is_the_first_and_interpolated():
    frequency = [0.01, 0.02, 0.03, 0.04]
    found = figures.first_crossing(frequency, [0.9, 0.043, 0.5, 0.0])
    assert found == pytest.approx(0.01 + 0.01 * (0.9 - 0.143) / (0.9 - 0.043))
    assert figures.first_crossing(frequency, [0.9, 0.8, 0.7, 0.2]) is None


def test_fsc_marks_the_resolution_that_was_given():
    frequency = np.arange(1, 16) / 320
    table = pd.DataFrame({"frequency_per_angstrom": frequency, "fsc": np.linspace(1, 0, 15)})
    assert "28.4 Å" in _text(figures.consensus_fsc(table, 28.4))


def test_points_lie_where_the_values_say():
    x, y = axis([0, 10], "x"), axis([0, 100], "y")
    svg = charts.lines([Series("a", [0, 10], [0, 100])], x, y, title="t")
    line = next(_parse(svg).iter("polyline")).get("points").split()
    assert line[0] == f"{charts.LEFT:.1f},{charts.HEIGHT - charts.BOTTOM:.1f}"
    assert line[1] == f"{charts.WIDTH - charts.RIGHT:.1f},{charts.TOP:.1f}"


def test_values_that_are_not_finite_are_left_out():
    x, y = axis([0, 2], "x"), axis([1, 2], "y")
    svg = charts.lines([Series("a", [0, 1, 2], [1, float("nan"), 2])], x, y, title="t")
    assert len(next(_parse(svg).iter("polyline")).get("points").split()) == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 5], ["0", "1", "2", "3", "4", "5"]),
        ([3.0, 3.0], None),
        ([], None),
        ([1e-9, 2e-9], None),
    ],
)
def test_ticks_are_round_and_always_there(values, expected):
    found = axis(values, "x")
    assert len(found.ticks) >= 2
    assert found.high > found.low
    if expected:
        assert list(found.ticks.values()) == expected


def test_histogram_counts_whole_numbers_one_by_one():
    svg = figures.histogram([3, 3, 4, 6], "tilts", "particles")
    tips = [t.text for t in _parse(svg).iter("title")]
    assert tips == ["3: 2", "4: 1", "5: 0", "6: 1"]
    assert figures.histogram([float("nan")], "tilts", "particles") is None


@pytest.mark.parametrize("step", [3.0, 2.7, 1.5])
def test_histogram_of_evenly_spaced_values_is_no_comb(step):
    values = np.tile(step * np.arange(1, 42), 5)
    drawn = figures.histogram(values.tolist(), "dose", "images")
    counts = [int(t.split(": ")[1]) for t in re.findall("<title>([^<]*: [0-9]+)</title>", drawn)]
    assert set(counts) <= {0, 5}
    assert sum(counts) == len(values)


def test_losses_above_the_axis_keep_their_value():
    metrics = pd.DataFrame({"epoch": range(1, 5), "loss": [9.0, 1.2, 1.1, 1.0]})
    drawn = str(figures.losses(metrics))
    assert "training: 1, 9" in drawn
    assert min(float(y) for y in re.findall(r'cy="([-0-9.]+)"', drawn)) >= charts.TOP


def test_tomograms_that_are_not_shown_are_counted():
    names = pd.Series(np.repeat([f"t{i:03d}" for i in range(50)], 3))
    clusters = pd.Series(np.tile([0, 1, 0], 50))
    twice, same = (pd.concat([s, s[:90]], ignore_index=True) for s in (names, clusters))
    drawn = figures.per_tomogram(twice, same, ["a", "b"])
    assert "and 10 tomograms with 30 particles in all, not shown" in drawn
    assert "not shown" not in figures.per_tomogram(names[:60], clusters[:60], ["a", "b"])


def test_tomograms_are_named_or_counted():
    few = pd.Series(np.repeat([f"t{i:03d}" for i in range(40)], 3))
    assert "t039" in figures.tomogram_counts(few)
    assert figures.tomogram_spread(few) is None
    many = pd.Series(np.repeat([f"t{i:03d}" for i in range(50)], [3] * 45 + [4] * 5))
    assert figures.tomogram_counts(many) is None
    drawn = figures.tomogram_spread(many)
    assert "<title>3: 45</title>" in drawn and "<title>4: 5</title>" in drawn


def test_stacked_bars_hold_every_particle_once():
    tomograms = pd.Series(["a", "a", "b", "a<&>"])
    svg = figures.per_tomogram(tomograms, pd.Series([0, 1, 1, 0]), ["cluster 0", "cluster 1"])
    tips = [t.text for r in _parse(svg).iter("rect") for t in r.iter("title")]
    assert sum(int(tip.rsplit(": ", 1)[1]) for tip in tips) == 4
    assert "a<&>, cluster 0: 1" in tips


def test_one_epoch_is_a_chart_too():
    metrics = pd.DataFrame({"epoch": [1], "loss": [1.0], "validation": [None]})
    assert "circle" in figures.losses(metrics)
    assert figures.by_epoch([], [], "shift", 0.1) is None


def test_counts_are_ticked_at_whole_numbers():
    """Particles of 20 or 21 tilts: no ticks at 20.2, 20.4, … that run into each other."""
    figure = figures.histogram([20.0] * 5 + [21.0] * 9, "tilt images", "particles")
    assert figure is not None
    assert ">20<" in figure and ">21<" in figure
    assert "20.2" not in figure
