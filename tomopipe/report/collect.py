"""Read a results tree into records; a missing file is a stage that has not run, not an error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from tomopipe.analysis.takeover import taken_over
from tomopipe.config import Config
from tomopipe.config.cycles import replicates_of, written_name
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, read_parquet, read_yaml
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


def collect(config: Config, results: Path, *, begun: bool = True) -> Record:
    """Read everything that the report shows; with `begun` False of a run that may not have begun.

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
        datasets={name: _dataset(config, results, name) for name in config.datasets},
        branches={name: _branch(config, results, name) for name in config.branches},
        recovery=_if_there(results / "recovery.json", read_json) or {},
        settings=config.model_dump(mode="json", by_alias=True, exclude_none=True),
        benchmarks=read_benchmarks(results),
        versions=installed_versions(),
    )


def _if_there(path: Path, read: Callable[[Path], T]) -> T | None:
    return read(path) if path.exists() else None


def _dataset(config: Config, results: Path, name: str) -> DatasetRecord:
    path = results / "datasets" / name
    known = config.truth_of(name)
    truth = _if_there(results / known / "truth.parquet", read_parquet) if known else None
    return DatasetRecord(
        name=name,
        about=config.datasets[name].about,
        path=path,
        particles=_if_there(path / "particles.parquet", read_parquet),
        images=_if_there(path / "images.parquet", _read_images),
        info=_if_there(path / "import.json", read_json) or {},
        truth=truth,
        lineage=_lineage(path),
    )


# What the report shows of images; a large set has a million rows and thirty columns.
_IMAGE_COLUMNS = ["dose_e_per_A2", "tilt_degrees", "defocus_u_angstrom", "pixel_size_angstrom"]


def _read_images(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=_IMAGE_COLUMNS)
    except (OSError, ValueError) as error:
        detail = " ".join(str(error).split())
        raise StateError(f"{path} cannot be read ({detail}): import the data again") from None


def _branch(config: Config, results: Path, name: str) -> BranchRecord:
    path, branch = results / "branches" / name, config.branches[name]
    analysis = _analysis(path / "analysis")
    selected = _if_there(path / "selected.parquet", read_parquet)
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


def read_metrics(path: Path) -> pd.DataFrame:
    """Metrics by epoch; of an epoch written twice (a resumed run) the later line counts.

    Raises
    ------
    StateError
        If a line other than the last, which a killed run may leave unfinished, is not JSON.
    """
    rows = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for i, line in enumerate(lines):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if i + 1 < len(lines):
                raise StateError(f"{path}: line {i + 1} is not JSON: delete that line") from None
    table = pd.DataFrame(rows)
    return table.drop_duplicates("epoch", keep="last") if "epoch" in table else table


def _analysis(path: Path) -> AnalysisRecord | None:
    if not path.is_dir():
        return None
    return AnalysisRecord(
        info=_if_there(path / "analysis.json", read_json) or {},
        latents=_if_there(path / "latents.parquet", read_parquet),
        clusters=_if_there(path / "clusters.parquet", read_parquet),
        volumes=_numbered(path / "volumes", "cluster"),
        backprojections=_numbered(path / "volumes", "backprojection"),
        traversals=_traversals(path / "volumes"),
        fscs=_numbered(path / "volumes", "fsc", "csv"),
    )


def _of_these_clusters(path: Path, analysis: AnalysisRecord | None) -> dict[str, Any] | None:
    """A record on clusters; None where it is missing or says things of clusters before these."""
    info = _if_there(path, read_json)
    return None if info is None or _is_stale(info, analysis) else info


def _is_stale(record: dict[str, Any], analysis: AnalysisRecord | None) -> bool:
    """Whether something was made on other clusters than an analysis has now."""
    made_on, now = record.get("clusters_fingerprint"), (analysis.info if analysis else {})
    return made_on is not None and now.get("fingerprint") not in (None, made_on)


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
    """Decisions of `selection.yaml` with the rows of `junk.parquet`."""
    selection = _if_there(path / "selection.yaml", read_yaml)
    if not isinstance(selection, dict):
        return None
    evidence = _if_there(path / "junk.parquet", read_parquet)
    rows: dict[int, dict[str, Any]] = {}
    if evidence is not None and "cluster" in evidence:
        rows = {
            int(row["cluster"]): {str(k): v for k, v in row.items()}
            for row in evidence.to_dict("records")
        }
    decisions = [
        DecisionRecord(
            cluster=int(label),
            decision=str(given.get("decision", "unsure")),
            proposed=str(given.get("automatic", given.get("decision", "unsure"))),
            reason=str(given.get("reason", "")),
            count=int(given.get("count", 0)),
            evidence=rows.get(int(label), {}),
        )
        for label, given in (selection.get("clusters") or {}).items()
    ]
    decisions.sort(key=lambda d: d.cluster)
    overruled = any(d.decision != d.proposed for d in decisions)
    return SelectionRecord(
        decided_by="person" if overruled else str(selection.get("decided_by", "")),
        decisions=tuple(decisions),
        stale=_is_stale(selection, analysis),
    )
