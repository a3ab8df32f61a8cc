"""Replicates in the report: what fits with other seeds agree on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tomopipe.report.records import BranchRecord


@dataclass(frozen=True)
class Replicates:
    """The matrix of adjusted Rand indices, the clusters of the first, and the latents."""

    names: list[str]
    ari: list[list[float]]
    clusters: list[dict[str, Any]]
    latents: str


def replicates(branch: BranchRecord) -> Replicates | None:
    """What `agreement.json` says; None for a branch without replicates."""
    found = branch.agreement
    if found is None:
        return None
    return Replicates(
        list(found["replicates"]), found["ari"], found["clusters"], _latents(found["latents"])
    )


def _latents(pairs: list[dict[str, Any]]) -> str:
    r2, near, chance = (
        float(np.mean([pair[name] for pair in pairs])) for name in ("r2", "neighbours", "chance")
    )
    return (
        f"Of the latents of one replicate, a linear map of another's predicts {100 * r2:.0f} % of "
        f"the variance; of a particle's ten nearest neighbours {100 * near:.0f} % are the same "
        f"(by chance {100 * chance:.1f} %)."
    )


def agreement_words(branch: BranchRecord) -> str:
    """The verdict in a few words; empty without one."""
    if branch.agreement is None:
        return ""
    count = len(branch.agreement["replicates"])
    shaky = [str(row["cluster"]) for row in branch.agreement["clusters"] if not row["stable"]]
    if not shaky:
        return f"all clusters stable over {count} replicates"
    named = f"cluster{'s' if len(shaky) > 1 else ''} {', '.join(shaky)}"
    return f"{named} not stable over {count} replicates"


def replicates_sentence(branch: BranchRecord) -> str:
    """How far replicates agree, or of which branch this is one; empty for most branches."""
    own = branch.replicates
    if own is not None and (own.number or 1) > 1:
        return f"Replicate {own.number} of {branch.written}: the same particles, other seeds."
    if branch.agreement is None:
        return ""
    matrix = np.array(branch.agreement["ari"])
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    words = agreement_words(branch)
    return f"{words[0].upper()}{words[1:]} (ARI {pairs.min():.2f} to {pairs.max():.2f})."
