"""Whether training may end before its last epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tomopipe.training.verdict import Verdict, verdict


def judge(metrics: Sequence[dict[str, Any]]) -> Verdict:
    """The verdict on a run's metrics so far (one dictionary an epoch)."""
    return verdict(
        [_number(m.get("validation")) for m in metrics],
        [_number(m.get("latent_shift")) for m in metrics],
        baseline=_number(metrics[0].get("validation_zero")) if metrics else None,
    )


def should_stop(metrics: Sequence[dict[str, Any]], rule: str) -> bool:
    """True when the rule is `converged` and the run has converged or begun to overfit."""
    return rule == "converged" and judge(metrics).status != "not yet"


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
