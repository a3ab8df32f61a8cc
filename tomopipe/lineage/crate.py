"""Results as a Process Run Crate: who made which file from what, for archives and other programs.

RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) with the profile Process Run Crate 0.5
(https://w3id.org/ro/wfrun/process/0.5): every step is a CreateAction with its software
(`instrument`), what it read (`object`) and left (`result`). sha256 and steps' settings are terms of
the workflow-run vocabulary and PropertyValues.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tomopipe.config import Config
from tomopipe.errors import ConfigError, StateError
from tomopipe.lineage.record import Input, Output, Record, absolute, lineage_files

Entity = dict[str, Any]

CRATE = "https://w3id.org/ro/crate/1.1"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_CONTEXT = [f"{CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"]
_TYPES = {".mrc": "application/octet-stream", ".parquet": "application/vnd.apache.parquet"}
_LIBRARIES = ("Python", "torch", "numpy")


def crate(root: Path, out: Path, *, title: str, license_: str, config: Config | None) -> Entity:
    """JSON-LD of a results tree, to be written to `out` in its top folder.

    Parameters
    ----------
    root
        Results of a run.
    out
        Where the metadata will lie: RO-Crate wants it in the folder that it describes.
    title, license_
        Of the data set; the licence as an URL, such as https://spdx.org/licenses/CC-BY-4.0.
    config
        Settings of the run, described with it; None leaves them out.

    Raises
    ------
    ConfigError
        If `out` does not lie in `root`.
    StateError
        If there is no lineage file, or an output that one names is missing.
    """
    root = absolute(root)
    if absolute(out.parent) != root:
        raise ConfigError(f"{out} does not lie in {root}: RO-Crate metadata goes there")
    records = [Record.read(path) for path in lineage_files(root)]
    if not records:
        raise StateError(
            f"{root} has no lineage files: give the results folder of a run of this version"
        )
    graph = _Graph(root)
    actions = [_action(record, graph) for record in records]
    for record in records:
        graph.file(record.path, {"description": f"lineage of the step {record.lineage.step}"})
    if config is not None:
        given = config.model_dump_json(by_alias=True, exclude_unset=True)
        graph.add(_value("#config", "config of the run", given))
    return {
        "@context": _CONTEXT,
        "@graph": [
            _descriptor(out.name),
            _root(graph, actions, title, license_, config is not None),
            {
                "@id": PROFILE,
                "@type": "CreativeWork",
                "name": "Process Run Crate",
                "version": "0.5",
            },
            {"@id": license_, "@type": "CreativeWork", "name": license_.rsplit("/", 1)[-1]},
            *actions,
            *graph.entities.values(),
        ],
    }


class _Graph:
    """Entities by their id, each once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.entities: dict[str, Entity] = {}
        self.parts: list[str] = []

    def add(self, entity: Entity) -> Entity:
        """Keep an entity; gives the reference to it."""
        self.entities.setdefault(entity["@id"], entity)
        return {"@id": entity["@id"]}

    def file(self, path: Path, more: Entity) -> Entity:
        """Describe a file or folder of the crate; gives the reference to it."""
        if not path.exists():
            raise StateError(f"{path} is missing: `tomopipe verify` says how to mend the results")
        name = quote(path.relative_to(self.root).as_posix()) + ("/" if path.is_dir() else "")
        if name not in self.entities:
            self.parts.append(name)
            self.entities[name] = _described(name, path)
        self.entities[name] |= more
        return {"@id": name}

    def outside(self, path: Path, sha256: str) -> Entity:
        """Describe a file that is no part of the crate: its name and fingerprint, not its place."""
        name = f"#input-{sha256[:16]}"
        entity = {"@id": name, "@type": "CreativeWork", "name": path.name, "sha256": sha256}
        return self.add(entity)


def _described(name: str, path: Path) -> Entity:
    entity: Entity = {"@id": name, "@type": "Dataset" if path.is_dir() else "File"}
    entity["name"] = path.name
    if path.is_file():
        kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
        entity["contentSize"] = str(path.stat().st_size)
        entity["encodingFormat"] = kind or "application/octet-stream"
    return entity


def _descriptor(name: str) -> Entity:
    return {
        "@id": name,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": CRATE},
    }


def _work(address: str, name: str) -> Entity:
    return {"@id": address, "@type": "CreativeWork", "name": name}


def _root(
    graph: _Graph, actions: list[Entity], title: str, license_: str, with_settings: bool
) -> Entity:
    mentioned = [{"@id": action["@id"]} for action in actions]
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": title,
        "description": "Heterogeneity of particles in cryo-electron tomography, by tomopipe",
        "datePublished": datetime.now(UTC).date().isoformat(),
        "license": {"@id": license_},
        "conformsTo": {"@id": PROFILE},
        "hasPart": [{"@id": name} for name in graph.parts],
        "mentions": [*mentioned, *([{"@id": "#config"}] if with_settings else [])],
    }


def _action(record: Record, graph: _Graph) -> Entity:
    """One step: its software, its settings, what it read and left."""
    step, name = record.lineage, record.path.parent.relative_to(graph.root).as_posix()
    read = [_object(record, given, graph) for given in step.inputs]
    if step.settings:
        value = json.dumps(step.settings, sort_keys=True)
        settings = _value(f"#settings-{quote(name)}-{step.step}", f"settings of {step.step}", value)
        read.append(graph.add(settings))
    return {
        "@id": f"#{quote(name)}-{step.step}",
        "@type": "CreateAction",
        "name": f"tomopipe {step.step}: {name}",
        "description": _description(record),
        "startTime": step.started,
        "endTime": step.finished,
        "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
        "instrument": _software(record, graph),
        "object": _unique(read),
        "result": [_result(path, output, graph) for path, output in record.files.items()],
    }


def _description(record: Record) -> str:
    step, made = record.lineage, record.lineage.chosen
    said = [f"step {step.step}, format {step.step_format}, seed {step.seed}"]
    if made is not None:
        start = f" from {made.parent} by {json.dumps(made.decision)}" if made.parent else ""
        said.append(f"{made.kept} of {made.of} particles of branch {made.branch}{start}")
    return "; ".join(said)


def _object(record: Record, given: Input, graph: _Graph) -> Entity:
    path = record.place(given.path)
    if path.is_relative_to(graph.root) and path.exists():
        return graph.file(path, {})
    return graph.outside(path, given.sha256)


def _result(path: Path, output: Output, graph: _Graph) -> Entity:
    if output.files or output.sampled:
        return graph.file(path, {})
    return graph.file(path, {"sha256": _sha256(path, output)})


def _sha256(path: Path, output: Output) -> str:
    """As recorded; anew where a person may have changed the file, or its times were left out."""
    if output.kind == "decision" or path.suffix == ".jsonl":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return output.sha256


def _software(record: Record, graph: _Graph) -> Entity:
    """Tomopipe as it ran, with the libraries that numbers depend on."""
    versions, commit = record.lineage.versions, record.lineage.commit
    mark = "+".join([versions["tomopipe"], *([commit] if commit else [])])
    needs = [
        graph.add(
            {
                "@id": f"#{name}-{versions[name]}",
                "@type": "SoftwareApplication",
                "name": name,
                "softwareVersion": versions[name],
            }
        )
        for name in _LIBRARIES
        if name in versions
    ]
    return graph.add(
        {
            "@id": f"#tomopipe-{mark}",
            "@type": "SoftwareApplication",
            "name": "tomopipe",
            "softwareVersion": versions["tomopipe"],
            "identifier": commit or versions["tomopipe"],
            "softwareRequirements": needs,
        }
    )


def _value(name: str, title: str, value: str) -> Entity:
    return {"@id": name, "@type": "PropertyValue", "name": title, "value": value}


def _unique(references: Iterable[Entity]) -> list[Entity]:
    return list({reference["@id"]: reference for reference in references}.values())
