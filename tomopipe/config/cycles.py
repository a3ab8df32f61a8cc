"""Branches that run more than once, unrolled into plain branches: rounds and replicates.

The plan stays static: every round and replicate that may run is known from the config alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from tomopipe.config.analysis import Select
from tomopipe.config.base import Section
from tomopipe.config.branch import Branch

S = TypeVar("S", bound=Section)

# What replicates are made for, and what they need for it.
_SEEDED = ("fit", "linear", "heterogeneous", "analysis")
_ONCE = ("homogeneous", "convergence", "classes", "junk", "export")


def unrolled(branches: Mapping[str, Branch]) -> dict[str, Branch]:
    """Branches with every round and replicate as one of its own; done already, nothing changes.

    Raises
    ------
    ValueError
        If a round or replicate has the name of another branch.
    """
    found: dict[str, Branch] = {}
    for name, branch in branches.items():
        rounds = _rounds(name, branch)
        last = rounds.pop(name)
        for part in (rounds, {name: last} | _replicates(name, last)):
            for new, made in part.items():
                if new in found or (new != name and new in branches):
                    raise ValueError(
                        f"branch {name!r} makes a branch {new!r}, but there is one: rename that"
                    )
                found[new] = made
    return found


def _rounds(name: str, branch: Branch) -> dict[str, Branch]:
    """The rounds of a branch by name, itself last."""
    repeat = branch.repeat
    if repeat is None or repeat.round is not None:
        return {name: branch}
    rounds: dict[str, Branch] = {}
    before = None
    for number in range(1, repeat.rounds + 1):
        own: dict[str, Any] = {"repeat": repeat.model_copy(update={"round": number})}
        if before is not None:
            own |= {"parent": before, "select": Select(junk="auto")}
        if number < repeat.rounds:
            own["replicates"] = None
        before = name if number == repeat.rounds else f"{name}_round{number}"
        rounds[before] = _changed(branch, own)
    return rounds


def _replicates(name: str, branch: Branch) -> dict[str, Branch]:
    """A branch as the first of its replicates, and the others; none where there are none."""
    replicates = branch.replicates
    if replicates is None or replicates.number is not None:
        return {}
    found = {}
    for number in range(1, replicates.count + 1):
        own: dict[str, Any] = {"replicates": replicates.model_copy(update={"number": number})}
        if number > 1:
            given = {stage: getattr(branch, stage) for stage in _SEEDED}
            own |= {stage: reseeded(s, number - 1) for stage, s in given.items() if s is not None}
            own |= {"repeat": None} | dict.fromkeys(_ONCE)
        found[name if number == 1 else f"{name}_replicate{number}"] = _changed(branch, own)
    return found


def _changed(branch: Branch, own: Mapping[str, Any]) -> Branch:
    """A branch with other values; None stands for a section that is left out."""
    values = {name: getattr(branch, name) for name in branch.model_fields_set} | dict(own)
    return Branch.model_validate({k: v for k, v in values.items() if v is not None})


def reseeded(settings: S, add: int) -> S:
    """Settings with every seed raised, in the sections inside too."""
    new: dict[str, Any] = {}
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if field == "seed":
            if value + add >= 2**31:
                raise ValueError(f"seed: {value} leaves no room for replicates: give a smaller one")
            new[field] = value + add
        elif isinstance(value, Section):
            new[field] = reseeded(value, add)
    return settings.model_copy(update=new)


def written_name(name: str, branch: Branch) -> str:
    """What a branch is called in the config file, where its rounds and replicates are one."""
    if branch.is_replica and branch.replicates is not None:
        return name.removesuffix(f"_replicate{branch.replicates.number}")
    return name if branch.repeat is None else name.removesuffix(f"_round{branch.repeat.round}")


def taken_from(name: str, branch: Branch, stage: str) -> str | None:
    """Branch whose result of a stage may be taken over, if it kept the same particles.

    A round looks at the one before it, which may have found no junk. A replicate shares what does
    not depend on the seed. An export is written anew: it holds paths.
    """
    if branch.is_replica:
        return written_name(name, branch) if stage == "consensus" else None
    again = branch.repeat is not None and (branch.repeat.round or 1) > 1
    return branch.parent if again and stage != "export" else None


def replicates_of(branches: Mapping[str, Branch], name: str) -> list[str]:
    """A branch and its further replicates, in order; nothing for a branch without any."""
    own = branches[name].replicates
    if own is None or own.number != 1:
        return []
    return [name, *(f"{name}_replicate{number}" for number in range(2, own.count + 1))]
