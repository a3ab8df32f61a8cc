"""Cycles in the report: what each round of a repeated branch kept and called junk."""

from __future__ import annotations

from dataclasses import dataclass, replace

from markupsafe import Markup

from tomopipe.report import charts
from tomopipe.report.palette import BLUE, ORANGE
from tomopipe.report.records import BranchRecord, Record


@dataclass(frozen=True)
class Round:
    """A round: particles that it began with and called junk, None before it has decided."""

    number: int
    branch: str
    particles: int | None
    junk: int | None
    taken: bool


@dataclass(frozen=True)
class Cycle:
    """The rounds of one branch, in order."""

    rounds: tuple[Round, ...]

    @property
    def clean_after(self) -> int | None:
        """The first round that called nothing junk."""
        return next((r.number for r in self.rounds if r.junk == 0), None)

    @property
    def words(self) -> str:
        """Where it stands, in a few words."""
        if self.clean_after is not None:
            return f"clean after round {self.clean_after}"
        done = [r for r in self.rounds if r.junk is not None]
        if len(done) == len(self.rounds):
            return f"not clean after {len(done)} rounds: {done[-1].junk:,} still called junk"
        return f"{len(done)} of at most {len(self.rounds)} rounds done"


def cycle(branch: BranchRecord, record: Record) -> Cycle | None:
    """The cycle that a branch is the last round of; None for any other branch."""
    repeat = branch.repeat
    if repeat is None or repeat.round != repeat.rounds:
        return None
    parts = [b for b in record.branches.values() if b.repeat and b.written == branch.written]
    return Cycle(tuple(_round(part) for part in parts))


def _round(branch: BranchRecord) -> Round:
    found = branch.selection
    junk = None if found is None or found.stale or found.problem else found.particles("junk")
    number = branch.repeat.round if branch.repeat else None
    return Round(number or 1, branch.name, branch.kept, junk, bool(branch.taken))


def cycle_sentence(branch: BranchRecord, record: Record) -> str:
    """How a cycle ended, and whose results a branch took over; empty for most branches."""
    found = cycle(branch, record)
    said = [] if found is None else [f"The cycle over {branch.written} is {found.words}."]
    for source in dict.fromkeys(branch.taken.values()):
        stages = ", ".join(s for s in branch.settings if branch.taken.get(s) == source)
        said.append(f"Took over from {source}, which kept the same particles: {stages}.")
    return " ".join(said)


def without_copies(branch: BranchRecord) -> BranchRecord:
    """A branch as it is shown: what only repeats or confirms another one has nothing to add."""
    repeat, own = branch.repeat, branch.replicates
    copied = repeat is not None and repeat.round != repeat.rounds and bool(branch.taken)
    if not copied and (own is None or own.number == 1):
        return branch
    return replace(
        branch,
        consensus=None,
        linear=None,
        homogeneous=None,
        heterogeneous=None,
        convergence=None,
        analysis=None,
        classes=None,
    )


def cycle_figure(found: Cycle | None) -> Markup | None:
    """Particles of each round that were kept and called junk; None before any was decided."""
    rounds = [r for r in found.rounds if r.junk is not None] if found else []
    if not rounds:
        return None
    counts = [[(r.particles or 0) - (r.junk or 0), r.junk or 0] for r in rounds]
    names = [f"round {r.number}" + (" (taken over)" if r.taken else "") for r in rounds]
    return charts.stacked(
        names, counts, ["kept", "junk"], [BLUE, ORANGE], title="Particles of each round"
    )
