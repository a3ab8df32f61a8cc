"""The report's sentences: verdicts in plain words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from tomopipe.report.badges import Badge, convergence_badge
from tomopipe.report.cycles import cycle_sentence
from tomopipe.report.records import BranchRecord, DatasetRecord, Record
from tomopipe.report.replicates import replicates_sentence
from tomopipe.report.signal import signal_sentence

_FEW_DATASETS = 3  # are told of one by one


def count(number: int, noun: str) -> str:
    """`1 particle`, `1,200 particles`."""
    ending = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{'' if number == 1 else ending}"


def percent(part: float, whole: float) -> str:
    """Share in per cent, with a decimal when it is small."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.1f} %" if 0 < share < 10 else f"{share:.0f} %"


def spread(values: Any, unit: str = "") -> str:
    """`11 to 21`, or one number where all are the same; empty when nothing is known."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return ""
    low, high = float(finite.min()), float(finite.max())
    text = f"{low:.4g}" if np.isclose(low, high) else f"{low:.4g} to {high:.4g}"
    return f"{text} {unit}".strip()


def dataset_sentence(dataset: DatasetRecord) -> str:
    """What the data set holds."""
    particles, images = dataset.particles, dataset.images
    if particles is None:
        return "It has not been imported yet."
    tomograms = count(particles["tomogram"].nunique(), "tomogram")
    text = f"{count(len(particles), 'particle')} from {tomograms}"
    if "n_images" in particles:
        text += f", {spread(particles['n_images'])} tilt images each"
    if images is not None:
        text += f" ({count(len(images), 'image')}"
        text += f", {spread(images['pixel_size_angstrom'], 'Å/px')}" if len(images) else ""
        text += ")"
    if box := dataset.info.get("box"):
        text += f", box {box}"
    return text + "."


def overview(record: Record) -> list[str]:
    """The whole run in a few sentences: how much, how much junk, which verdicts, what waits."""
    found = _dataset_sentences([d for d in record.datasets.values() if d.particles is not None])
    for name in record.tree():
        branch = record.branches[name]
        selection = branch.selection
        if selection is not None and not selection.stale and selection.particles("junk"):
            junk, total = selection.particles("junk"), sum(d.count for d in selection.decisions)
            found.append(f"In {name}, {junk:,} particles ({percent(junk, total)}) are junk.")
        if badge := convergence_badge(branch.convergence):
            found.append(_training_words(name, badge))
    waiting = [name for name, b in record.branches.items() if b.waits == name]
    found += [f"Branch {name} waits for your decision." for name in waiting]
    return found or ["Nothing has run yet."]


def _dataset_sentences(imported: list[DatasetRecord]) -> list[str]:
    """A sentence for each of a few data sets, one for all of many."""
    if len(imported) <= _FEW_DATASETS:
        return [f"The data set {d.name} holds {dataset_sentence(d)}" for d in imported]
    sizes = sorted(0 if d.particles is None else len(d.particles) for d in imported)
    between = "" if sizes[0] == sizes[-1] else f"{sizes[0]:,} to "
    return [f"{len(imported)} data sets hold {between}{sizes[-1]:,} particles each."]


def _training_words(name: str, badge: Badge) -> str:
    if badge.tone == "bad":
        return f"The training of {name} is {badge.text}."
    return f"The training of {name} has {badge.text}."


def branch_sentences(branch: BranchRecord, record: Record) -> list[str]:
    """The branch's results in the order they were made."""
    if branch.state == "waiting":
        return [waiting_sentence(branch)]
    if branch.state == "not run":
        return ["Nothing has run yet."]
    found = [
        _particles_sentence(branch, record),
        cycle_sentence(branch, record),
        replicates_sentence(branch),
        _consensus_sentence(branch),
        _linear_sentence(branch),
        str((branch.fit or {}).get("reason", "")),
        convergence_sentence(branch.convergence),
        _clusters_sentence(branch),
        _classes_sentence(branch),
        _decision_sentence(branch),
        signal_sentence(branch, record.datasets[branch.dataset]),
        _missing_sentence(branch),
    ]
    return [sentence for sentence in found if sentence]


def waiting_sentence(branch: BranchRecord) -> str:
    """What an undecided branch waits for, and what to write into the config."""
    if branch.waits != branch.name:
        return f"Waits for {branch.waits}, which is undecided."
    return (
        f"Waits for your decision: look at the clusters of {branch.parent} above, then fill in "
        f"`branches.{branch.written}.select` in the config, for example `junk: auto` or "
        "`clusters: {keep: [0, 2]}`, or `file: name.txt` with uids saved from the latent plot."
    )


def _particles_sentence(branch: BranchRecord, record: Record) -> str:
    kept, selected = branch.kept, branch.selected
    if kept is None or selected is None:
        return ""
    if branch.parent is None:
        return f"Starts from all {count(kept, 'particle')} of {branch.dataset}."
    whole = record.branches[branch.parent].kept or len(selected)
    return f"Keeps {kept:,} of the {whole:,} particles of {branch.parent} ({percent(kept, whole)})."


def _consensus_sentence(branch: BranchRecord) -> str:
    if branch.consensus is None or not branch.consensus.info:
        return ""
    found = branch.consensus.info.get("resolution_0143_angstrom")
    return f"The consensus map reaches {found:.1f} Å (half-maps, FSC 0.143)." if found else ""


def _linear_sentence(branch: BranchRecord) -> str:
    if branch.linear is None or branch.linear.spectrum is None:
        return ""
    table = branch.linear.spectrum
    if "fraction" not in table or not len(table):
        return ""
    first = 100 * float(table["fraction"].iloc[0])
    return (
        f"The linear model has {count(len(table), 'component')}; the first holds {first:.0f} % of "
        "the variance that it found."
    )


def convergence_sentence(convergence: dict[str, Any] | None) -> str:
    """The verdict of `convergence.json`."""
    if not convergence:
        return ""
    said = str(convergence.get("sentence") or convergence.get("status") or "no verdict")
    return f"Training: {said.rstrip('.')}."


def _clusters_sentence(branch: BranchRecord) -> str:
    if branch.analysis is None or branch.analysis.clusters is None:
        return ""
    counts = branch.analysis.clusters["cluster"].value_counts()
    sizes = f"{int(counts.min()):,} to {int(counts.max()):,} particles"
    return f"Its particles fall into {count(len(counts), 'cluster')} of {sizes}."


def _classes_sentence(branch: BranchRecord) -> str:
    if branch.classes is None or not branch.classes.rows:
        return ""
    rows, left = branch.classes.rows, branch.classes.unsupported
    if not left:
        return "Every class is supported by its own particles."
    named = "; ".join(f"cluster {row['cluster']}: {row['reason']}" for row in left)
    shown = len(rows) - len(left)
    return f"{shown} of {count(len(rows), 'class')} are supported by their own particles ({named})."


def _decision_sentence(branch: BranchRecord) -> str:
    selection = branch.selection
    if selection is not None and selection.problem:
        return f"The decisions cannot be read, and no branch will take them: {selection.problem}."
    if selection is None or not selection.decisions:
        return ""
    who = "a person" if selection.decided_by == "person" else "the automatic rule"
    if selection.stale:
        return "The decisions in selection.yaml were made on other clusters: look at them again."
    total = sum(d.count for d in selection.decisions)
    junk, unsure = selection.particles("junk"), selection.particles("unsure")
    if not junk and not unsure:
        return f"No junk: {who} keeps every cluster."
    parts = []
    if junk:
        named = _named(selection.clusters("junk"))
        parts.append(f"{count(junk, 'particle')} ({percent(junk, total)}; {named}) are junk")
    if unsure:
        named = _named(selection.clusters("unsure"))
        parts.append(
            f"{count(unsure, 'particle')} ({named}) are unsure and stay unless you decide otherwise"
        )
    return f"By {who}, {' and '.join(parts)}."


def _named(labels: list[int]) -> str:
    return f"cluster{'s' if len(labels) > 1 else ''} {', '.join(map(str, labels))}"


def _missing_sentence(branch: BranchRecord) -> str:
    if branch.state != "unfinished":
        return ""
    return f"Not finished: {', '.join(branch.missing)} has left no result yet."


def select_words(select: dict[str, Any]) -> str:
    """How a branch chose its particles."""
    said = []
    if "all" in select:
        said.append("takes all")
    if "junk" in select:
        said.append("obeys the parent's junk decisions")
    for verb, labels in select.get("clusters", {}).items():
        if verb in ("keep", "drop"):
            said.append(f"{verb}s clusters {', '.join(map(str, labels))}")
    if largest := select.get("largest"):
        said.append("takes the largest cluster" if largest == 1 else f"takes the {largest} largest")
    for column, (low, high) in select.get("region", {}).items():
        said.append(f"takes {column} from {float(low):g} to {float(high):g}")
    if "file" in select:
        said.append(f"takes the uids in {select['file']}")
    for name, limit in select.get("quality", {}).items():
        said.append(f"asks for {name.replace('_', ' ')} {limit:g}")
    if "any_of" in select:
        said.append(" or ".join(f"({select_words(inner)})" for inner in select["any_of"]))
    if "not" in select:
        said.append(f"not ({select_words(select['not'])})")
    return "; ".join(said)


def with_code(text: str) -> Markup:
    """Text with what stands between backticks set as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts)))


def reasons(selected: pd.DataFrame) -> list[tuple[bool, str, int]]:
    """Why particles were kept or left: (kept, reason, particles), the most frequent first."""
    counts = selected.groupby(["kept", "reason"], as_index=False).size()
    counts = counts.sort_values("size", ascending=False)
    rows = zip(counts["kept"], counts["reason"], counts["size"], strict=True)
    return [(bool(kept), str(reason), int(n)) for kept, reason, n in rows]
