"""Keep, junk or unsure: the decision on clusters from their evidence, as a pure function."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tomopipe.analysis.latent import Array
from tomopipe.config.analysis import JunkSettings

KEEP, UNSURE, JUNK = "keep", "unsure", "junk"

# what must agree with the consensus, in words for the reasons
AGREEMENTS = {
    "signal": "its particles show {share} of the consensus signal",
    "agreement": "their back-projection correlates {share} as well with the consensus",
    "cc_volume": "the model's volume correlates {share} as well with it",
}
# what should not stick out; evidence for doubt, never enough for junk alone
OUTLIERS = {
    "error_mean": "the residual of its particles is {times} that of the good clusters",
    "place": "its volume lies {times} as far from the others",
    "latent_norm": "its latents lie {times} as far out",
}


_UNSEEN = (
    "The consensus is not seen in the images of any cluster beyond chance: there is nothing to "
    "compare with. Look at the maps, and at where the particles come from."
)


def decide(evidence: pd.DataFrame, settings: JunkSettings) -> pd.DataFrame:
    """Decide on every cluster.

    The good clusters are those that agree best with the consensus and together hold half of the
    particles; those of fewer than `min_particles`, which may agree by chance, come last. All others
    are measured by them: `share_X` is a cluster's X over theirs, and `share` the geometric mean of
    the signal's and of the two correlations' mean: the images and the maps must both disagree. A
    difference within `sigmas` spreads of the good clusters counts as none. A cluster whose
    particles agree with each other is a structure, and junk only below `structure_below`: of a part
    of the complex that holds a share f of it, the signal is f and the correlations are √f, which
    makes f^¾. So correlations count up to the square root of the signal: misaligned particles make
    a blob that correlates with any complex. Junk never exceeds `max_junk_fraction` of the
    particles: beyond it the better clusters become unsure. Where even the good clusters show no
    signal beyond `sigmas` of its error, all are unsure: the signal is that of the other half-set's
    map, and noise shows none of it.

    Parameters
    ----------
    evidence
        Table of `gather_evidence`, a row per cluster.
    settings
        Limits.

    Returns
    -------
    DataFrame
        `evidence` with share_signal, share_agreement, share_cc_volume, share, good, structure,
        decision and reason.
    """
    table = evidence.copy()
    count = table["count"].to_numpy(float)
    shares = [_shares(table[name].to_numpy(float), count) for name in AGREEMENTS]
    good = _good_clusters(_combined(*shares), count, settings.min_particles)
    significant = []
    for name in AGREEMENTS:
        value = table[name].to_numpy(float)
        reference = _weighted_median(value[good], count[good])
        spread = _spread(value[good], count[good], 0.02 * abs(reference))
        error = table["signal_error"].to_numpy(float) if name == "signal" else 0.0
        # without any agreement among the good ones there is nothing to compare with
        share = np.clip(value / reference, 0, None) if reference > 0 else np.ones_like(value)
        table[f"share_{name}"] = share
        noise = settings.sigmas * np.sqrt(spread**2 + np.square(error))
        significant.append(np.where(reference - value > noise, share, 1.0))
    supported = np.sqrt(significant[0])
    table["share"] = _combined(significant[0], *np.minimum(significant[1:], supported))
    table["good"] = good
    table["structure"] = _are_structures(table, settings)
    doubts = _doubts(table, good, settings)
    table["decision"] = _decisions(table, doubts, settings)
    table["reason"] = [_reason(row, doubts[i]) for i, (_, row) in enumerate(table.iterrows())]
    if not _is_seen(table.loc[good], settings):
        table["decision"], table["reason"] = UNSURE, _UNSEEN
    return _limit_junk(table, settings)


def _is_seen(good: pd.DataFrame, settings: JunkSettings) -> bool:
    """Whether the particles that agree best show the consensus at all."""
    good = good[np.isfinite(good["signal_error"])]  # a single particle has none
    weight = good["count"] / good["count"].sum()
    error = float(np.sqrt((weight**2 * good["signal_error"] ** 2).sum()))
    return float((weight * good["signal"]).sum()) > settings.sigmas * error


def _are_structures(table: pd.DataFrame, settings: JunkSettings) -> Array:
    """Clusters that are a structure: a bool each.

    Their particles agree with each other as those of any as large, and show in their images what
    the correlation of their maps says that they have in common with the consensus.
    """
    agree = table["resolution"] <= settings.structure_ratio * table["expected"]
    maps = 0.5 * (table["share_agreement"] + table["share_cc_volume"])
    shown = table["share_signal"] >= settings.structure_signal * maps**2
    enough = table["count"] >= settings.structure_particles
    found: Array = (agree & shown & enough).to_numpy(bool)
    return found


def _decisions(table: pd.DataFrame, doubts: list[list[str]], settings: JunkSettings) -> list[str]:
    result = []
    limits = np.where(table["structure"], settings.structure_below, settings.junk_below)
    for i, (share, good, count) in enumerate(
        zip(table["share"], table["good"], table["count"], strict=True)
    ):
        if good or share >= 0.9 or (share >= settings.unsure_below and len(doubts[i]) < 2):
            result.append(KEEP)
        elif share >= limits[i] or count < settings.min_particles:
            result.append(UNSURE)
        else:
            result.append(JUNK)
    return result


def _doubts(table: pd.DataFrame, good: Array, settings: JunkSettings) -> list[list[str]]:
    """Of each cluster, phrases for what sticks out among the clusters."""
    count = table["count"].to_numpy(float)
    phrases: list[list[str]] = [[] for _ in range(len(table))]
    for name, text in OUTLIERS.items():
        value = table[name].to_numpy(float)
        if not np.isfinite(value).all():
            continue
        reference = _weighted_median(value[good], count[good])
        spread = _spread(value[good], count[good], 0.02 * abs(reference))
        for i in np.flatnonzero(value - reference > settings.sigmas * spread):
            phrases[i].append(text.format(times=f"{value[i] / max(reference, 1e-12):.1f} times"))
    return phrases


def _reason(row: pd.Series, doubts: list[str]) -> str:
    if row["good"]:
        return (
            "Agrees with the consensus as well as any: it is one of the clusters to compare with."
        )
    parts = [text.format(share=f"{row[f'share_{name}']:.0%}") for name, text in AGREEMENTS.items()]
    sentence = f"Compared with the good clusters, {parts[0]}, {parts[1]} and {parts[2]}"
    if row["without_signal"] > 0.2:
        sentence += f"; {row['without_signal']:.0%} of its particles show next to no signal"
    if doubts and row["decision"] != KEEP:
        sentence += "; " + ", ".join(doubts)
    if row["decision"] == UNSURE and row["structure"]:
        sentence += (
            f"; its particles agree with each other to {row['resolution']:.0f} Å, as those of a "
            "structure do, perhaps of a part of the complex"
        )
    elif row["decision"] == UNSURE:
        sentence += "; this is too little to be sure of"
    return sentence + "."


def _limit_junk(table: pd.DataFrame, settings: JunkSettings) -> pd.DataFrame:
    """Make junk unsure, the best agreement first, until its share of the particles is allowed."""
    allowed = settings.max_junk_fraction * table["count"].sum()
    for i in table.sort_values("share", ascending=False, kind="stable").index:
        if table.loc[table["decision"] == JUNK, "count"].sum() <= allowed:
            break
        if table.loc[i, "decision"] == JUNK:
            table.loc[i, "decision"] = UNSURE
            table.loc[i, "reason"] = (
                f"{str(table.loc[i, 'reason'])[:-1]}; not called junk, because more than "
                f"{settings.max_junk_fraction:.0%} of the particles would be."
            )
    return table


def _good_clusters(agreement: Array, count: Array, least: int) -> Array:
    """Mask of the clusters that agree best, until they hold half of the particles.

    Clusters of fewer particles than `least` come after all others.
    """
    order = np.lexsort((-count, -agreement, count < least))
    needed = int(np.searchsorted(np.cumsum(count[order]), 0.5 * count.sum())) + 1
    good = np.zeros(len(count), dtype=bool)
    good[order[:needed]] = True
    return good


def _combined(signal: Array, agreement: Array, volume: Array) -> Array:
    """Geometric mean of the images' share and of the maps' mean share."""
    maps = np.clip(0.5 * (agreement + volume), 0, None)
    share: Array = np.sqrt(np.clip(signal, 0, None) * maps)
    return share


def _shares(value: Array, count: Array) -> Array:
    return value / max(_weighted_median(value, count), 1e-12)


def _spread(value: Array, count: Array, least: float) -> float:
    """Scaled median deviation, weighted by particles, at least `least`."""
    middle = _weighted_median(value, count)
    return max(1.4826 * _weighted_median(np.abs(value - middle), count), least)


def _weighted_median(value: Array, weight: Array) -> float:
    order = np.argsort(value, kind="stable")
    total = np.cumsum(weight[order])
    return float(value[order][np.searchsorted(total, 0.5 * total[-1])])
