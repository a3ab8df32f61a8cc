"""Build the report: records, sections, one template, one file."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from tomopipe.config import Config
from tomopipe.io.atomic import write_text
from tomopipe.report import figures
from tomopipe.report.collect import collect
from tomopipe.report.latent import drawn_uids
from tomopipe.report.palette import category
from tomopipe.report.provenance import duration, fingerprints, flat
from tomopipe.report.records import Record
from tomopipe.report.recovered import junk_rows, perturbation, surroundings
from tomopipe.report.sections import branch_section, dataset_section
from tomopipe.report.truth import headline, state_curves
from tomopipe.report.words import overview, percent, with_code

_ASSETS = files("tomopipe.report") / "assets"
_SCRIPTS = ("page.js", "surface.js", "scatter.js")


def build_report(config: Config, results: Path, out: Path) -> None:
    """Write one HTML page over everything that `results` holds to `out`.

    The page needs no network and no other file. Stages that have not run and branches that wait
    for a decision are shown as such.

    Parameters
    ----------
    config
        The run; its branches give the order and the tree.
    results
        Results root.
    out
        The HTML file, written atomically.

    Raises
    ------
    StateError
        If `results` is no folder, or a file in it is damaged.
    """
    write_text(out, render(collect(config, results)))


def render(record: Record) -> str:
    """The page as text."""
    curves = state_curves(record.recovery)
    branches = [record.branches[name] for name in record.tree()]
    uids = {d.name: drawn_uids(branches, d) for d in record.datasets.values()}
    return (
        _environment()
        .get_template("report.html")
        .render(
            record=record,
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            overview=overview(record),
            recovery=headline(record),
            state_fsc=figures.state_fsc(curves) if curves else None,
            surroundings=surroundings(record.recovery),
            junk_found=junk_rows(record.recovery),
            perturbation=perturbation(record.recovery),
            datasets=[dataset_section(d, uids[d.name]) for d in record.datasets.values()],
            branches=[branch_section(b, record, uids[b.dataset]) for b in branches],
            settings=flat(record.settings),
            fingerprints=fingerprints(record),
            style=Markup(_asset("report.css")),
            scripts=[Markup(_asset(name)) for name in _SCRIPTS],
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(category=category)
    environment.filters.update(code=with_code, duration=duration, percent=percent)
    return environment


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")
