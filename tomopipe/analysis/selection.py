"""selection.yaml: decisions on clusters that a person can read, change, and have obeyed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.analysis.takeover import FOLDER, taken_over
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_parquet, read_yaml, write_text

DECISIONS = ("keep", "junk", "unsure")

_HEADER = """\
# Which clusters of particles are kept. To change a decision, write keep, junk or unsure after
# "decision:" and save; the next branch obeys. Junk is left out, keep and unsure stay.
#   decision   what holds; edit this
#   automatic  what tomopipe proposed; leave it, so that your changes stay visible
# The fingerprint ties this file to the clusters it was made on. When the clusters change, the file
# is refused: remove it and run again for a new proposal.
"""


@dataclass(frozen=True)
class Selection:
    """Decisions on clusters.

    Attributes
    ----------
    fingerprint
        Of the clusters that they were made on.
    decisions, automatic
        Cluster to keep, junk or unsure: what holds, and what was proposed.
    reasons
        Cluster to one sentence.
    counts
        Cluster to its particles, 0 where the file does not say.
    person
        Whether a person made or changed any.
    """

    fingerprint: str
    decisions: dict[int, str]
    automatic: dict[int, str]
    reasons: dict[int, str]
    counts: dict[int, int]
    person: bool

    def why(self, cluster: int) -> str:
        """Tell the decision on a cluster and its reason, as a selection records it."""
        decision = self.decisions[cluster]
        if self.person and decision != self.automatic.get(cluster, decision):
            return f"{decision}: cluster {cluster}, decided by a person"
        return f"{decision}: cluster {cluster}. {self.reasons.get(cluster, '')}".rstrip()


def settle(branch: Path, same_as: Path | None = None) -> Selection:
    """Write a branch's `selection.yaml` from its `junk.parquet`, unless a person has changed it.

    Parameters
    ----------
    branch
        Folder with `junk.parquet` and `junk_particles.parquet`, see `find_junk`.
    same_as
        Folder of another branch: where those tables were taken over from it, its decisions are too,
        a person's as well. Until someone changes them here they follow those of that branch.

    Raises
    ------
    StateError
        If a person's decisions were made on other clusters: they are not overwritten.
    """
    path = branch / "selection.yaml"
    copied = branch / FOLDER / path.name  # what was taken over, to tell it from a person's change
    clusters = read_parquet(branch / "junk_particles.parquet", ["uid", "cluster"])
    if not _decided_by_person(path, copied, clusters):
        if same_as is not None and taken_over(branch).get("junk") == same_as.name:
            text = (same_as / path.name).read_text(encoding="utf-8")
            write_text(path, text)
            write_text(copied, text)
        else:
            copied.unlink(missing_ok=True)
            table = read_parquet(branch / "junk.parquet")
            write_selection(path, table, clusters_fingerprint(clusters))
    return read_selection(path, clusters)


def _decided_by_person(path: Path, copied: Path, clusters: pd.DataFrame) -> bool:
    """Whether `path` holds a person's decisions on these clusters, and is no mere copy.

    Raises
    ------
    StateError
        If it holds a person's decisions on other clusters.
    """
    if not path.exists():
        return False
    if copied.exists():  # then whatever differs from it was changed here
        if path.read_bytes() == copied.read_bytes():
            return False
        read_selection(path, clusters)
        return True
    try:
        return read_selection(path, clusters).person
    except StateError:
        if not looks_edited(path.read_text(encoding="utf-8")):
            return False
        raise


def write_selection(path: Path, table: pd.DataFrame, fingerprint: str) -> None:
    """Write automatic decisions: `table` has cluster, count, decision and reason."""
    body = {
        "clusters_fingerprint": fingerprint,
        "decided_by": "automatic",
        "clusters": {
            int(row.cluster): {
                "decision": row.decision,
                "automatic": row.decision,
                "count": int(row.count),
                "reason": row.reason,
            }
            for row in _Rows.of(table)
        },
    }
    text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=10_000)
    write_text(path, _HEADER + text)


@dataclass(frozen=True)
class _Rows:
    cluster: int
    count: int
    decision: str
    reason: str

    @classmethod
    def of(cls, table: pd.DataFrame) -> list[_Rows]:
        names = ["cluster", "count", "decision", "reason"]
        return [cls(*values) for values in table[names].itertuples(index=False, name=None)]


def read_selection(path: Path, clusters: pd.DataFrame) -> Selection:
    """Read decisions and check that they were made on `clusters` (uid, cluster).

    Raises
    ------
    StateError
        If the file is missing or malformed, was made on other clusters, or does not name exactly
        the clusters there are.
    """
    found = read_decisions(path)
    existing = clusters_fingerprint(clusters)
    if found.fingerprint != existing:
        raise StateError(
            f"{path} was decided on other clusters than those of the analysis beside it "
            f"({found.fingerprint[:15]}… is not {existing[:15]}…): move the file "
            "away, run `tomopipe junk` and `tomopipe decide` for a new one and repeat your changes "
            "there"
        )
    _check_labels(path, set(found.decisions), set(clusters["cluster"].astype(int)))
    return found


def read_decisions(path: Path) -> Selection:
    """Read decisions as they stand in the file, whatever the clusters that they were made on.

    Raises
    ------
    StateError
        If the file is missing or malformed.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("clusters"), dict):
        raise StateError(
            f"{path} has no section 'clusters': remove it and run `tomopipe decide` again"
        )
    entries = {_label(path, key): value for key, value in content["clusters"].items()}
    decisions = {key: _word(path, key, value) for key, value in entries.items()}
    automatic = {k: str(v.get("automatic", decisions[k])) for k, v in entries.items()}
    return Selection(
        fingerprint=str(content.get("clusters_fingerprint", "")),
        decisions=decisions,
        automatic=automatic,
        reasons={k: str(v.get("reason", "")) for k, v in entries.items()},
        counts={k: _count(path, k, v) for k, v in entries.items()},
        person=content.get("decided_by") == "person" or decisions != automatic,
    )


def _check_labels(path: Path, named: set[int], existing: set[int]) -> None:
    if unknown := sorted(named - existing):
        raise StateError(
            f"{path} names cluster {unknown[0]}, which does not exist (there are {len(existing)}, "
            f"0 to {max(existing)}): remove that entry"
        )
    if missing := sorted(existing - named):
        raise StateError(f"{path} says nothing about cluster {missing[0]}: add its decision")


def _label(path: Path, key: Any) -> int:
    if isinstance(key, int) and not isinstance(key, bool):
        return key
    raise StateError(f"{path}: {key!r} under 'clusters' is not a cluster number: correct it")


def _word(path: Path, cluster: int, entry: Any) -> str:
    word = entry.get("decision") if isinstance(entry, dict) else None
    if word not in DECISIONS:
        raise StateError(
            f"{path}: decision of cluster {cluster} is {word!r}: write keep, junk or unsure"
        )
    return str(word)


def _count(path: Path, cluster: int, entry: dict[str, Any]) -> int:
    count = entry.get("count", 0)
    if isinstance(count, bool) or not isinstance(count, int):
        raise StateError(
            f"{path}: count of cluster {cluster} is {count!r}: write its number of particles"
        )
    return count


def looks_edited(text: str) -> bool:
    """Whether any decision in a selection file differs from the proposal, or says so."""
    try:
        content = yaml.safe_load(text)
        entries = content["clusters"].values()
        return content.get("decided_by") == "person" or any(
            entry["decision"] != entry.get("automatic") for entry in entries
        )
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return True  # a person broke it while editing: never throw that away
