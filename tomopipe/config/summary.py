"""A config in a few lines: what will run, and what waits for a decision."""

from __future__ import annotations

from tomopipe.config.cycles import written_name
from tomopipe.config.run import Config


def summary(config: Config) -> str:
    """One line per branch: its data set, parent and stages, or what it waits for."""
    return "\n".join(_line(config, name) for name in config.branches)


def waiting_words(config: Config) -> str:
    """What the undecided branches wait for; empty when nothing waits."""
    return "\n".join(dict.fromkeys(_waits(config, name) for name in config.waiting))


def _line(config: Config, name: str) -> str:
    if not config.is_ready(name):
        return _waits(config, name)
    branch = config.branches[name]
    origin = f"{branch.parent} -> " if branch.parent else ""
    return f"{origin}{name} (data set {config.dataset_of(name)}): {', '.join(branch.stages)}"


def _waits(config: Config, name: str) -> str:
    blocker = config.waiting[name]
    own, other = (written_name(branch, config.branches[branch]) for branch in (name, blocker))
    if other != own:
        return f"{own} waits for {other}, which is undecided"
    return (
        f"{own} waits for a decision: look at {config.branches[blocker].parent} in "
        f"{config.results}/report.html, then fill in branches.{own}.select (for example `junk: "
        "auto` or `clusters: {keep: [0, 2]}`)"
    )
