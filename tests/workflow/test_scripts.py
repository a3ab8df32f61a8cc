"""The scripts beside the workflow: the demo's voice, and the collection of benchmarks."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import collect, docs
from benchmarks.scale import costs
from benchmarks.scale.measure import run
from benchmarks.scale.sets import Size, write_raw
from tests.workflow.plan import ROOT
from tomopipe.config.prepare import PrepareSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import Store

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "benchmarks" / "branches" / "pilot"
    folder.mkdir(parents=True)
    row = "125.5\t0:02:05\t641.6\t1\t1\t1\t1\t1\t47\t212.7\n"
    (folder / "linear.tsv").write_text(HEADER + row)
    (folder / "select.tsv").write_text(HEADER + "0.4\t0:00:00\t-\t-\t-\t-\t-\t-\t0\tNA\n")
    return tmp_path / "results"


def test_benchmarks_become_a_table(measured: Path) -> None:
    rows = collect.read_benchmarks(measured)
    assert {row.step for row in rows} == {"branches/pilot/linear", "branches/pilot/select"}
    block = collect.table(measured, rows)
    assert "| branches/pilot/linear | 2 min 05 s | 642 MB |" in block
    assert "| branches/pilot/select | 0.4 s | – |" in block


def test_figures_are_replaced_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "DOCS", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks.md").write_text("By hand.\n<!-- begin a -->\n<!-- end a -->\n")
    other = tmp_path / "benchmarks" / "cost.md"
    other.write_text("<!-- begin b -->\nold\n<!-- end b -->\n<!-- begin a b -->\n<!-- end a b -->")
    docs.write_section("b", "642 MB")
    docs.write_section("b", r"700 \1 MB")
    docs.write_section("a", "here")
    assert other.read_text() == (
        "<!-- begin b -->\n700 \\1 MB\n<!-- end b -->\n<!-- begin a b -->\n<!-- end a b -->"
    )
    first = (tmp_path / "benchmarks.md").read_text()
    assert first == "By hand.\n<!-- begin a -->\nhere\n<!-- end a -->\n"
    with pytest.raises(SystemExit, match="no page"):
        docs.write_section("c", "x")


def test_the_demo_shows_steps_and_explains_failures(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    demo = load("workflow/scripts/demo.py")
    show = demo.Display(start=0.0)
    show.live = False
    for line in (
        "total   25",
        "Job 3: pilot: linear model",
        "4 of 25 steps (16%) done",
        "Job 4: x",
    ):
        show.line(line)
    said = capsys.readouterr().out
    assert re.search(r" 0/25  pilot: linear model\n.* 4/25  x\n", said)
    log = tmp_path / "linear.log"
    log.write_text("tomopipe: it broke\n")
    demo.explain(["Error in rule linear:", f"    log: {log} (check log file(s) for error details)"])
    assert "tomopipe: it broke" in capsys.readouterr().out


def test_the_demo_ends_with_what_was_recovered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    demo = load("workflow/scripts/demo.py")
    monkeypatch.setattr(demo, "RESULTS", tmp_path)
    monkeypatch.setattr(demo, "run", lambda arguments, start: (0, []))
    figures = {"ari": 0.98765, "spearman": None, "fsc_area": 0.5, "junk": {"recall": 1.0}}
    (tmp_path / "recovery.json").write_text(json.dumps(figures))
    assert demo.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "recovered: ari=0.988 spearman=none fsc_area=0.500"
    assert f"Report: {tmp_path}/report.html" in lines


def test_the_demo_ends_as_snakemake_does_where_a_step_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = load("workflow/scripts/demo.py")
    monkeypatch.setattr(demo, "run", lambda arguments, start: (3, ["no rule makes it"]))
    assert demo.main([]) == 3
    said = capsys.readouterr().out
    assert "no rule makes it" in said
    assert "recovered" not in said


def test_sizes_of_the_cost_benchmark_are_what_a_store_keeps(tmp_path: Path) -> None:
    """The paper estimate counts coefficients as a real store of the same kind does."""
    size = Size(particles=3, tilts=5, box=16)
    import_star(write_raw(size, tmp_path / "raw"), tmp_path / "data")
    prepare(tmp_path / "data", tmp_path / "store", PrepareSettings(workers=1))
    store = Store.open(tmp_path / "store")
    assert (store.n_particles, store.n_images) == (3, 15)
    assert store.kept_counts.sum() == costs.kept_coefficients(size)


def test_costs_are_fitted_as_powers_and_sums_of_their_parts() -> None:
    x = [1.0, 2.0, 4.0]
    assert costs.exponent(x, [3 * v**1.5 for v in x]) == pytest.approx(1.5)
    rows = [
        costs.Row("round", size, costs.K, costs.Z, n, 0.1 + 2e-6 * n + 3e-6 * size.box**3, 0.0)
        for size, n in ((Size(10, 5, 16), 10**5), (Size(10, 5, 32), 10**6), (Size(9, 5, 48), 10**6))
    ]
    rows.append(
        costs.Row("round", rows[0].size, costs.K, costs.Z, 3 * 10**5, 0.7 + 3e-6 * 16**3, 0.0)
    )
    assert costs.parts_of(rows, "round") == pytest.approx((0.1, 2.0, 3.0))


def test_memory_of_a_process_counts_what_it_takes_and_the_limit_holds(tmp_path: Path) -> None:
    code = "import time; held = bytearray(200_000_000); time.sleep(0.5)"
    cost = run(["-c", code], limit_gb=1.0)
    assert 0.2 < cost.own_gb < 0.3
    with pytest.raises(RuntimeError, match="MemoryError"):
        run(["-c", code], limit_gb=0.1)


def test_a_demo_without_a_result_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    demo = load("workflow/scripts/demo.py")
    monkeypatch.setattr(demo, "RESULTS", tmp_path)
    monkeypatch.setattr(demo, "run", lambda arguments, start: (0, []))
    assert demo.main([]) == 1
    assert "recovery.json is not there" in capsys.readouterr().err
