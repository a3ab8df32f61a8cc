"""The page in a real browser: no error, no request, every picture and surface drawn."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tomopipe.report.build import build_report

_spec = importlib.util.spec_from_file_location("chrome", Path(__file__).with_name("chrome.py"))
assert _spec and _spec.loader
chrome = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(chrome)

BROWSER = chrome.find_chromium()
pytestmark = pytest.mark.skipif(
    BROWSER is None,
    reason="THE REPORT WAS NOT OPENED IN A BROWSER: install chromium (apt-get install chromium)",
)

_PROBES = Path(__file__).with_name("probes.js").read_text()


@pytest.fixture(scope="module")
def page(fake_results, tmp_path_factory) -> Iterator[Any]:
    config, results = fake_results
    path = tmp_path_factory.mktemp("page") / "report.html"
    build_report(config, results, path)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = chrome.Chrome(BROWSER, Path(profile))
        try:
            browser.open(path)
            browser.wait("document.body.dataset.ready")
            browser.evaluate(_PROBES)
            yield browser
        finally:
            browser.close()


def test_no_error_and_no_request(page):
    # software rendering tells of its own slowness; that is the driver's, not the page's
    told = [line for line in page.console if "GL Driver Message" not in line]
    assert told == []
    assert page.exceptions == []
    assert page.evaluate("document.body.dataset.error || ''") == ""
    outside = [url for url in page.requests if not url.startswith(("data:", "blob:"))]
    assert len(outside) == 1, outside
    assert outside[0].startswith("file:")


def test_every_picture_is_drawn(page):
    widths = page.evaluate("[...document.images].map(i => i.complete ? i.naturalWidth : 0)")
    assert len(widths) > 20
    assert min(widths) > 0


def test_every_surface_is_drawn(page):
    assert page.evaluate("document.body.dataset.ready") == "yes"
    colours = page.evaluate("probes.colours()")
    assert len(colours) == 17
    assert min(colours) > 30


def test_charts_have_no_broken_number(page):
    assert page.evaluate("document.querySelectorAll('svg.chart').length") > 10
    assert page.evaluate("probes.broken()") is False


def test_turning_one_map_turns_all(page):
    before = page.evaluate("document.querySelectorAll('.cluster canvas')[1].toDataURL()")
    page.evaluate("document.body.dataset.ready = ''")
    page.evaluate(
        "document.querySelectorAll('.cluster canvas')[0].dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'ArrowLeft'}))"
    )
    page.wait("document.body.dataset.ready === 'yes'")
    assert page.evaluate("document.querySelectorAll('.cluster canvas')[1].toDataURL()") != before


def test_a_higher_contour_draws_less(page):
    count = "Number(document.querySelector('.cluster canvas').dataset.triangles)"
    before = page.evaluate(count)
    page.evaluate("document.body.dataset.ready = ''")
    page.evaluate(
        "(() => { const s = document.querySelector('[data-level-of]'); s.value = '0.6'; "
        "s.dispatchEvent(new Event('input')); })()"
    )
    page.wait("document.body.dataset.ready === 'yes'")
    assert 0 < page.evaluate(count) < before


def test_surface_is_closed_and_has_the_right_size(page):
    """Every edge of the consensus surface belongs to two triangles; its normals point outwards."""
    found = page.evaluate("probes.surface('consensus')")
    assert found["open"] == 0
    assert found["outward"] > 0.95
    assert found["volume"] == pytest.approx(found["solid"], rel=0.1)


def test_lasso_chooses_particles_and_offers_their_uids(page):
    page.evaluate(
        "document.documentElement.style.scrollBehavior = 'auto';"
        "document.querySelector('.scatter').scrollIntoView()"
    )
    box = page.evaluate(
        "(() => { const r = document.querySelector('.scatter canvas').getBoundingClientRect();"
        "return [r.left, r.top, r.width, r.height]; })()"
    )
    left, top, wide, tall = box
    corners = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.97), (0.01, 0.97), (0.01, 0.5), (0.01, 0.02)]
    points = [(left + wide * x, top + tall * y) for x, y in corners]
    page.mouse("mousePressed", *points[0])
    for point in points[1:]:
        page.mouse("mouseMoved", *point)
    page.mouse("mouseReleased", *points[-1])
    assert page.evaluate("document.querySelector('.scatter').dataset.chosen") == "240"
    page.evaluate("probes.save()")
    page.wait("window.saved !== null")
    lines = page.evaluate("window.saved").splitlines()
    assert len(lines) == 240
    assert all(line.startswith("TS_") and "/" in line for line in lines)
    assert page.evaluate("window.savedAs") == "pilot_selection.txt"


def test_every_colour_and_pair_of_axes_draws(page):
    drawn = page.evaluate("probes.options()")
    assert len(drawn) >= 8
    assert min(drawn) > 2000
