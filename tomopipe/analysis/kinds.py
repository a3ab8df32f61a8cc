"""The kinds of selection: what each says about candidate particles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tomopipe.analysis.choose import check_columns, region_fingerprint
from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.analysis.latent import Array, rows_of
from tomopipe.analysis.selection import read_selection
from tomopipe.analysis.uids import read_uids
from tomopipe.config.analysis import ClusterChoice, Select
from tomopipe.errors import ConfigError, StateError
from tomopipe.io.atomic import read_parquet

_EXCLUDED = "excluded: "


@dataclass(frozen=True)
class Verdict:
    """What one kind of selection says about each of n candidates.

    Attributes
    ----------
    kept
        `(n,)` bool.
    reason
        `(n,)` one phrase each.
    """

    kept: Array
    reason: Array


def judge(uids: Array, choice: Select, parent: Path, dataset: Path) -> Verdict:
    """What all kinds of a selection say: each about the candidates that those before it keep.

    Parameters
    ----------
    uids
        `(n,)` candidates.
    choice
        The selection, decided.
    parent, dataset
        Folders of the parent branch and of the data set.

    Raises
    ------
    ConfigError
        If the selection names something that does not exist.
    StateError
        If results of the parent are missing or stale, or hold other particles.
    """
    kept = np.ones(len(uids), dtype=bool)
    reason = np.full(len(uids), "", dtype=object)
    for kind in choice.kinds:
        rows = np.flatnonzero(kept)
        verdict = KINDS[kind](uids[rows], choice, parent, dataset)
        kept[rows], reason[rows] = verdict.kept, verdict.reason
    return Verdict(kept, reason)


def _inside(choice: Select, inner: Select) -> Select:
    """A selection inside another, which says for both whether particles may be missing."""
    missing = choice.allow_missing or inner.allow_missing
    return inner.model_copy(update={"allow_missing": missing})


def _any_of(uids: Array, choice: Select, parent: Path, dataset: Path) -> Verdict:
    """Keep what at least one keeps; the first that does gives the reason, else all of them."""
    verdicts = [judge(uids, _inside(choice, s), parent, dataset) for s in choice.any_of or ()]
    kept = np.array([verdict.kept for verdict in verdicts])
    said = np.array([verdict.reason for verdict in verdicts], dtype=object)
    first = said[kept.argmax(axis=0), np.arange(len(uids))]
    every = np.array(["; ".join(dict.fromkeys(column)) for column in said.T], dtype=object)
    some: Array = np.any(kept, axis=0)
    return Verdict(some, np.where(some, first, every))


def _not(uids: Array, choice: Select, parent: Path, dataset: Path) -> Verdict:
    """Keep what the selection inside leaves, with its reason."""
    assert choice.not_ is not None
    inner = judge(uids, _inside(choice, choice.not_), parent, dataset)
    pairs = zip(inner.kept, inner.reason, strict=True)
    # what a `not` inside this one excluded is kept again, for the reason that it was excluded
    reason = [f"{_EXCLUDED}{r}" if kept else r.removeprefix(_EXCLUDED) for kept, r in pairs]
    return Verdict(~inner.kept, np.array(reason, dtype=object))


def _junk(uids: Array, choice: Select, parent: Path, dataset: Path) -> Verdict:
    """Obey the parent's selection.yaml."""
    clusters = _clusters(parent)
    decided = read_selection(parent / "selection.yaml", clusters)
    label = _labels(clusters, uids, parent)
    kept = np.array([decided.decisions[c] != "junk" for c in label], dtype=bool)
    return Verdict(kept, np.array([decided.why(c) for c in label], dtype=object))


def _by_cluster(uids: Array, choice: Select, parent: Path, dataset: Path) -> Verdict:
    clusters = _clusters(parent)
    wanted = choice.clusters
    assert wanted is not None
    _check_choice(wanted, clusters, parent)
    label = _labels(clusters, uids, parent)
    if wanted.keep is not None:
        kept = np.isin(label, wanted.keep)
    else:
        kept = ~np.isin(label, wanted.drop or ())
    return Verdict(kept, _phrases("cluster", label))


def _check_choice(wanted: ClusterChoice, clusters: pd.DataFrame, parent: Path) -> None:
    if wanted.of is not None and not _same(wanted.of, clusters_fingerprint(clusters)):
        raise StateError(
            f"select: clusters was decided on clusters {wanted.of[:15]}…, those of {parent.name} "
            f"are now {clusters_fingerprint(clusters)[:15]}…: look at its report, choose again and "
            "renew 'of'"
        )
    existing = set(clusters["cluster"].astype(int))
    unknown = sorted(set(wanted.keep or wanted.drop or ()) - existing)
    if unknown:
        raise ConfigError(
            f"select: clusters names {unknown[0]}, {parent.name} has {len(existing)} clusters, "
            f"0 to {max(existing)}: correct the list"
        )


def _same(given: str, actual: str) -> bool:
    """Whether a fingerprint, possibly shortened to eight digits or more, is `actual`."""
    short = given.removeprefix("sha256:")
    return len(short) >= 8 and actual.removeprefix("sha256:").startswith(short)


def _largest(uids: Array, choice: Select, parent: Path, dataset: Path) -> Verdict:
    clusters = _clusters(parent)
    assert choice.largest is not None
    counts = clusters["cluster"].value_counts()
    if choice.largest > len(counts):
        raise ConfigError(
            f"select: largest {choice.largest} is more than the {len(counts)} clusters of "
            f"{parent.name}: give fewer"
        )
    # the lower label goes first where two clusters are equally large
    order = counts.sort_index().sort_values(ascending=False, kind="stable").index
    label = _labels(clusters, uids, parent)
    return Verdict(np.isin(label, order[: choice.largest]), _phrases("cluster", label))


def _region(uids: Array, choice: Select, parent: Path, dataset: Path) -> Verdict:
    path = parent / "analysis" / "latents.parquet"
    table = read_parquet(path)
    region = choice.region or {}
    check_columns(table, region, path)
    _check_coordinates(choice, table, parent)
    rows = rows_of(table, uids, path)
    kept = np.ones(len(uids), dtype=bool)
    reason = np.full(len(uids), "inside the region", dtype=object)
    for column, (low, high) in region.items():
        value = rows[column].to_numpy(float)
        outside = kept & ~((value >= low) & (value <= high))
        reason[outside] = f"{column} outside {low:g} to {high:g}"
        kept &= ~outside
    return Verdict(kept, reason)


def _check_coordinates(choice: Select, table: pd.DataFrame, parent: Path) -> None:
    given = choice.region_of
    if given is None:
        return
    actual = region_fingerprint(table, choice.region or ())
    if not _same(given, actual):
        raise StateError(
            f"select: region was decided on coordinates {given[:15]}…, those of {parent.name} are "
            f"now {actual[:15]}…: look at its report, choose again and renew 'region_of'"
        )


def _file(uids: Array, choice: Select, parent: Path, dataset: Path) -> Verdict:
    path = Path(choice.file or "")
    listed = read_uids(path, dataset)
    known = set(read_parquet(dataset / "particles.parquet")["uid"])
    unknown = [uid for uid in listed if uid not in known]
    if unknown and not choice.allow_missing:
        raise StateError(
            f"{path} names {len(unknown)} particles that the data set lacks, the first is "
            f"{unknown[0]!r}: correct the file, or set allow_missing"
        )
    kept = np.isin(uids.astype(str), np.array(listed, dtype=str))
    return Verdict(kept, np.where(kept, f"in {path.name}", f"not in {path.name}").astype(object))


def _all(uids: Array, choice: Select, parent: Path, dataset: Path) -> Verdict:
    reason = np.full(len(uids), f"kept by {parent.name}", dtype=object)
    return Verdict(np.ones(len(uids), dtype=bool), reason)


def _quality(uids: Array, choice: Select, parent: Path, dataset: Path) -> Verdict:
    kept = np.ones(len(uids), dtype=bool)
    reason = np.full(len(uids), "within the quality limits", dtype=object)
    assert choice.quality is not None

    def leave(name: str, value: Array, bad: Array, limit: str) -> None:
        fresh = kept & bad
        reason[fresh] = [f"{name} {v:.3g} {limit}" for v in value[fresh]]
        kept[fresh] = False

    if (least := choice.quality.min_images) is not None:
        images = _column(dataset / "particles.parquet", "n_images", uids)
        leave("images", images, images < least, f"below {least}")
    if (most := choice.quality.max_error) is not None:
        error = _column(parent / "analysis" / "latents.parquet", "error", uids)
        leave("error", error, ~(error <= most), f"above {most:g}")
    if (weakest := choice.quality.min_signal) is not None:
        signal = _column(parent / "junk_particles.parquet", "signal", uids)
        leave("signal", signal, ~(signal >= weakest), f"below {weakest:g}")
    return Verdict(kept, reason)


def _column(path: Path, name: str, uids: Array) -> Array:
    """A numeric column of a table, by uid.

    Raises
    ------
    StateError
        If the table has no such values.
    """
    table = read_parquet(path)
    if name not in table or table[name].isna().all():
        raise StateError(f"{path} has no values of {name!r}: use another limit")
    return rows_of(table, uids, path)[name].to_numpy(float)


def _clusters(parent: Path) -> pd.DataFrame:
    return read_parquet(parent / "analysis" / "clusters.parquet")


def _labels(clusters: pd.DataFrame, uids: Array, parent: Path) -> Array:
    path = parent / "analysis" / "clusters.parquet"
    return rows_of(clusters, uids, path)["cluster"].to_numpy(int)


def _phrases(word: str, labels: Array) -> Array:
    return np.array([f"{word} {label}" for label in labels], dtype=object)


# uids of the candidates, the selection, the parent's folder, the data set's folder
Kind = Callable[[Array, Select, Path, Path], Verdict]
KINDS: dict[str, Kind] = {
    "all": _all,
    "quality": _quality,
    "file": _file,
    "junk": _junk,
    "clusters": _by_cluster,
    "largest": _largest,
    "region": _region,
    "any_of": _any_of,
    "not": _not,
}
