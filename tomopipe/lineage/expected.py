"""What a config, and this version, want of the step whose lineage file lies at a place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tomopipe.config import Config
from tomopipe.config.analysis import Select
from tomopipe.config.base import Section
from tomopipe.config.branch import RESULTS
from tomopipe.lineage.record import FILE, Record, absolute

# what the workflow asks for steps outside branches by; a folder itself where that is the output
_TARGETS: dict[str, str] = {
    "simulate_tilt_series": "tomograms.star",
    "extract": "optimisation_set.star",
    "simulate": "particles.star",
    "import": "import.json",
    "prepare": "",
    "select": "selected.parquet",
    "decide": "selection.yaml",
    "agreement": "agreement.json",
    "recovery": "recovery.json",
    "report": "report.html",
    **{stage: Path(result).name if "." in result else "" for stage, result in RESULTS.items()},
}


def target(record: Record) -> Path | None:
    """The file or folder by which snakemake is asked for a step; None for a verb without a rule."""
    folder, name = record.path.parent, _TARGETS.get(record.lineage.step)
    if name is None:
        return None
    if folder.parent.name == "parts":
        name = "part.json"
    return folder / name if name else folder


def settings_wanted(config: Config, root: Path, record: Record) -> Section | None:
    """Settings that a config has for a step; None where it does not have the step."""
    match record.path.relative_to(root).parts:
        case ("branches", branch, *_) if branch in config.branches:
            return _of_branch(config, branch, record.lineage.step)
        case ("datasets", name, *inside) if name in config.datasets:
            return _of_dataset(config, name, inside)
        case ("tilt_series", name, *_) if name in config.tilt_series:
            return config.tilt_series[name].simulate
        case (_,) if record.lineage.step in ("report", "recovery"):
            return config
    return None


def _of_branch(config: Config, branch: str, step: str) -> Section | None:
    if step == "select":
        return config.select_of(branch) or Select()
    stage = next((s for s in config.branches[branch].stages if s == step), None)
    return config.branches[branch].settings(stage) if stage else None


def _of_dataset(config: Config, name: str, inside: list[str]) -> Section | None:
    dataset = config.datasets[name]
    match inside:
        case [file] if file == FILE:
            return dataset.import_
        case ["store", _]:
            return dataset.prepare
        case ["simulated", _]:
            return dataset.simulate
        case ["extracted", *_] if dataset.extract:
            read = config.tilt_series[dataset.extract.tilt_series].read
            return dataset.extract.settings(read)
    return None


def differences(made: dict[str, Any], wanted: Section) -> list[str]:
    """Settings that differ and decide the result, as `name: 3, the config has 5`."""
    one, other = _flat(made), _flat(wanted.model_dump(mode="json", by_alias=True))
    deciding = wanted.model_dump(mode="json", by_alias=True, exclude=wanted.undeciding())
    idle = other.keys() - _flat(deciding).keys()
    return [
        f"{name}: {one.get(name)}, the config has {other.get(name)}"
        for name in [*one, *(name for name in other if name not in one)]
        if one.get(name) != other.get(name) and name not in idle
    ]


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted name."""
    rows: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        rows |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return rows


def unrecorded(root: Path) -> list[Path]:
    """Results of the workflow below `root` that have no lineage file: of older versions."""
    folders = [*root.glob("branches/*/*"), *root.glob("datasets/*/store")]
    steps = set(_TARGETS) | {"store"}
    bare = [f for f in folders if f.name in steps and f.is_dir() and not (f / FILE).exists()]
    files = [*root.glob("branches/*/selected.parquet"), *root.glob("branches/*/selection.yaml")]
    bare += [f for f in files if not f.with_name(f"{f.stem}.{FILE}").exists()]
    bare += [f for f in root.glob("datasets/*/import.json") if not (f.parent / FILE).exists()]
    return sorted(absolute(path) for path in bare)
