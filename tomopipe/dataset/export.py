"""Groups of particles back to STAR files: in the source's own dialect, and as RELION-5."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import starfile
from numpy.typing import NDArray

from tomopipe.config.importing import ExportSettings
from tomopipe.dataset.dialects.detect import OPTIMISATION
from tomopipe.dataset.particles import ParticleSet
from tomopipe.dataset.relion5 import write_relion5
from tomopipe.dataset.source import Source, load_source
from tomopipe.errors import StateError
from tomopipe.io.atomic import check_folder, write_json
from tomopipe.io.notice import notice
from tomopipe.io.star import Block, StarFile, write_star


def export(
    dataset_dir: Path | str,
    out: Path | str,
    groups: Mapping[str, Iterable[str]],
    settings: ExportSettings | None = None,
) -> None:
    """Write each group of particles as `out/{group}.star`, rows and values as in the source.

    Tomographic dialects also get `{group}_optimisation_set.star` and one `tomograms.star`. With
    `relion5`, `out/relion5/` holds the same groups as RELION-5 optimisation sets and `lost.json`,
    which says what the source could not tell or RELION-5 cannot hold.

    Parameters
    ----------
    dataset_dir
        An imported data set.
    out
        Directory of the STAR files.
    groups
        Particle uids by group name, in any order.
    settings
        Image paths and RELION-5.

    Raises
    ------
    StateError
        If the data set is not imported, a uid is not in it, or a group is empty.
    """
    settings = settings or ExportSettings()
    dataset_dir, out = Path(dataset_dir), Path(out)
    check_folder(out)
    particles = ParticleSet.load(dataset_dir)
    source = load_source(dataset_dir / "source")
    lost = {}
    subsets = {name: _subset(particles, name, uids) for name, uids in groups.items()}
    for name, subset in subsets.items():
        _write_group(out, name, subset, source, settings)
        if settings.relion5:
            lost[name] = write_relion5(out / "relion5", name, subset, source)
    if lost:
        write_json(out / "relion5" / "lost.json", lost)


def group_rows(subset: ParticleSet, source: Source) -> NDArray[np.int64]:
    """Rows of the source's particle block that belong to `subset`, ascending, 0-based."""
    table = subset.images if source.row_is_image else subset.particles
    return np.unique(table["source_row"].to_numpy(dtype=np.int64))


def _subset(particles: ParticleSet, name: str, uids: Iterable[str]) -> ParticleSet:
    subset = particles.subset(uids)
    if not len(subset):
        raise StateError(f"group {name} has no particles to export: leave it out")
    return subset


def _write_group(
    out: Path, name: str, subset: ParticleSet, source: Source, settings: ExportSettings
) -> None:
    star = source.files["particles"]
    rows = group_rows(subset, source)
    block = star.blocks[source.block]
    table = block.table.iloc[rows].reset_index(drop=True)
    if settings.paths == "absolute" and "rlnImageName" in table:
        table = table.assign(rlnImageName=_absolute(subset, source))
    blocks = dict(star.blocks)
    blocks[source.block] = Block(block.name, table, block.loop, block.comments)
    path = out / f"{name}.star"
    write_star(path, blocks)
    _read_back(path, blocks[source.block])
    if "tomograms" in source.files:
        _write_set(out, name, path, subset, source, settings)


def _read_back(path: Path, block: Block) -> None:
    """Say so where `starfile`, which is not our own reader and many scripts have, loses rows."""
    try:
        found = starfile.read(path, always_dict=True).get(block.name, ())
    except Exception:  # it and pandas raise many kinds: whatever it was, scripts will meet it too
        found = ()
    finally:
        linecache.clearcache()  # it reads through that and would serve a stale file next time
    if len(found) != len(block.table):
        notice(
            f"{path}: the Python package starfile finds {len(found):,} of the {len(block.table):,} "
            "rows (quotes or # in values?); tomopipe reads them all"
        )


def _absolute(subset: ParticleSet, source: Source) -> list[str]:
    """Image names with the stacks' resolved paths, one per exported row."""
    images = subset.images.sort_values("source_row", kind="stable")
    if source.row_is_image:
        return [f"{s + 1:06d}@{p}" for s, p in zip(images["slot"], images["stack"], strict=True)]
    return images.drop_duplicates("source_row")["stack"].tolist()


def _write_set(
    out: Path,
    name: str,
    path: Path,
    subset: ParticleSet,
    source: Source,
    settings: ExportSettings,
) -> None:
    """Write the optimisation set of a group, and the tomograms that all groups share."""
    blocks = source.files["tomograms"].blocks
    if settings.paths == "absolute":
        blocks = source.resolved_tomograms(subset.info["settings"]["data_dir"])
    write_star(out / "tomograms.star", blocks)
    original = source.files.get("optimisation_set")
    block = _set_block(original)
    files = dict(zip(OPTIMISATION, (path, out / "tomograms.star"), strict=True))
    values = {column: str(file.resolve()) for column, file in files.items()}
    further = {} if original is None else dict(original.blocks)
    further[block.name] = Block(block.name, block.table.assign(**values), False, block.comments)
    write_star(out / f"{name}_optimisation_set.star", further)


def _set_block(original: StarFile | None) -> Block:
    if original is None or (name := original.find(*OPTIMISATION)) is None:
        empty = pd.DataFrame({column: [""] for column in OPTIMISATION})
        return Block("optimisation_set", empty, loop=False)
    return original.blocks[name]
