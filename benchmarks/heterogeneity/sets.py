"""The sets: easy, hard, motion, rare, junk; made once per seed and noise level, then kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.heterogeneity import templates
from tomopipe.config.importing import ImportSettings
from tomopipe.config.simulate import SimulateSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import STEP_FORMAT
from tomopipe.io.atomic import read_json
from tomopipe.reconstruct.falloff import measure_falloff
from tomopipe.simulate.particles import simulate_particles

_FOREIGN = "fas"  # a state that stands for contamination in the sets of templates

# Of the templates: particles of each state, and what else differs from the defaults
TEMPLATE_SETS: dict[str, dict[str, Any]] = {
    "easy": {"counts": {"whole": 300, "50S": 120, "fas": 60}, "min_tilts": 21},
    "hard": {"counts": {"whole": 240, "50S": 100, "no_ball": 100, "turned": 100, "fas": 60}},
    "motion": {"counts": {"motion": 480}},
    "rare": {"counts": {"whole": 600, "50S": 380, "swung": 20}},
    "junk": {
        "counts": {"whole": 210, "50S": 126, "30S": 84},
        "junk": 180,
        "junk_kinds": ("noise", "ice", "other", "off-centre", "misaligned"),
    },
    "wide": {"counts": {"wide": 2400}},
}
_JUNK_MAPS = ("fas", "proteasome", "synthase")

PHANTOM_SETS: dict[str, dict[str, Any]] = {
    "easy": {"counts": {"whole": 312, "no_lobe": 120, "no_cap": 48}, "min_tilts": 21},
    "hard": {
        "counts": {"whole": 237, "no_lobe": 103, "no_ball": 100, "turned": 100},
        "junk": 60,
    },
    "motion": {"counts": {"whole": 480}, "motion_degrees": 60},
    "rare": {"counts": {"whole": 600, "no_lobe": 380, "no_cap": 20}},
    "junk": {
        "counts": {"whole": 210, "no_lobe": 126, "no_cap": 84},
        "junk": 180,
        "junk_kinds": ("noise", "ice", "other", "off-centre", "misaligned"),
    },
    "wide": {"counts": {"whole": 2400}, "motion_degrees": 120},
}
SETS = tuple(TEMPLATE_SETS)
STANDARD = SETS[:5]  # what `make bench` runs; `wide` asks where a network pays
# Variance of the whole's projection over that of the noise, both over the whole box of 32 pixels.
# High noise of the templates: where the supervised bound on the hard set has an ARI of .7
SNR = {
    "templates": {"low noise": 1.8, "high noise": 0.6},
    "phantom": {"low noise": 0.3, "high noise": 0.1},
}


@dataclass(frozen=True)
class Made:
    """A set on disk: its name, settings, store and truth by uid."""

    name: str
    noise: str
    seed: int
    settings: SimulateSettings
    folder: Path

    @property
    def store(self) -> Path:
        """The packed store."""
        return self.folder / "store"

    @cached_property
    def truth(self) -> pd.DataFrame:
        """State, coordinate and junk by uid."""
        return pd.read_parquet(self.folder / "raw" / "truth.parquet").set_index("uid")


def source() -> str:
    """What the sets are made of: `templates` where they lie beside the clone, or `phantom`."""
    return "templates" if templates.FOLDER.is_dir() else "phantom"


def make(name: str, noise: str, seed: int, box: int, root: Path) -> Made:
    """Simulate, import and prepare a set, unless that was done before."""
    kind = source()
    snr = SNR[kind][noise] * (32 / box) ** 2  # the same noise at every frequency
    settings = settings_of(name, root / "maps" if kind == "templates" else None).model_copy(
        update={"snr": snr, "seed": seed, "box": box, "pixel_size_angstrom": 320 / box}
    )
    folder = root / f"{name}-{snr:g}-{seed}-{box}"
    if not (folder / "dataset" / "import.json").exists():
        simulate_particles(settings, folder / "raw")
        # bright, as simulated: what is measured here is not the guess of the contrast
        bright = ImportSettings(contrast="bright")
        import_star(folder / "raw" / "particles.star", folder / "dataset", bright)
    if not _packed(folder / "store"):
        prepare(folder / "dataset", folder / "store", measure=measure_falloff)
    return Made(name, noise, seed, settings, folder)


def _packed(store: Path) -> bool:
    """Whether a store is there, and of this version's format."""
    record = store / "store.json"
    return record.exists() and read_json(record).get("step_format") == STEP_FORMAT


def settings_of(name: str, maps: Path | None) -> SimulateSettings:
    """Settings of a set, of the templates whose derived maps are in `maps`, or of the phantom."""
    entry = dict((PHANTOM_SETS if maps is None else TEMPLATE_SETS)[name])
    counts, junk = entry.pop("counts"), entry.pop("junk", 0)
    total = sum(counts.values()) + junk
    states: dict[str, Any] = counts
    if maps is not None:
        paths = templates.derive(maps)
        states = {s: {"population": n, "maps": paths[s]} for s, n in counts.items()}
        entry["junk_maps"] = [paths[other][0] for other in _JUNK_MAPS]
    return SimulateSettings.model_validate(
        {"states": states, "particles": total, "junk_fraction": junk / total}
        | {"motion_degrees": 0}
        | entry
    )


def is_junk(truth: pd.DataFrame) -> pd.Series:
    """Junk, and particles of a complex that does not belong."""
    return truth["junk"] | (truth["state"] == _FOREIGN)
