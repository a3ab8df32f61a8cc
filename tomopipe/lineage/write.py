"""Record the lineage of a step: one `with` around the work of its verb."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tomopipe.config.steps import STEP_FORMAT
from tomopipe.io.atomic import write_json
from tomopipe.io.results import STACKS
from tomopipe.lineage.digest import (
    LARGE_BYTES,
    file_digest,
    files_below,
    folder_digest,
)
from tomopipe.lineage.machine import commit, installed_versions, machine
from tomopipe.lineage.record import (
    Chosen,
    How,
    Input,
    Lineage,
    Output,
    Record,
    absolute,
    fingerprint_of,
    lineage_files,
    lineage_path,
    owner_of,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

_Stamp = tuple[int, int, int]
_SAMPLE = 8  # image files that are read of a set
_MANY = 100  # files of one folder from which on they are recorded as a folder


class Recorder:
    """Collects what a step reads and leaves while it runs."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.inputs: list[Input] = []
        self.outputs: list[Path] | None = None
        self.chosen: Chosen | None = None
        self._near = 0

    def read(self, *paths: Path | str | None) -> None:
        """Note files or folders that the step reads, as they are now; None is skipped."""
        for path in paths:
            if path is not None and Path(path).exists():
                self._read(absolute(Path(path)))

    def read_sample(self, paths: Iterable[Path | str]) -> None:
        """Note image files by a few of them at even distances: all may be hundreds of GB."""
        files = sorted({absolute(Path(path)) for path in paths})
        step = max(1, -(-len(files) // _SAMPLE))
        for file in files[::step]:
            self._read(file, one_of=len(files))

    def read_results(self, root: Path) -> None:
        """Note all results below `root` by their lineage files, without reading them again."""
        for file in lineage_files(root):
            if absolute(file) != absolute(self.file):
                record = Record.read(file)
                step, digest = record.lineage.step, record.lineage.fingerprint
                self._add(absolute(file), digest, "lineage", step)

    def _read(self, path: Path, one_of: int = 1) -> None:
        owner = owner_of(path)
        made_by = owner.lineage.step if owner else None
        if owner is not None and owner.lineage.chosen is not None:
            self._follow(owner.path, owner.lineage.chosen)
        if path.is_file():
            self._add(path, file_digest(path), "content", made_by, one_of)
        else:
            own = list(owner.below(path)) if owner else list(files_below(path))
            self._add(path, folder_digest(path, own), "content", made_by)

    def _follow(self, made: Path, chosen: Chosen) -> None:
        """Take over a choice of particles; that of the own branch before that of a data set."""
        near = len(Path(os.path.commonpath([absolute(made), absolute(self.file)])).parts)
        if near > self._near:
            self.chosen, self._near = chosen, near

    def _add(self, path: Path, sha256: str, how: How, made_by: str | None, one_of: int = 1) -> None:
        name = os.path.relpath(path, absolute(self.file.parent)) if made_by else str(path)
        self.inputs.append(Input(path=name, sha256=sha256, how=how, made_by=made_by, one_of=one_of))


@contextmanager
def recorded(
    step: str,
    out: Path,
    settings: BaseModel | None = None,
    *,
    inputs: Iterable[Path | None] = (),
    outputs: Callable[[], Iterable[Path]] | None = None,
) -> Iterator[Recorder]:
    """Write the lineage of what the block leaves in `out`, when it ends without error.

    Inputs are read before the block, outputs after it. After an error an older lineage file stays,
    as the older results do.

    Parameters
    ----------
    step
        As in `STEP_FORMAT`; other verbs have no format.
    out
        Folder of the results, or their one file.
    settings
        All of them, with defaults; its `seed` is the step's.
    inputs
        Files and folders; None and what does not exist is skipped.
    outputs
        Gives the files that the step has left. By default all in `out` that are new or replaced.
    """
    recorder = Recorder(lineage_path(out))
    if int(os.environ.get("RANK", "0")):  # the first of several processes writes
        yield recorder
        return
    recorder.read(*inputs)
    before = _stamps(out) if outputs is None else {}
    begun, clock = _now(), time.monotonic()
    yield recorder
    seconds = time.monotonic() - clock
    files = list(outputs()) if outputs is not None else _new(out, before)
    given = settings.model_dump(mode="json", by_alias=True) if settings is not None else {}
    left = tuple(_output(file, recorder.file.parent) for file in files)
    lineage = Lineage(
        step=step,
        step_format=STEP_FORMAT.get(step),
        settings=given,
        seed=given.get("seed"),
        chosen=recorder.chosen,
        inputs=tuple(recorder.inputs),
        outputs=left,
        fingerprint=fingerprint_of(left),
        versions=installed_versions(),
        commit=commit(),
        machine=machine(),
        started=begun,
        finished=_now(),
        seconds=round(seconds, 3),
    )
    write_json(recorder.file, lineage.model_dump(mode="json"))


def _output(path: Path, folder: Path) -> Output:
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else []
    stats = [file.stat() for file in files or [path]]
    size = sum(stat.st_size for stat in stats)
    kinds = {"selection.yaml": "decision", ".html": "page"}
    return Output.model_validate(
        {
            "path": os.path.relpath(path, folder),
            "files": len(files),
            "bytes": size,
            "sha256": folder_digest(path, files) if files else file_digest(path),
            "modified_ns": max(stat.st_mtime_ns for stat in stats),
            "sampled": any(stat.st_size > LARGE_BYTES for stat in stats),
            "kind": kinds.get(path.name, kinds.get(path.suffix, "result")),
        }
    )


def _stamps(out: Path) -> dict[Path, _Stamp]:
    """What tells a file from one that replaces it, of all files in `out`."""
    files = _left(out) if out.is_dir() else [out] if out.is_file() else []
    return {file: _stamp(file) for file in files}


def _left(folder: Path) -> Iterator[Path]:
    """Files in `folder` as `files_below` gives them; of stacks the folder of each tomogram.

    Those are replaced as a whole, and hold too many files to be listed before and after a step.
    """
    for path in _shown(folder):
        if path.is_file():
            yield path
        elif path.is_dir() and not path.is_symlink():
            whole = path.name == STACKS
            yield from filter(_holds, _shown(path)) if whole else _left(path)


def _shown(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and not path.name.endswith("lineage.json"):
            yield path


def _holds(path: Path) -> bool:
    """Whether it is a file, or a folder with one."""
    return path.is_file() or (path.is_dir() and any(map(Path.is_file, path.iterdir())))


def _stamp(file: Path) -> _Stamp:
    stat = file.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _new(out: Path, before: dict[Path, _Stamp]) -> list[Path]:
    """Files in `out` that were not there before, or are others now; of many in a folder, that."""
    folders: dict[Path, list[Path]] = {}
    for file, stamp in _stamps(out).items():
        if before.get(file) != stamp:
            # a folder of stacks stands for its files already
            folders.setdefault(file if file.is_dir() else file.parent, []).append(file)
    return [
        path
        for folder, files in folders.items()
        for path in ([folder] if len(files) > _MANY and folder != out else files)
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
