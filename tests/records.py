"""What a stage has to say of itself for another branch to take its result over."""

from __future__ import annotations

from pathlib import Path

from tomopipe import __version__
from tomopipe.analysis.takeover import _RECORDS
from tomopipe.config.base import Section
from tomopipe.io.atomic import read_json


def check_record(stage: str, folder: Path, settings: Section) -> None:
    """Assert that the record that is asked before a takeover has the settings and the version."""
    record = read_json(folder / _RECORDS[stage])
    assert record["settings"] == settings.model_dump(mode="json")
    assert record["version"] == __version__
