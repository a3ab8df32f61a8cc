"""The crate is whole: every reference leads somewhere, every file is there and as it is said."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.lineage.conftest import Run
from tomopipe.cli.main import main

LICENCE = "https://spdx.org/licenses/CC-BY-4.0"


@pytest.fixture
def graph(run: Run) -> dict[str, dict[str, Any]]:
    given = run.config.model_dump_json(by_alias=True, exclude_unset=True)
    assert main(["crate", str(run.root), "--license", LICENCE, "--config", given]) == 0
    content = json.loads((run.root / "ro-crate-metadata.json").read_text())
    assert "https://w3id.org/ro/crate/1.1/context" in content["@context"]
    found = {entity["@id"]: entity for entity in content["@graph"]}
    assert len(found) == len(content["@graph"])
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if set(value) == {"@id"}:
            yield value["@id"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_descriptor_and_root_are_as_the_specification_wants(graph: dict[str, Any]) -> None:
    descriptor, root = graph["ro-crate-metadata.json"], graph["./"]
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset"
    assert root["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    assert root["license"] == {"@id": LICENCE}
    assert root["name"] == "text"
    assert {"description", "datePublished", "hasPart", "mentions"} <= set(root)


def test_every_reference_leads_to_an_entity(graph: dict[str, Any]) -> None:
    outside = {"https://w3id.org/ro/crate/1.1", "http://schema.org/CompletedActionStatus"}
    used = {name for entity in graph.values() for name in references(entity)}
    assert used - set(graph) <= outside
    assert set(graph) - used == {"ro-crate-metadata.json"}  # nothing stands alone


def test_files_are_there_with_their_size_and_fingerprint(graph: dict[str, Any], run: Run) -> None:
    parts = [part["@id"] for part in graph["./"]["hasPart"]]
    assert set(parts) == {name for name, e in graph.items() if e["@type"] == "File"} | {
        name for name, e in graph.items() if e["@type"] == "Dataset" and name != "./"
    }
    for name in parts:
        path = run.root / unquote(name)
        assert path.exists()
        if path.is_file():
            content = path.read_bytes()
            assert graph[name]["contentSize"] == str(len(content))
            if not name.endswith("lineage.json"):
                assert graph[name]["sha256"] == hashlib.sha256(content).hexdigest()


def test_steps_are_actions_that_follow_from_each_other(graph: dict[str, Any]) -> None:
    actions = {n: e for n, e in graph.items() if e["@type"] == "CreateAction"}
    assert set(references(graph["./"]["mentions"])) == {*actions, "#config"}
    fit = actions["#branches/b/linear-linear"]
    select = actions["#branches/b-select"]
    assert {"@id": "branches/b/selected.parquet"} in fit["object"]
    assert {"@id": "branches/b/selected.parquet"} in select["result"]
    assert "5 of 6 particles of branch b from a" in select["description"]
    software = graph[fit["instrument"]["@id"]]
    assert software["name"] == "tomopipe"
    assert json.loads(graph["#settings-branches/b/linear-linear"]["value"])["components"] == 3


def test_a_missing_file_is_an_error(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (run.root / "branches/b/linear/model.safetensors").unlink()
    assert main(["crate", str(run.root), "--license", LICENCE]) == 2
    assert "model.safetensors is missing" in capsys.readouterr().err
    assert not (run.root / "ro-crate-metadata.json").exists()


def test_metadata_lie_in_the_folder_they_describe(run: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "elsewhere.json")
    assert main(["crate", str(run.root), "--license", LICENCE, "--out", out]) == 2
