"""What the report says and draws of the falloff of the signal: what its file says, no more."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from tomopipe.errors import StateError
from tomopipe.io.atomic import write_json
from tomopipe.reconstruct.factors import Estimate
from tomopipe.reconstruct.falloff import Falloff
from tomopipe.report.build import build_report
from tomopipe.report.collect import collect
from tomopipe.report.falloff import (
    bfactor_share,
    falloff_figures,
    falloff_sentence,
    thickness_share,
    tomogram_table,
)
from tomopipe.report.records import DatasetRecord

# of EMPIAR-10499, rounded
REAL: dict[str, Any] = {
    "thickness": {"value": 0.738, "error": 0.208, "used": 0.680},
    "dose": {"value": 60.9, "error": 19.5, "used": 54.7},
    "tomograms": {
        "Unt_050.tomostar": {"bfactor_A2": 7387.0, "error": 1052.0, "used": 7088.0},
        "Unt_076.tomostar": {"bfactor_A2": 16146.0, "error": 3217.0, "used": 11578.0},
        "Unt_083.tomostar": {"bfactor_A2": 2315.0, "error": 1179.0, "used": 2198.0},
        "Unt_088.tomostar": {"bfactor_A2": -743.0, "error": 274.0, "used": -741.0},
    },
    "resolution_angstrom": 34.9,
    "level": [0.865, 2270.5],
}
UNIT = 4 * 34.9**2  # Å^2, the B-factor that leaves 1 / e there
NOTHING = {name: {**row, "used": 0.0} for name, row in REAL["tomograms"].items()}


def dataset(found: dict[str, Any] | None, *, tilt: float = 60.0, dose: float = 120.0) -> Any:
    images = pd.DataFrame({"tilt_degrees": [0.0, -tilt], "dose_e_per_A2": [0.0, dose]})
    return DatasetRecord("d", "", Path("d"), None, images, {}, None, found)


def unimaged(found: dict[str, Any]) -> Any:
    return DatasetRecord("d", "", Path("d"), None, None, {}, None, found)


def of(bfactors: dict[str, float], **more: Any) -> dict[str, Any]:
    """A file with these B-factors of tomograms and without other terms."""
    rows = {n: {"bfactor_A2": b, "error": 300.0, "used": 0.9 * b} for n, b in bfactors.items()}
    return {**REAL, "thickness": None, "dose": None, "tomograms": rows, **more}


def drawn(found: dict[str, Any] | None, **images: float) -> dict[str, str]:
    return {title: str(svg) for title, svg in falloff_figures(dataset(found, **images))}


def tips(svg: str) -> list[str]:
    return [t.text or "" for t in ElementTree.fromstring(svg).iter("title")]


def points(svg: str) -> np.ndarray:
    """Positions and values of a curve, `(n, 2)`, as they are said on hover."""
    return np.array([[float(v) for v in tip.split(": ")[1].split(", ")] for tip in tips(svg)])


def test_a_real_set_is_told_with_its_worst_tomogram() -> None:
    tilt = 100 * math.exp(-0.680)  # at 60 degrees electrons have twice the way
    dose = 100 * math.exp(-54.7 * 120 / UNIT)
    worst = 100 * math.exp(-(11578 - (7088 + 2198) / 2) / UNIT)
    assert falloff_sentence(dataset(REAL)) == (
        "The signal is not all as CTF and usual radiation damage explain it: at 34.9 Å, images at "
        f"60° tilt show {tilt:.0f} % of the signal of untilted ones, images at 120 e⁻/Å² show "
        f"{dose:.0f} % of that of unexposed ones and tomogram Unt_076.tomostar shows {worst:.0f} % "
        "of that of the median tomogram. Models take this into account, but look at the alignment "
        "of Unt_076.tomostar: it keeps less than half of the median's signal."
    )


def test_nothing_is_said_without_the_file() -> None:
    assert falloff_sentence(dataset(None)) == ""
    assert drawn(None) == {}


def test_nothing_beyond_errors_is_said_and_not_drawn() -> None:
    found = {**REAL, "thickness": None, "dose": None, "tomograms": NOTHING}
    said = "Tilt, dose and tomograms show the signal as modelled, to 34.9 Å: nothing differs "
    assert falloff_sentence(dataset(found)) == f"{said}beyond its error."
    assert drawn(found) == {}


def test_half_maps_that_hardly_agree_are_said_to() -> None:
    for found in (Falloff().record(), {}):
        assert "the half-maps agree in too few shells" in falloff_sentence(dataset(found))
        assert drawn(found) == {}


def test_each_term_is_told_without_the_others() -> None:
    other = {"thickness": None, "dose": None, "tomograms": NOTHING}
    tilt = falloff_sentence(dataset({**REAL, **other, "thickness": REAL["thickness"]}))
    assert "60° tilt" in tilt and "e⁻" not in tilt and "Unt" not in tilt
    assert tilt.endswith("untilted ones. Models take this into account.")
    dose = falloff_sentence(dataset({**REAL, **other, "dose": REAL["dose"]}))
    assert "120 e⁻/Å² show 26 % of" in dose and "tilt" not in dose and "Unt" not in dose


def test_a_set_that_is_tilted_less_is_told_of_its_own_tilt() -> None:
    share = math.exp(-0.680 * (1 / math.cos(math.radians(45)) - 1))
    said = falloff_sentence(dataset(REAL, tilt=45))
    assert f"images at 45° tilt show {100 * share:.0f} % of the signal" in said
    assert "images at 60° tilt show 51 %" in falloff_sentence(dataset(REAL, tilt=66))


@pytest.mark.parametrize("known", [unimaged(REAL), dataset(REAL, dose=float("nan"))])
def test_an_unknown_dose_leaves_the_bfactor(known: DatasetRecord) -> None:
    said = falloff_sentence(known)
    assert "dose adds a B-factor of 54.7 Å² for each e⁻/Å²" in said
    assert "images at 60° tilt show 51 %" in said
    assert [title for title, _ in falloff_figures(known)] == [
        "Signal left by tilt",
        "B-factors of tomograms",
    ]


def test_weak_tomograms_are_counted_and_mild_ones_left_in_peace() -> None:
    half = UNIT * math.log(2)  # of the B-factors that are used, 0.9 of what was measured
    mild = of({"a": 0.0, "b": 0.0, "c": 0.9 * half / 0.9})
    assert "tomogram c shows 54 % of that of the median" in falloff_sentence(dataset(mild))
    assert "alignment" not in falloff_sentence(dataset(mild))
    weak = of({"a": 0.0, "b": 0.0, "c": 1.1 * half / 0.9, "d": 3 * half / 0.9, "e": -50.0})
    said = falloff_sentence(dataset(weak))
    assert "look at the alignment of d and of 1 more tomogram: they keep less than half" in said


def test_more_signal_than_modelled_is_told_too() -> None:
    found = {**REAL, "dose": {"value": -10.0, "error": 2.0, "used": -9.6}}
    share = math.exp(9.6 * 120 / UNIT)
    assert f"e⁻/Å² show {100 * share:.0f} % of that" in falloff_sentence(dataset(found))
    curve = points(drawn(found)["Signal left by dose, at 34.9 Å"])
    assert curve[-1] == pytest.approx([120, 100 * share], rel=1e-3)


def test_a_tomogram_of_one_particle_is_neither_median_nor_worst_nor_drawn() -> None:
    lone = {"bfactor_A2": 90000.0, "error": None, "used": 0.0}
    found = {**REAL, "tomograms": {**REAL["tomograms"], "lone": lone}}
    assert falloff_sentence(dataset(found)) == falloff_sentence(dataset(REAL))
    svg = drawn(found)["B-factors of tomograms"]
    assert "lone" not in svg
    assert "and 1 tomogram with too few particles, not shown" in svg
    assert "not shown" not in drawn(REAL)["B-factors of tomograms"]


def test_the_chart_of_tomograms_holds_the_values_of_the_file() -> None:
    svg = drawn(REAL)["B-factors of tomograms"]
    assert [tip for tip in tips(svg) if "±" in tip] == [
        "Unt_088.tomostar: -743 ± 274, -741 Å² used",
        "Unt_083.tomostar: 2,315 ± 1,179, 2,198 Å² used",
        "Unt_050.tomostar: 7,387 ± 1,052, 7,088 Å² used",
        "Unt_076.tomostar: 16,146 ± 3,217, 11,578 Å² used",
    ]
    rows = list(ElementTree.fromstring(svg).iter("g"))
    assert [g.get("fill") == "#d55e00" for g in rows] == [False, False, False, True]
    place = [[float(g[1].get("x1")), float(g[2].get("cx")), float(g[1].get("x2"))] for g in rows]
    table = pd.DataFrame.from_dict(REAL["tomograms"], orient="index").sort_values("bfactor_A2")
    value, error = table["bfactor_A2"].to_numpy(), table["error"].to_numpy()
    ends = np.stack([value - error, value, value + error], axis=1)
    slope, offset = np.polyfit(ends.ravel(), np.ravel(place), 1)
    assert np.abs(slope * ends + offset - place).max() < 0.1  # pixels


def test_many_tomograms_are_drawn_as_their_distribution() -> None:
    rng = np.random.default_rng(0)
    found = of({f"t{i:02d}": b for i, b in enumerate(rng.normal(0, 2000, 60))})
    svg = drawn(found)["B-factors of tomograms"]
    assert sum(int(tip.rsplit(": ", 1)[1]) for tip in tips(svg)) == 60
    assert "t00" not in svg
    few = {name: found["tomograms"][name] for name in list(found["tomograms"])[:40]}
    assert drawn({**found, "tomograms": few})["B-factors of tomograms"].count("±") == 40


def test_curves_show_what_is_left() -> None:
    charts = drawn(REAL)
    tilt = points(charts["Signal left by tilt"])
    length = 1 / np.cos(np.deg2rad(tilt[:, 0]))
    assert tilt[-1, 0] == 60
    assert tilt[:, 1] == pytest.approx(100 * np.exp(-0.680 * (length - 1)), rel=1e-3)
    dose = points(charts["Signal left by dose, at 34.9 Å"])
    assert dose[-1, 0] == 120
    assert dose[:, 1] == pytest.approx(100 * np.exp(-54.7 * dose[:, 0] / UNIT), rel=1e-3)


def test_shares_are_those_that_models_use() -> None:
    """Columns that `prepare` writes for images, against what the report makes of its record."""
    rows = pd.DataFrame.from_dict(REAL["tomograms"], orient="index")
    terms = {name: Estimate(**REAL[name]) for name in ("thickness", "dose")}
    found = Falloff(**terms, tomograms=rows, resolution_angstrom=34.9)
    tilts, doses = np.array([0.0, 60, 30, 0]), np.array([0.0, 0, 50, 0])
    images = pd.DataFrame({"tilt_degrees": tilts, "dose_e_per_A2": doses})
    names = np.array(["Unt_050.tomostar"] * 3 + ["Unt_076.tomostar"], dtype=object)
    columns = found.columns(images, names)
    said = json.loads(json.dumps(found.record()))
    assert thickness_share(0.680, tilts) == pytest.approx(columns["falloff_scale"], abs=1e-5)
    bfactor = columns["falloff_bfactor_A2"]
    share = bfactor_share(bfactor - bfactor[0], 34.9)
    assert share[2] == pytest.approx(bfactor_share(np.array(54.7 * 50), 34.9))
    table = tomogram_table(said)["share"]
    assert share[3] == pytest.approx(table["Unt_076.tomostar"] / table["Unt_050.tomostar"])


def test_the_page_shows_it(fake_results, tmp_path) -> None:
    config, results = fake_results
    shutil.copytree(results, tmp_path / "results")
    build_report(config, results, tmp_path / "before.html")
    path = tmp_path / "results/datasets/demo/store/falloff.json"
    write_json(path, of({"TS_01": -500.0, "TS_02": 0.0, "TS_03": 100.0, "TS_04<": 9000.0}))
    build_report(config, tmp_path / "results", tmp_path / "report.html")
    before, after = ((tmp_path / f"{name}.html").read_text() for name in ("before", "report"))
    assert "B-factor" not in before
    section = after.split('id="data-demo"')[1].split("</section>")[0]
    assert "look at the alignment of TS_04&lt;: it keeps less than half" in section
    assert "<figcaption>B-factors of tomograms</figcaption>" in section
    assert "TS_04&lt;: 9,000 ± 300, 8,100 Å² used" in section
    assert "Signal left" not in section


def test_a_damaged_file_is_an_error_and_a_missing_one_is_none(fake_results, tmp_path) -> None:
    config, results = fake_results
    assert collect(config, results).datasets["demo"].falloff is None
    shutil.copytree(results, tmp_path / "results")
    path = tmp_path / "results/datasets/demo/store/falloff.json"
    write_json(path, REAL)
    assert collect(config, tmp_path / "results").datasets["demo"].falloff == REAL
    path.write_text('{"thickness": ')
    with pytest.raises(StateError, match=re.escape("falloff.json")):
        collect(config, tmp_path / "results")
