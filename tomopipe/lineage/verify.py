"""Whether results are what their lineage says: every file, every input, every decision."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tomopipe.config import STEP_FORMAT, Config
from tomopipe.dataset.store import check_store
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, read_yaml
from tomopipe.lineage.digest import file_digest, files_below, folder_digest, joined_digest
from tomopipe.lineage.expected import differences, settings_wanted, target, unrecorded
from tomopipe.lineage.record import Input, Output, Record, absolute, lineage_files

What = Literal[
    "missing",
    "changed",
    "older input",
    "stale decision",
    "older format",
    "other settings",
    "no lineage",
]


@dataclass(frozen=True)
class Finding:
    """One thing that does not hold: which file, of which step, and in which way."""

    what: What
    file: Path
    step: str
    sentence: str
    lineage: Path | None


@dataclass
class Verified:
    """What was found of a results tree.

    Attributes
    ----------
    records
        Lineage files that could be read.
    findings, notes
        What does not hold; what is worth knowing, or could not be checked.
    again
        Results to make anew; what follows from them is then made anew as well.
    """

    root: Path
    records: list[Record]
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    again: list[Path] = field(default_factory=list)

    @property
    def files(self) -> int:
        """Files that the lineage names."""
        return sum(o.files or 1 for record in self.records for o in record.lineage.outputs)


def verify(root: Path, config: Config | None = None, *, quick: bool = False) -> Verified:
    """Check all results below `root` that have a lineage file.

    Parameters
    ----------
    root
        Results of a run.
    config
        What its settings should be; None checks no settings.
    quick
        Take files of the recorded size and time as unchanged, and leave inputs from outside alone.

    Raises
    ------
    StateError
        If `root` is no folder, or has no lineage file.
    """
    if not root.is_dir():
        raise StateError(f"{root} is not a folder: give the results folder of a run")
    root = absolute(root)
    records, findings = _read(root)
    if not records and not findings:
        raise StateError(
            f"{root} has no lineage files: give the results folder of a run of this version"
        )
    found = Verified(root, records, findings)
    tree = _Tree(records, quick)
    for record in records:
        found.findings += _check(record, tree, found.notes)
        found.findings += _settings(record, root, config)
    for path in unrecorded(root):
        sentence = "no lineage file, so it cannot be checked: an older version has made it"
        found.findings.append(Finding("no lineage", path, path.name, sentence, None))
    found.again = _again(found, tree)
    return found


def _read(root: Path) -> tuple[list[Record], list[Finding]]:
    records, damaged = [], []
    for path in lineage_files(root):
        try:
            records.append(Record.read(path))
        except StateError as error:
            damaged.append(Finding("no lineage", path, path.parent.name, str(error), path))
    return records, damaged


class _Tree:
    """Every output of every record by its absolute path."""

    def __init__(self, records: list[Record], quick: bool) -> None:
        self.quick = quick
        self.records = {absolute(record.path): record for record in records}
        self.owners = {file: record for record in records for file in record.files}
        self.inside: dict[Path, list[Path]] = {}
        for file in self.owners:
            for folder in file.parents:
                self.inside.setdefault(folder, []).append(file)

    def recorded(self, path: Path) -> str | None:
        """Fingerprint that the records have of a file or folder; None if they have none."""
        if (owner := self.owners.get(path)) is not None:
            output = owner.files[path]
            return None if output.kind == "decision" else output.sha256
        inside = {f: self.owners[f].files[f] for f in self.inside.get(path, ())}
        if not inside or any(output.files for output in inside.values()):
            return None
        return joined_digest({str(f.relative_to(path)): o.sha256 for f, o in inside.items()})

    def maker(self, path: Path) -> Record | None:
        """The record of the step that has made an input."""
        if path in self.records or path in self.owners:
            return self.records.get(path) or self.owners[path]
        return next((self.owners[file] for file in self.inside.get(path, ())), None)


def _check(record: Record, tree: _Tree, notes: list[str]) -> Iterator[Finding]:
    """What does not hold of one step, apart from its settings."""
    step = record.lineage.step
    for path, output in record.files.items():
        if not path.exists():
            yield Finding("missing", path, step, "is not there any more", record.path)
        elif output.kind == "decision":
            yield from _decision(path, record, notes, edited=_now(path, output) != output.sha256)
        elif not _unchanged(path, output, quick=tree.quick):
            sentence = "is not the file that the step has written"
            yield Finding("changed", path, step, sentence, record.path)
    if step == "prepare" and not tree.quick and any(o.sampled for o in record.files.values()):
        yield from _store(record)
    for given in record.lineage.inputs:
        yield from _input(record, given, tree, notes)
    made, now = record.lineage.step_format, STEP_FORMAT.get(step)
    if made != now:
        sentence = f"was made by format {made} of the step, this version has {now}"
        yield Finding("older format", record.path.parent, step, sentence, record.path)


def _store(record: Record) -> Iterator[Finding]:
    """Whether every packed image is what was packed, where fingerprints are those of samples."""
    try:
        check_store(record.path.parent)
    except StateError as error:
        yield Finding("changed", record.path.parent, "prepare", str(error), record.path)


def _unchanged(path: Path, output: Output, *, quick: bool) -> bool:
    files = sorted(p for p in path.iterdir() if p.is_file()) if output.files else [path]
    if output.files:  # what snakemake puts there is hidden
        files = [file for file in files if not file.name.startswith(".")]
    stats = [file.stat() for file in files]
    if sum(stat.st_size for stat in stats) != output.bytes or len(files) != (output.files or 1):
        return False
    if quick and max(stat.st_mtime_ns for stat in stats) == output.modified_ns:
        return True
    return _now(path, output) == output.sha256


def _now(path: Path, output: Output | None = None) -> str:
    """Fingerprint of a file or folder as it is."""
    if not path.is_dir():
        return file_digest(path)
    flat = output is not None and output.files
    inside = [f for f in files_below(path) if not flat or f.parent == path]
    return folder_digest(path, inside)


def _decision(path: Path, record: Record, notes: list[str], *, edited: bool) -> Iterator[Finding]:
    """Whether a selection.yaml was decided on the clusters that are there."""
    if edited:
        notes.append(f"{path.parent.name}/{path.name} was edited after its step")
    analysis = path.parent / "analysis" / "analysis.json"
    try:
        content = read_yaml(path)
        found = read_json(analysis) if analysis.exists() else {}
    except StateError as error:
        yield Finding("changed", path, record.lineage.step, f"cannot be read: {error}", record.path)
        return
    made_on = content.get("clusters_fingerprint") if isinstance(content, dict) else None
    there = found.get("fingerprint", made_on) if isinstance(found, dict) else None
    if made_on != there:
        sentence = "was decided on other clusters than those of the analysis: remove it first"
        yield Finding("stale decision", path, record.lineage.step, sentence, record.path)


def _input(record: Record, given: Input, tree: _Tree, notes: list[str]) -> Iterator[Finding]:
    """Whether a step was made from what its input is now."""
    path = record.place(given.path)
    if given.how == "lineage":
        maker = tree.records.get(path)
        now = maker.lineage.fingerprint if maker else None
    elif given.made_by and (kept := tree.recorded(path)) is not None:
        now = kept  # a file that was damaged since is the finding of the step that wrote it
    elif path.exists():
        now = given.sha256 if tree.quick and not given.made_by else _now(path)
    else:
        now = None
    if now == given.sha256:
        return
    if now is None and not given.made_by:
        notes.append(f"{path}, an input of {record.lineage.step}, is not there to be compared")
        return
    name, step = os.path.relpath(path, record.path.parent), record.lineage.step
    decided = step == "select" and path.name in ("clusters.parquet", "selection.yaml")
    change = "is not there any more" if now is None else "has changed since"
    sentence = f"was {'decided on' if decided else 'made from'} {name}, which {change}"
    what: What = "stale decision" if decided else "older input"
    yield Finding(what, target(record) or record.path.parent, step, sentence, record.path)


def _settings(record: Record, root: Path, config: Config | None) -> Iterator[Finding]:
    wanted = settings_wanted(config, root, record) if config is not None else None
    if wanted is None or not record.lineage.settings:
        return
    other = differences(record.lineage.settings, wanted)
    if other:
        more = f", and {len(other) - 1} more" if len(other) > 1 else ""
        place = target(record) or record.path.parent
        sentence = f"was made with {other[0]}{more}"
        yield Finding("other settings", place, record.lineage.step, sentence, record.path)


def _again(found: Verified, tree: _Tree) -> list[Path]:
    """Results to make anew: of the steps with findings those that follow from no other."""
    broken = {absolute(f.lineage) for f in found.findings if f.lineage} & set(tree.records)
    known: dict[Path, bool] = {}
    first = [p for p in sorted(broken) if not _follows(tree.records[p], broken, tree, known)]
    places = (target(tree.records[path]) for path in first)
    return [place for place in places if place is not None]


def _follows(record: Record, broken: set[Path], tree: _Tree, known: dict[Path, bool]) -> bool:
    """Whether a step was made from what a broken step has left, however far back.

    `known` remembers the answers: many ways lead back through rounds and branches.
    """
    own = absolute(record.path)
    if own in known:
        return known[own]
    makers = (tree.maker(record.place(given.path)) for given in record.lineage.inputs)
    before = {absolute(m.path): m for m in makers if m is not None and m is not record}
    known[own] = any(p in broken or _follows(m, broken, tree, known) for p, m in before.items())
    return known[own]
