"""A child branch before it is in a config: its parent, what it keeps, and its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tomopipe.config.branch import STAGES
from tomopipe.errors import ConfigError

_STAGES = ("consensus", "fit", "analysis")


def child_branch(
    branches: Mapping[str, Mapping[str, Any]],
    parent: str,
    select: Mapping[str, Any],
    *,
    dataset: str | None = None,
    stages: Sequence[str] | None = None,
    like: str | None = None,
) -> dict[str, Any]:
    """A branch as it stands in a config.

    Parameters
    ----------
    branches
        Those of the config by name, as YAML reads them; rounds and replicates among them.
    parent, select, dataset
        What the branch starts from, keeps, and is made on (None: the parent's data set).
    stages
        Stages in any order; None for those of `like`.
    like
        Branch whose settings the stages have, defaults where it has none; None for the parent.

    Raises
    ------
    ConfigError
        If a branch or stage is unknown.
    """
    _check_known(branches, "--parent", parent)
    _check_known(branches, "--like", like or parent)
    template = branches[like or parent]
    names = stages or [stage for stage in STAGES if stage in template] or _STAGES
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        raise ConfigError(
            f"--stages: there is no stage {unknown[0]!r}: choose among {', '.join(STAGES)}"
        )
    child: dict[str, Any] = {"parent": parent}
    if dataset is not None:
        child["dataset"] = dataset
    child["select"] = dict(select)
    return child | {stage: template.get(stage, {}) for stage in STAGES if stage in names}


def _check_known(branches: Mapping[str, Any], flag: str, name: str) -> None:
    if name not in branches:
        raise ConfigError(f"{flag}: there is no branch {name!r}: known are {', '.join(branches)}")


def region_of(words: Sequence[str]) -> dict[str, list[float]]:
    """Ranges by column from words such as `z0=-1:0.5`.

    Raises
    ------
    ConfigError
        If a word is not of that form or names a column again.
    """
    ranges: dict[str, list[float]] = {}
    for word in words:
        column, _, text = word.partition("=")
        try:
            low, high = (float(number) for number in text.split(":"))
        except ValueError:
            raise ConfigError(
                f"--region: {word!r} is not COLUMN=LOW:HIGH, such as z0=-1:0.5"
            ) from None
        if column in ranges:
            raise ConfigError(f"--region: {column!r} is given twice: give one range of it")
        ranges[column] = [low, high]
    return ranges
