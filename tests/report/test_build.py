"""The page as text: everything there is said, nothing that is missing breaks it."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tomopipe.config import STEP_FORMAT
from tomopipe.config.fit import FitSettings
from tomopipe.config.linear import LinearSettings
from tomopipe.errors import StateError
from tomopipe.lineage.record import Record
from tomopipe.lineage.write import recorded
from tomopipe.report.build import build_report
from tomopipe.report.collect import collect


@pytest.fixture(scope="module")
def page(fake_results, tmp_path_factory) -> str:
    config, results = fake_results
    out = tmp_path_factory.mktemp("page") / "report.html"
    build_report(config, results, out)
    return out.read_text()


def _embedded(page: str, name: str) -> object:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found, name
    return json.loads(found[1])


def test_nothing_is_fetched(page):
    attributes = re.findall(r'\s(?:src|href|srcset|action)="([^"]*)"', page)
    assert {a.split(":")[0][:5] for a in attributes if not a.startswith("#")} <= {"data"}
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page)


def test_titles_are_escaped(page):
    assert "A faked run &lt;of&gt; blobs &amp; more" in page
    assert "<of>" not in page


def test_verdicts_are_said_in_words(page):
    for words in (
        "By the automatic rule, 42 particles (18 %; cluster 3) are junk.",
        "converged at epoch 14",
        "28.4 Å",
        "waits for your decision",
    ):
        assert words in page


def test_waiting_branches_say_for_what(page):
    assert "branches.later.select" in page
    assert "Waits for later, which is undecided." in page


def test_latent_plot_holds_every_particle_with_its_own_uid(page, fake_results):
    _, results = fake_results
    latents = pd.read_parquet(results / "branches/clean/analysis/latents.parquet")
    uids = _embedded(page, "uids-demo")
    plot = _embedded(page, "latents-data-clean")
    rows = np.frombuffer(base64.b64decode(plot["rows"]), "<u4")
    assert [uids[i] for i in rows] == latents["uid"].tolist()
    packed = plot["axes"]["z0"]
    raw = np.frombuffer(base64.b64decode(packed["data"]), "<u2")
    z = packed["low"] + raw * (packed["high"] - packed["low"]) / 65534
    assert np.abs(z - latents["z0"]).max() < 1e-3
    assert set(plot["colours"]) >= {"cluster", "decision", "state", "tomogram", "error"}


def test_truth_is_shown_where_it_means_something(page):
    recovery = page.split('id="recovery"')[1].split("</section>")[0]
    assert "ARI 1.000 (clean)" in recovery
    assert "(moving)" in recovery  # the motion, from the branch whose particles all move
    moving = page.split('id="truth-moving"')[1].split("</section>")[0]
    assert "ARI" not in moving  # one state only: its clusters are stages of the motion


def test_empty_results_give_a_page(empty_results, tmp_path):
    config, results = empty_results
    build_report(config, results, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "Nothing has run yet." in text
    assert "It has not been imported yet." in text


# what may be missing, and what is then said of which branches; of all others the same as before
PARTS = {
    "datasets/demo/images.parquet": {},
    "datasets/demo/simulated": {},
    "datasets/demo/particles.parquet": {},
    "recovery.json": {},
    "benchmarks": {},
    "branches/clean/consensus": {"clean": "Not finished: consensus has left no result yet."},
    "branches/clean/linear": {"clean": "Not finished: linear has left no result yet."},
    "branches/clean/heterogeneous": {
        "clean": "Not finished: heterogeneous has left no result yet."
    },
    "branches/clean/convergence": {"clean": "Not finished: convergence has left no result yet."},
    "branches/clean/analysis": {"clean": "Not finished: analysis has left no result yet."},
    "branches/clean/analysis/clusters.parquet": {
        "clean": "Training: converged at epoch 14: nothing moves. Every class is supported"
    },
    "branches/clean/analysis/latents.parquet": {},
    "branches/clean/analysis/volumes": {},
    "branches/clean/selection.yaml": {"clean": "Not finished: junk has left no result yet."},
    "branches/clean/junk.parquet": {},
    "branches/clean/selected.parquet": {
        "clean": "Nothing has run yet.",
        "moving": "Not finished: export has left no result yet.",
    },
    "branches/pilot": {"pilot": "Nothing has run yet."},
}


def _summaries(page: str) -> dict[str, tuple[str, str]]:
    """State of every branch, and what the summary says of it."""
    card = r'<li class="card ([\w-]+)"[^>]*>\s*<a href="#branch-(\w+)">(.*?)</li>'
    return {name: (state, said) for state, name, said in re.findall(card, page, re.S)}


@pytest.mark.parametrize("missing", PARTS)
def test_any_part_may_be_missing(missing, fake_results, page, tmp_path):
    config, results = fake_results
    shutil.copytree(results, tmp_path / "results")
    path = tmp_path / "results" / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    build_report(config, tmp_path / "results", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "</html>" in text
    before, after = _summaries(page), _summaries(text)
    changed = PARTS[missing]
    assert list(before) == list(after) == ["pilot", "clean", "moving", "unrun", "later", "after"]
    assert {name for name in before if before[name] != after[name]} == set(changed)
    for name, words in changed.items():
        state, said = after[name]
        assert words in said
        assert (state == "unfinished") == words.startswith("Not finished")


def test_decisions_on_other_clusters_are_called_stale(fake_results, tmp_path):
    """And what was said of those clusters' classes is said of none of these."""
    config, results = fake_results
    build_report(config, results, tmp_path / "before.html")
    before = (tmp_path / "before.html").read_text()
    shutil.copytree(results, tmp_path / "results")
    info = tmp_path / "results/branches/pilot/analysis/analysis.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "fingerprint": "sha256:other"}))
    build_report(config, tmp_path / "results", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "decisions are stale" in text
    assert "In pilot" not in text.split('class="flow"')[0]
    assert text.count("its own particles show it") < before.count("its own particles show it")


def test_every_step_shows_its_lineage(fake_results, tmp_path):
    config, results = fake_results
    shutil.copytree(results, tmp_path / "results")
    out = tmp_path / "results/branches/pilot/linear"
    with recorded("linear", out, LinearSettings(seed=7), inputs=[out.parent / "selected.parquet"]):
        (out / "new.csv").touch()
    build_report(config, tmp_path / "results", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    (shown,) = re.findall(r"<summary>Lineage</summary>.*?</details>", text, re.S)
    assert f"linear (format {STEP_FORMAT['linear']})" in shown
    assert "selected.parquet" in shown
    assert '<td class="n">7</td>' in shown
    assert Record.read(out / "lineage.json").lineage.fingerprint[:16] in shown


def test_an_overruled_decision_says_so(fake_results, tmp_path):
    config, results = fake_results
    shutil.copytree(results, tmp_path / "results")
    path = tmp_path / "results/branches/pilot/selection.yaml"
    path.write_text(
        path.read_text().replace("decision: junk", "decision: keep\n    automatic: junk")
    )
    build_report(config, tmp_path / "results", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "Decided by a person; the rule proposed junk." in text
    assert "No junk: a person keeps every cluster." in text


@pytest.mark.parametrize("name", ["particles.parquet", "images.parquet", "import.json"])
def test_damaged_files_are_one_sentence_and_leave_no_page(name, fake_results, tmp_path):
    config, results = fake_results
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "results/datasets/demo" / name).write_bytes(b"PAR1 not {")
    with pytest.raises(StateError, match=re.escape(name)):
        build_report(config, tmp_path / "results", tmp_path / "out" / "report.html")
    assert not (tmp_path / "out" / "report.html").exists()


def test_missing_results_folder_is_an_error(fake_results, tmp_path):
    config, _ = fake_results
    with pytest.raises(StateError, match="not a folder"):
        build_report(config, tmp_path / "nowhere", tmp_path / "report.html")


def test_states_of_branches(fake_results):
    config, results = fake_results
    record = collect(config, Path(results))
    states = {name: branch.state for name, branch in record.branches.items()}
    assert states["pilot"] == "done"
    assert states["later"] == states["after"] == "waiting"
    assert states["unrun"] == "not run"
    assert states["moving"] == "unfinished"  # nothing has been exported
    assert record.tree() == ["pilot", "clean", "moving", "unrun", "later", "after"]


@pytest.mark.parametrize("taken", ["linear", "heterogeneous"])
def test_fit_says_which_model_it_took_and_why(fake_results, tmp_path, taken):
    """A network that won has the linear model beside it; both are shown."""
    config, results = fake_results
    shutil.copytree(results, tmp_path / "run")
    path = tmp_path / "run/branches/pilot"
    fit = path / "fit"
    if taken == "linear":
        shutil.move(path / "linear", fit)
    else:
        shutil.copytree(tmp_path / "run/branches/clean/heterogeneous", fit)
        shutil.move(path / "linear", fit / "linear")
        config_file = fit / "config.json"
        config_file.write_text(json.dumps({"kind": "heterogeneous"}))
    (fit / "fit.json").write_text(json.dumps({"reason": "The model was taken for a reason."}))
    branches = config.branches["pilot"].model_copy(update={"linear": None, "fit": FitSettings()})
    changed = config.model_copy(update={"branches": config.branches | {"pilot": branches}})
    found = collect(changed, tmp_path / "run").branches["pilot"]
    assert found.linear is not None and found.linear.spectrum is not None
    assert (found.heterogeneous is not None) == (taken == "heterogeneous")
    assert "fit" not in found.missing
    build_report(changed, tmp_path / "run", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "The model was taken for a reason." in text


def test_classes_say_whether_their_particles_bear_them_out(page):
    part = page.split('id="classes-pilot"')[1].split("<h3")[0]
    assert part.count('<span class="badge good">supported</span>') == 3
    assert part.count('<span class="badge warn">not supported</span>') == 1
    assert "fewer than 30 particles" in part
    assert "Map against model" in part
    words = "3 of 4 classes are supported by their own particles (cluster 3: fewer than 30"
    assert words in page
    assert "Every class is supported by its own particles." in page
    # its half-maps are said once
    assert "Half-map FSC of each cluster" not in page
