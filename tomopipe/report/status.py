"""Where a run stands: the state of every branch and data set, for the terminal and for scripts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tomopipe.config import Config
from tomopipe.io.atomic import read_json
from tomopipe.io.space import size_words
from tomopipe.report.cycles import cycle
from tomopipe.report.provenance import duration
from tomopipe.report.records import BranchRecord, Record
from tomopipe.report.replicates import agreement_words
from tomopipe.report.running import Worker, workers
from tomopipe.report.words import count

_ERROR = re.compile(r"tomopipe: |[\w.]*(Error|Exception|Interrupt)\b")
_RULES = {"analysis": "analyze"}  # rules that are not called like their stage


def status(config: Config, record: Record) -> dict[str, Any]:
    """Branches from the roots down, data sets, tilt series and downloads, each with its state."""
    busy = workers(record.root)
    return {
        "branches": {name: _branch(record, record.branches[name], busy) for name in record.tree()},
        "datasets": {name: _dataset(record, name, busy) for name in record.datasets},
        "tilt_series": {name: _tilt_series(config, record, name) for name in config.tilt_series},
        "downloads": {name: _download(record, name, busy) for name in config.downloads},
    }


def status_words(found: dict[str, Any]) -> str:
    """The same in lines: the tree of branches, then what they are made from."""
    lines = []
    for name, branch in found["branches"].items():
        lines.append(f"{'  ' * branch['depth']}{name}: {'; '.join(_said(branch))}")
    words = {"datasets": "data set", "tilt_series": "tilt series", "downloads": "download"}
    for kind, word in words.items():
        lines += [f"{word} {name}: {'; '.join(_said(e))}" for name, e in found[kind].items()]
    return "\n".join(lines)


def _said(entry: dict[str, Any]) -> list[str]:
    said = [entry["state"]]
    if entry.get("running"):
        said[0] += f" ({'; '.join(entry['running'])})"
    if entry.get("waits_for"):
        said[0] = f"waiting for a decision: select of {entry['waits_for']}"
    if entry.get("missing") and entry["state"] == "unfinished":
        said[0] += f" (no {', '.join(entry['missing'])})"
    if entry.get("log"):
        said.append(f"{entry['log']}: {entry['error']}")
    if entry.get("kept") is not None:
        said.append(f"{entry['kept']:,} of {entry['total']:,} particles")
    if entry.get("files") is not None:
        said.append(f"{count(entry['files'], 'file')}, {size_words(entry['bytes'])}")
    said += entry.get("verdicts", [])
    if entry.get("seconds"):
        said.append(duration(entry["seconds"]))
    if entry.get("gpu_hours"):
        said.append(f"{entry['gpu_hours']:.2g} GPU hours")
    return said


def _branch(record: Record, branch: BranchRecord, busy: dict[Path, Worker]) -> dict[str, Any]:
    steps = branch.missing if branch.selected is not None else ("select",)
    logs = record.root / "logs/branches" / branch.name
    running = _running(branch.path, busy)
    quiet = running or branch.state in ("waiting", "done")
    failed = {} if quiet else _failure(logs, tuple(_RULES.get(step, step) for step in steps))
    return {
        "depth": record.depth(branch.name),
        "parent": branch.parent,
        "state": "running" if running else "failed" if failed else branch.state,
        "running": running,
        "waits_for": record.branches[branch.waits].written if branch.waits else None,
        "missing": list(branch.missing),
        "kept": branch.kept,
        "total": None if branch.selected is None else len(branch.selected),
        "verdicts": _verdicts(branch, record),
        "taken_over": branch.taken,
        "seconds": _seconds(record, f"branches/{branch.name}"),
        "gpu_hours": _gpu_hours(record, branch),
        **failed,
    }


def _failure(logs: Path, steps: tuple[str, ...]) -> dict[str, str]:
    """Log and last line of the first step without a result whose log ends with an error."""
    for step in steps:
        log = logs / f"{step}.log"
        lines = log.read_text("utf-8", "replace").split("\n") if log.is_file() else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if _ERROR.match(last):
            return {"log": str(log), "error": last}
    return {}


def _verdicts(branch: BranchRecord, record: Record) -> list[str]:
    verdict = (branch.convergence or {}).get("status")
    said = [str(verdict)] if verdict else []
    if (found := cycle(branch, record)) is not None:
        said.append(found.words)
    said += [words] if (words := agreement_words(branch)) else []
    said += [f"taken over from {source}" for source in dict.fromkeys(branch.taken.values())]
    if branch.selection is not None and branch.selection.problem:
        said.append(f"decisions cannot be read: {branch.selection.problem}")
    elif branch.selection is not None and branch.selection.stale:
        said.append("decisions are on clusters before these")
    elif branch.selection is not None:
        by = "by a person" if branch.selection.decided_by == "person" else "automatic"
        said.append(f"{branch.selection.particles('junk'):,} junk ({by})")
    if branch.classes is not None and (weak := branch.classes.unsupported):
        said.append(f"classes not supported: {', '.join(str(row['cluster']) for row in weak)}")
    return said


def _running(folder: Path, busy: dict[Path, Worker]) -> list[str]:
    """What is written in a folder now, in words."""
    own = folder.resolve()
    return [worker.words for path, worker in busy.items() if path.is_relative_to(own)]


def _gpu_hours(record: Record, branch: BranchRecord) -> float:
    """Hours of GPUs that the fits of a branch took: of those that recorded one, as they did.

    A training that was interrupted counts with the time of all its epochs.
    """
    hours = 0.0
    models = {"linear": branch.linear, "homogeneous": branch.homogeneous}
    models["heterogeneous"] = branch.heterogeneous
    found = {stage: model.config for stage, model in models.items() if model is not None}
    if branch.fit is not None:
        found = {"fit": branch.fit}
    for stage, made in found.items():
        if made.get("device") == "cuda" and stage not in branch.taken:
            model = models.get(stage)
            metrics = model.metrics if model is not None else None
            trained = 0.0 if metrics is None else float(metrics["seconds"].sum())
            step = _seconds(record, f"branches/{branch.name}/{stage}") or 0.0
            hours += max(trained, step) * made.get("processes", 1) / 3600
    return hours


def _seconds(record: Record, path: str) -> float | None:
    """Time of the rule that is called so, or of all below it."""
    if record.benchmarks is None:
        return None
    rules = record.benchmarks["rule"]
    own = record.benchmarks[(rules == path) | rules.str.startswith(f"{path}/")]
    return float(own["seconds"].sum()) if len(own) else None


def _dataset(record: Record, name: str, busy: dict[Path, Worker]) -> dict[str, Any]:
    path = record.datasets[name].path
    left = [(path / file).exists() for file in ("import.json", "store/store.json")]
    steps = ("extract", "join_extracted", "simulate", "import", "prepare")
    logs = record.root / "logs/datasets" / name
    found = _made(all(left), path.exists(), _running(path, busy), logs, steps)
    return found | {"seconds": _seconds(record, f"datasets/{name}")}


def _download(record: Record, name: str, busy: dict[Path, Worker]) -> dict[str, Any]:
    written = record.root / "downloads" / f"{name}.json"
    done, logs = written.is_file(), record.root / "logs/downloads"
    # a download that broke off keeps its log, and goes on where it was
    begun = (logs / f"{name}.log").exists()
    found = _made(done, begun, _running(written, busy), logs, (name,))
    if done:
        files = read_json(written)["files"]
        found |= {"files": len(files), "bytes": sum(file["size"] for file in files)}
    return found | {"seconds": _seconds(record, f"downloads/{name}")}


def _made(
    done: bool, begun: bool, running: list[str], logs: Path, steps: tuple[str, ...]
) -> dict[str, Any]:
    """State of what branches are made from."""
    if running or done:
        return {"state": "running" if running else "done", "running": running}
    failed = _failure(logs, steps)
    state = "failed" if failed else "unfinished" if begun else "not run"
    return {"state": state, "running": running, **failed}


def _tilt_series(config: Config, record: Record, name: str) -> dict[str, Any]:
    given = config.tilt_series[name].path
    made = record.root / "tilt_series" / name / "simulated"
    if given is not None:
        return {"state": "there" if Path(given).exists() else "not found"}
    if (made / "simulation.json").exists():
        return {"state": "done"}
    return {"state": "unfinished" if made.exists() else "not run"}
