"""Read a results tree into records; a missing file is a stage that has not run, not an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from tomopipe.analysis.metrics import read_metrics
from tomopipe.analysis.selection import read_decisions
from tomopipe.analysis.takeover import taken_over
from tomopipe.config import Config
from tomopipe.config.cycles import replicates_of, written_name
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, read_parquet
from tomopipe.lineage.machine import installed_versions
from tomopipe.lineage.record import Lineage, lineage_files
from tomopipe.lineage.record import Record as LineageRecord
from tomopipe.report.provenance import read_benchmarks
from tomopipe.report.records import (
    AnalysisRecord,
    BranchRecord,
    ClassesRecord,
    ConsensusRecord,
    DatasetRecord,
    DecisionRecord,
    ModelRecord,
    Record,
    SelectionRecord,
    State,
)

T = TypeVar("T")


def collect(config: Config, results: Path, *, begun: bool = True, tables: bool = True) -> Record:
    """Read everything that the report shows.

    Parameters
    ----------
    config
        The run.
    results
        Results root.
    begun
        Whether the run must have begun, so that `results` is there.
    tables
        Whether to read tables with a row for every particle or image too.

    Raises
    ------
    StateError
        If `results` is no folder, or a file in it is damaged.
    """
    if begun and not results.is_dir():
        raise StateError(f"{results} is not a folder: give the results folder of the config")
    return Record(
        title=config.title or results.resolve().name,
        root=results,
        datasets={name: _dataset(config, results, name, tables) for name in config.datasets},
        branches={name: _branch(config, results, name, tables) for name in config.branches},
        recovery=_if_there(results / "recovery.json", read_json) or {},
        settings=config.model_dump(mode="json", by_alias=True, exclude_none=True),
        benchmarks=read_benchmarks(results),
        versions=installed_versions(),
    )


def _if_there(path: Path, read: Callable[[Path], T]) -> T | None:
    return read(path) if path.exists() else None


def _table(path: Path, wanted: bool, columns: list[str] | None = None) -> pd.DataFrame | None:
    return read_parquet(path, columns) if wanted and path.exists() else None


# What the report shows of images; a large set has a million rows and thirty columns.
_IMAGE_COLUMNS = ["dose_e_per_A2", "tilt_degrees", "defocus_u_angstrom", "pixel_size_angstrom"]


def _dataset(config: Config, results: Path, name: str, tables: bool) -> DatasetRecord:
    path = results / "datasets" / name
    known = config.truth_of(name)
    return DatasetRecord(
        name=name,
        about=config.datasets[name].about,
        path=path,
        particles=_table(path / "particles.parquet", tables),
        images=_table(path / "images.parquet", tables, _IMAGE_COLUMNS),
        info=_if_there(path / "import.json", read_json) or {},
        truth=_table(results / known / "truth.parquet", tables) if known else None,
        falloff=_if_there(path / "store/falloff.json", read_json),
        lineage=_lineage(path),
    )


def _branch(config: Config, results: Path, name: str, tables: bool) -> BranchRecord:
    path, branch = results / "branches" / name, config.branches[name]
    analysis = _analysis(path / "analysis", tables)
    columns = ["kept", "reason"] if tables else ["kept"]
    selected = _table(path / "selected.parquet", True, columns)
    missing: tuple[str, ...] = tuple(s for s in branch.stages if not _left(path, s))
    agreed = _of_these_clusters(path / "agreement/agreement.json", analysis)
    classes = _classes(path / "classes", analysis)
    if classes is None and "classes" in branch.stages and "classes" not in missing:
        missing += ("classes",)
    if agreed is None and replicates_of(config.branches, name):
        missing += ("agreement",)
    given = branch.select
    select = given.model_dump(mode="json", exclude_none=True, by_alias=True) if given else {}
    return BranchRecord(
        name=name,
        dataset=config.dataset_of(name),
        parent=branch.parent,
        select={k: v for k, v in select.items() if v is not False},
        state=_state(name in config.waiting, selected, missing),
        waits=config.waiting.get(name, ""),
        missing=missing,
        path=path,
        settings={s: branch.settings(s).model_dump(mode="json") for s in branch.stages},
        selected=selected,
        consensus=_consensus(path / "consensus"),
        fit=_if_there(path / "fit/fit.json", read_json),
        linear=_model(path / "linear") or _fitted(path, "linear"),
        homogeneous=_model(path / "homogeneous"),
        heterogeneous=_model(path / "heterogeneous") or _fitted(path, "heterogeneous"),
        convergence=_if_there(path / "convergence/convergence.json", read_json),
        analysis=analysis,
        classes=classes,
        selection=_selection(path, analysis),
        exports=tuple(sorted((path / "export").rglob("*.star"))),
        lineage=_lineage(path),
        signal=_table(path / "junk_particles.parquet", tables, ["uid", "cluster", "signal"]),
        written=written_name(name, branch),
        repeat=branch.repeat,
        replicates=branch.replicates,
        taken=taken_over(path),
        agreement=agreed,
    )


def _lineage(path: Path) -> tuple[Lineage, ...]:
    """Lineage of the steps of a branch or data set, in the order in which they ended."""
    found = [LineageRecord.read(file).lineage for file in lineage_files(path)]
    return tuple(sorted(found, key=lambda one: one.finished))


def _state(waiting: bool, selected: pd.DataFrame | None, missing: tuple[str, ...]) -> State:
    if waiting:
        return "waiting"
    if selected is None:
        return "not run"
    return "unfinished" if missing else "done"


# The file whose presence tells that a stage has finished.
_LAST_FILE = {
    "consensus": "consensus/consensus.json",
    "fit": "fit/fit.json",
    "linear": "linear/latents.parquet",
    "homogeneous": "homogeneous/model.safetensors",
    "heterogeneous": "heterogeneous/latents.parquet",
    "convergence": "convergence/convergence.json",
    "analysis": "analysis/analysis.json",
    "classes": "classes/classes.json",
    "junk": "selection.yaml",
    "export": "export/*.star",
}


def _left(path: Path, stage: str) -> bool:
    return any(path.glob(_LAST_FILE[stage]))


def _consensus(path: Path) -> ConsensusRecord | None:
    if not path.is_dir():
        return None
    return ConsensusRecord(
        map=_if_there(path / "map.mrc", Path),
        fsc=_if_there(path / "fsc.csv", pd.read_csv),
        info=_if_there(path / "consensus.json", read_json) or {},
    )


def _fitted(path: Path, kind: str) -> ModelRecord | None:
    """The model of this kind that `fit` has taken, or the linear one that the network beat."""
    for folder in (path / "fit", path / "fit" / "linear"):
        config = _if_there(folder / "config.json", read_json) or {}
        if config.get("kind") == kind:
            return _model(folder, kind)
    return None


def _model(path: Path, kind: str | None = None) -> ModelRecord | None:
    if not path.is_dir():
        return None
    return ModelRecord(
        kind=kind or path.name,
        config=_if_there(path / "config.json", read_json) or {},
        metrics=_if_there(path / "metrics.jsonl", read_metrics),
        spectrum=_if_there(path / "spectrum.csv", pd.read_csv),
        map=_if_there(path / "map.mrc", Path),
    )


def _analysis(path: Path, tables: bool) -> AnalysisRecord | None:
    if not path.is_dir():
        return None
    return AnalysisRecord(
        info=_if_there(path / "analysis.json", read_json) or {},
        latents=_table(path / "latents.parquet", tables),
        clusters=_table(path / "clusters.parquet", tables),
        volumes=_numbered(path / "volumes", "cluster"),
        backprojections=_numbered(path / "volumes", "backprojection"),
        traversals=_traversals(path / "volumes"),
        fscs=_numbered(path / "volumes", "fsc", "csv"),
    )


def _of_these_clusters(path: Path, analysis: AnalysisRecord | None) -> dict[str, Any] | None:
    """A record on clusters; None where it is missing or says things of clusters before these."""
    info = _if_there(path, read_json)
    stale = info is not None and _is_stale(info.get("clusters_fingerprint"), analysis)
    return None if stale else info


def _is_stale(made_on: str | None, analysis: AnalysisRecord | None) -> bool:
    """Whether something was made on other clusters than an analysis has now."""
    now = analysis.info.get("fingerprint") if analysis else None
    return None not in (made_on, now) and now != made_on


def _classes(path: Path, analysis: AnalysisRecord | None) -> ClassesRecord | None:
    info = _of_these_clusters(path / "classes.json", analysis)
    if info is None:
        return None
    return ClassesRecord(
        rows=tuple(info.get("classes") or ()), fsc=_if_there(path / "fsc.csv", pd.read_csv)
    )


def _numbered(path: Path, stem: str, ending: str = "mrc") -> dict[int, Path]:
    """Files `{stem}_{number}.{ending}` by number."""
    found = {}
    for file in path.glob(f"{stem}_*.{ending}"):
        if match := re.fullmatch(rf"{stem}_(\d+)", file.stem):
            found[int(match[1])] = file
    return dict(sorted(found.items()))


def _traversals(path: Path) -> dict[str, list[Path]]:
    """Frames `{name}_{number}.mrc` of each traversal in order; clusters are none."""
    frames: dict[str, dict[int, Path]] = {}
    for file in path.glob("*.mrc"):
        match = re.fullmatch(r"(pc\d+|coordinate|path\w*)_(\d+)", file.stem)
        if match:
            frames.setdefault(match[1], {})[int(match[2])] = file
    return {name: [by[i] for i in sorted(by)] for name, by in sorted(frames.items())}


def _selection(path: Path, analysis: AnalysisRecord | None) -> SelectionRecord | None:
    """Decisions of `selection.yaml` with the evidence on them, or what is wrong with that file.

    A person edits it: a slip there is shown, and takes nothing else away.
    """
    try:
        found = _if_there(path / "selection.yaml", read_decisions)
    except StateError as error:
        return SelectionRecord(decided_by="", decisions=(), stale=False, problem=str(error))
    if found is None:
        return None
    evidence = _evidence(path / "junk.parquet")
    decisions = (
        DecisionRecord(
            cluster=label,
            decision=found.decisions[label],
            proposed=found.automatic[label],
            reason=found.reasons[label],
            count=found.counts[label],
            evidence=evidence.get(label, {}),
        )
        for label in sorted(found.decisions)
    )
    return SelectionRecord(
        decided_by="person" if found.person else "automatic",
        decisions=tuple(decisions),
        stale=_is_stale(found.fingerprint, analysis),
    )


def _evidence(path: Path) -> dict[int, dict[str, Any]]:
    """Rows of `junk.parquet` by cluster."""
    table = _if_there(path, read_parquet)
    if table is None or "cluster" not in table:
        return {}
    rows = table.to_dict("records")
    return {int(row["cluster"]): {str(k): v for k, v in row.items()} for row in rows}
