"""The report's badges: verdicts in a few words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tomopipe.report.records import BranchRecord

Tone = Literal["good", "warn", "bad", "wait", "plain"]


@dataclass(frozen=True)
class Badge:
    """A short verdict; `tone` chooses colour and sign."""

    text: str
    tone: Tone


def badges(branch: BranchRecord) -> list[Badge]:
    """The branch's verdicts in a few words."""
    if branch.state == "waiting":
        return [Badge("waits for a decision" if branch.waits == branch.name else "waits", "wait")]
    if branch.state == "not run":
        return [Badge("not run yet", "wait")]
    found: list[Badge] = []
    resolution = (branch.consensus.info if branch.consensus else {}).get("resolution_0143_angstrom")
    if resolution:
        found.append(Badge(f"{resolution:.1f} Å", "plain"))
    if badge := convergence_badge(branch.convergence):
        found.append(badge)
    found += _decision_badges(branch)
    if branch.state == "unfinished":
        found.append(Badge("unfinished", "wait"))
    return found


def _decision_badges(branch: BranchRecord) -> list[Badge]:
    selection = branch.selection
    if selection is not None and selection.problem:
        return [Badge("decisions cannot be read", "bad")]
    if selection is None or not selection.decisions:
        return []
    if selection.stale:
        return [Badge("decisions are stale", "bad")]
    junk, unsure = selection.particles("junk"), selection.particles("unsure")
    if junk:
        found = [Badge(f"{junk:,} junk", "warn")]
    elif len(selection.decisions) == 1:
        found = [Badge("one cluster, no other to compare with", "plain")]
    else:
        found = [] if selection.particles("keep") == 0 else [Badge("no junk", "good")]
    return [*found, Badge(f"{unsure:,} unsure", "warn")] if unsure else found


def convergence_badge(convergence: dict[str, Any] | None) -> Badge | None:
    """Badge of the training verdict."""
    if not convergence:
        return None
    status, epoch = str(convergence.get("status", "")), convergence.get("epoch")
    if status == "overfitting":
        return Badge(f"overfitting since epoch {epoch}", "bad")
    if status == "converged":
        return Badge(f"converged at epoch {epoch}", "good")
    return Badge("not converged yet", "warn")
