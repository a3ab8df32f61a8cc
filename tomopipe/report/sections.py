"""What the template shows of a data set and of a branch, made ready from the records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from tomopipe.report import figures, truth
from tomopipe.report.badges import Badge, badges
from tomopipe.report.cards import (
    ClusterCard,
    MapView,
    Traversal,
    cluster_cards,
    map_paths,
    traversals,
    view,
    with_views,
)
from tomopipe.report.classes import Classes, classes
from tomopipe.report.cycles import cycle, cycle_figure, without_copies
from tomopipe.report.falloff import falloff_figures, falloff_sentence
from tomopipe.report.latent import latent_plot
from tomopipe.report.provenance import Step, decision, steps
from tomopipe.report.records import AnalysisRecord, BranchRecord, DatasetRecord, ModelRecord, Record
from tomopipe.report.replicates import Replicates, replicates
from tomopipe.report.volumes import encode
from tomopipe.report.words import branch_sentences, dataset_sentence, reasons, select_words

Figure = tuple[str, Markup]


@dataclass(frozen=True)
class DatasetSection:
    """One data set: a sentence, its charts, its particles by tomogram."""

    name: str
    about: str
    sentence: str
    figures: list[Figure]
    tomograms: Markup | None
    info: list[tuple[str, str]]
    uids: list[str]
    steps: list[Step]


@dataclass(frozen=True)
class BranchSection:
    """One branch, in the order it is shown."""

    record: BranchRecord
    depth: int
    sentences: list[str]
    badges: list[Badge]
    select: str
    reasons: list[tuple[bool, str, int]]
    maps: dict[str, dict[str, object]]
    consensus: MapView | None
    homogeneous: MapView | None
    fsc: Markup | None
    spectrum: Markup | None
    losses: list[Figure]
    convergence: list[Figure]
    verdict: list[tuple[str, str]]
    latents: dict[str, Any] | None
    clusters: list[ClusterCard]
    columns: list[str]
    traversals: list[Traversal]
    classes: Classes | None
    cluster_fsc: Markup | None
    tomograms: Markup | None
    confusion: truth.Confusion | None
    coordinate: truth.Coordinate | None
    decision: str
    steps: list[Step]
    cycle: Markup | None
    replicates: Replicates | None


def dataset_section(dataset: DatasetRecord, uids: list[str]) -> DatasetSection:
    """Data quality: tilts per particle, dose, defocus, tilt angles, falloff, tomograms.

    `uids` are those of particles that latent plots draw.
    """
    particles, images = dataset.particles, dataset.images
    charts: list[Figure] = []
    if particles is not None:
        _add(charts, "Tilts per particle", particles, "n_images", "tilt images", "particles")
        if spread := figures.tomogram_spread(particles["tomogram"]):
            charts.append(("Particles by tomogram", spread))
    if images is not None:
        _add(charts, "Dose", images, "dose_e_per_A2", "accumulated dose (e⁻/Å²)", "images")
        _add(charts, "Defocus", images, "defocus_u_angstrom", "defocus U (µm)", "images", 1e-4)
        _add(charts, "Stage tilt", images, "tilt_degrees", "tilt (°)", "images")
    charts += falloff_figures(dataset)
    names = ("dialect", "box", "contrast", "star")
    known = {n: dataset.info[n] for n in names if dataset.info.get(n) is not None}
    return DatasetSection(
        name=dataset.name,
        about=dataset.about,
        sentence=f"{dataset_sentence(dataset)} {falloff_sentence(dataset)}".strip(),
        figures=charts,
        tomograms=None if particles is None else figures.tomogram_counts(particles["tomogram"]),
        info=[(name, str(value)) for name, value in known.items()],
        uids=uids,
        steps=steps(dataset.lineage),
    )


def _add(
    charts: list[Figure],
    title: str,
    table: pd.DataFrame,
    column: str,
    label: str,
    what: str,
    scale: float = 1.0,
) -> None:
    if column not in table:
        return
    figure = figures.histogram(table[column].to_numpy(float) * scale, label, what)
    if figure is not None:
        charts.append((title, figure))


def branch_section(branch: BranchRecord, record: Record, uids: list[str]) -> BranchSection:
    """Everything that is shown of a branch; `uids` are those of its data set's section."""
    dataset, whole = record.datasets[branch.dataset], branch
    branch = without_copies(branch)
    places = _places(branch, dataset)
    cards = [] if branch.analysis is None else cluster_cards(branch, branch.analysis, places)
    paths = map_paths(branch)
    return BranchSection(
        record=branch,
        depth=record.depth(branch.name),
        sentences=branch_sentences(whole, record),
        badges=badges(whole),
        select=select_words(branch.select),
        reasons=[] if branch.selected is None else reasons(branch.selected),
        maps=encode({k: p for k, p in paths.items() if not k.startswith("own_")}),
        consensus=view(paths, "consensus", "Consensus"),
        homogeneous=view(paths, "homogeneous", "Homogeneous network"),
        fsc=_consensus_fsc(branch),
        spectrum=_spectrum(branch.linear),
        losses=_losses(branch),
        convergence=_convergence(branch),
        verdict=_verdict(branch.convergence or {}),
        latents=latent_plot(branch, dataset, uids),
        clusters=[with_views(card, paths) for card in cards],
        columns=list(dict.fromkeys(name for card in cards for name, _ in card.evidence)),
        traversals=traversals(branch.analysis),
        classes=classes(branch.classes),
        cluster_fsc=None if branch.classes else _cluster_fsc(branch.analysis),
        tomograms=None if places is None else _tomograms(places),
        confusion=truth.confusion(branch, dataset),
        coordinate=truth.coordinate(branch, dataset),
        decision=decision(branch.lineage),
        steps=steps(branch.lineage),
        cycle=cycle_figure(cycle(branch, record)),
        replicates=replicates(branch),
    )


def _consensus_fsc(branch: BranchRecord) -> Markup | None:
    if branch.consensus is None or branch.consensus.fsc is None or not len(branch.consensus.fsc):
        return None
    found = branch.consensus.info.get("resolution_0143_angstrom")
    return figures.consensus_fsc(branch.consensus.fsc, found)


def _spectrum(model: ModelRecord | None) -> Markup | None:
    if model is None or model.spectrum is None or not len(model.spectrum):
        return None
    return figures.spectrum(model.spectrum)


def _losses(branch: BranchRecord) -> list[Figure]:
    shown: list[Figure] = []
    for model in (branch.homogeneous, branch.heterogeneous):
        if model is not None and model.metrics is not None and len(model.metrics):
            verdict = since(branch.convergence or {}) if model.kind == "heterogeneous" else None
            figure = figures.losses(model.metrics, verdict)
            if figure is not None:
                shown.append((f"Loss of the {model.kind} network", figure))
    return shown


# Curves of convergence.json: epochs, values, the limit among its settings, heading, axis.
_MEASURES = (
    ("latent_epoch", "latent_shift", "shift", "How far latents move", "share of the spread"),
    (
        "volume_epoch",
        "volume_cc_median",
        "volume_cc",
        "How volumes agree",
        "CC with the epoch before",
    ),
)


def _convergence(branch: BranchRecord) -> list[Figure]:
    """The measures by epoch that the verdict rests on."""
    info = branch.convergence or {}
    curves, limits = info.get("curves") or {}, info.get("settings") or {}
    shown: list[Figure] = []
    for epochs, values, limit, title, label in _MEASURES:
        figure = figures.by_epoch(
            curves.get(epochs) or [],
            curves.get(values) or [],
            label,
            limits.get(limit),
            since(info),
        )
        if figure is not None:
            shown.append((title, figure))
    return shown


def since(info: Mapping[str, Any]) -> tuple[float, str] | None:
    """Epoch since which the verdict holds, and its status; None for `not yet`."""
    epoch = info.get("epoch")
    return (float(epoch), str(info.get("status", ""))) if epoch else None


def _verdict(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The plain numbers of `convergence.json` as rows."""
    left_out = {"version", "step_format", "sentence", "model"}
    return [
        (str(name).replace("_", " "), text)
        for name, value in info.items()
        if name not in left_out and (text := plain(value))
    ]


def plain(value: Any) -> str:
    """A number or text as people write it; empty for anything nested or unknown."""
    if value is None or isinstance(value, dict | list | tuple | bool):
        return ""
    if isinstance(value, float | np.floating):
        return "" if not np.isfinite(value) else f"{float(value):.3g}"
    return str(value)


def _cluster_fsc(analysis: AnalysisRecord | None) -> Markup | None:
    """Half-map FSC of every cluster, from `volumes/fsc_NN.csv`."""
    if analysis is None or not analysis.fscs:
        return None
    tables = []
    for label, path in analysis.fscs.items():
        table = pd.read_csv(path)
        column = next(c for c in ("fsc_corrected", "fsc_masked", "fsc") if c in table)
        table = table.assign(cluster=label, fsc=table[column]).dropna(subset=["fsc"])
        tables.append(table[["cluster", "frequency_per_angstrom", "fsc"]])
    together = pd.concat(tables)
    return figures.cluster_fsc(together) if len(together) else None


def _places(branch: BranchRecord, dataset: DatasetRecord) -> pd.DataFrame | None:
    """Cluster and tomogram of each particle; None without any."""
    analysis = branch.analysis
    if analysis is None or analysis.clusters is None or dataset.particles is None:
        return None
    table = analysis.clusters.merge(dataset.particles[["uid", "tomogram"]], on="uid")
    return table if len(table) else None


def _tomograms(places: pd.DataFrame) -> Markup:
    names = [f"cluster {c}" for c in range(int(places["cluster"].max()) + 1)]
    return figures.per_tomogram(places["tomogram"], places["cluster"], names)
