"""The lineage file: what stands in it, where it lies, and how it is found again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json
from tomopipe.lineage.digest import joined_digest

FILE = "lineage.json"
FORMAT = 1
_FILES = {".parquet", ".yaml", ".json", ".html"}
_DEPTH = 3  # folders of a step below its lineage file: snapshots, volumes, parts of an extraction

How = Literal["content", "lineage"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Output(_Part):
    """A file that a step has left, or a folder of many, such as one stack per particle.

    Attributes
    ----------
    path
        Relative to the lineage file's folder.
    files
        Number of them; 0 for a single file.
    sha256
        Of the content; of a folder over the digests of its files; of files above
        `digest.LARGE_BYTES` of a sample (`sampled`); of `.jsonl` without its times.
    kind
        `decision`: a person may edit it. `page`: it says when it was made.
    """

    path: str
    files: int = 0
    bytes: int
    sha256: str
    modified_ns: int
    sampled: bool = False
    kind: Literal["result", "decision", "page"] = "result"


class Input(_Part):
    """A file or folder that a step has read.

    Attributes
    ----------
    path
        Relative to the lineage file's folder if a step has made it, else absolute.
    made_by
        That step.
    how
        What the fingerprint is of: content; or, where a step reads all results, the lineage file of
        another step, with the `fingerprint` in it.
    one_of
        Number of image files that this one stands for: too many or too large to be read once more.
    """

    path: str
    sha256: str
    how: How = "content"
    made_by: str | None = None
    one_of: int = 1


class Chosen(_Part):
    """The particles of a branch, and the decision that chose them.

    Attributes
    ----------
    decision
        `select` of the branch; empty where it keeps all.
    clusters
        Fingerprint of the parent's clusters that it was decided on.
    decided_by
        person or automatic, where it obeys a selection.yaml.
    particles
        Fingerprint of the uids that are kept, in order.
    """

    branch: str
    parent: str | None
    decision: dict[str, Any]
    clusters: str | None
    decided_by: str | None
    kept: int
    of: int
    particles: str


class Lineage(_Part):
    """Everything that made one step's results what they are; then what may differ between runs."""

    lineage: int = FORMAT
    step: str
    step_format: int | None
    settings: dict[str, Any]
    seed: int | None
    chosen: Chosen | None
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    fingerprint: str
    versions: dict[str, str]
    commit: str | None
    machine: dict[str, Any]
    started: str
    finished: str
    seconds: float


class Record:
    """A lineage file on disk."""

    def __init__(self, path: Path, lineage: Lineage) -> None:
        self.path = path
        self.lineage = lineage

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a lineage file.

        Raises
        ------
        StateError
            If it is damaged, or written by a newer version.
        """
        content = read_json(path)
        newer = isinstance(content, dict) and content.get("lineage", FORMAT) != FORMAT
        if newer:
            raise StateError(
                f"{path} has lineage format {content['lineage']}, this version reads {FORMAT}: "
                "use the version of tomopipe that wrote it"
            )
        try:
            return cls(path, Lineage.model_validate(content))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise StateError(
                f"{path} is no lineage file ({where}: {first['msg']}): remove it and run its step "
                "again"
            ) from None

    @cached_property
    def files(self) -> dict[Path, Output]:
        """Outputs by absolute path."""
        return {self.place(output.path): output for output in self.lineage.outputs}

    def place(self, path: str) -> Path:
        """Absolute path of an input or output."""
        return absolute(self.path.parent / path)

    def below(self, path: Path) -> dict[Path, Output]:
        """The output at an absolute path, or those in that folder, or the folder that holds it."""
        return {
            p: o
            for p, o in self.files.items()
            if p == path or path in p.parents or (o.files and p == path.parent)
        }


def absolute(path: Path) -> Path:
    """`path` without `..`, links left as they are."""
    return Path(os.path.normpath(path.absolute()))


def lineage_path(out: Path) -> Path:
    """Lineage file of a folder of results, or of a single file: NAME.lineage.json beside it."""
    return out.with_name(f"{out.stem}.{FILE}") if out.suffix in _FILES else out / FILE


def fingerprint_of(outputs: tuple[Output, ...]) -> str:
    """One sha256 over a step's results: the same for two runs with the same results."""
    return joined_digest({o.path: o.sha256 for o in outputs if o.kind != "page"})


def lineage_files(root: Path) -> Iterator[Path]:
    """Lineage files at any depth below `root`, in order, without those in hidden folders."""
    for path in sorted(root.rglob(f"*{FILE}")):
        inside = path.relative_to(root).parts
        if not any(part.startswith(".") for part in inside):
            yield path


def owner_of(path: Path) -> Record | None:
    """The record of the step that has made a file or folder; None if none has."""
    path = absolute(path)
    for folder in (path, *path.parents[:_DEPTH]):
        for file in sorted(folder.glob(f"*{FILE}")):
            try:
                record = Record.read(file)
            except StateError:
                continue  # `verify` says so; a step that only reads beside it goes on
            if record.below(path):
                return record
    return None
