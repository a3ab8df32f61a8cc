"""Groups of particles back to STAR files: in the source's own dialect, and as RELION-5."""

from __future__ import annotations

import linecache
import re
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

# Files of a group in `out` and in `out/relion5`, by the names that `tomopipe export` gives groups.
_OF_A_GROUP = re.compile(r"(kept|junk|cluster_\d{2,})(_tomograms|_optimisation_set)?\.star")


def export(
    dataset_dir: Path | str,
    out: Path | str,
    groups: Mapping[str, Iterable[str]],
    settings: ExportSettings | None = None,
) -> None:
    """Write each group of particles as `out/{group}.star`, rows and values as in the source.

    Tomographic dialects also get `{group}_optimisation_set.star` and one `tomograms.star`. With
    `relion5`, `out/relion5/` holds the same groups as RELION-5 optimisation sets and `lost.json`,
    which says what the source could not tell or RELION-5 cannot hold. Groups kept, junk and
    cluster_NN of an earlier export to `out` are taken away first: they are of other particles.

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
    wanted = {name: list(uids) for name, uids in groups.items()}
    _check_groups(wanted, set(particles.particles["uid"]))
    _remove_groups(out)
    # One group after the other: images of a large data set, all groups' at once, fill the memory.
    lost = {
        name: _write_group(out, name, particles.subset(uids), source, settings)
        for name, uids in wanted.items()
    }
    if settings.relion5:
        write_json(out / "relion5" / "lost.json", lost)


def _check_groups(groups: Mapping[str, list[str]], known: set[str]) -> None:
    for name, uids in groups.items():
        if not uids:
            raise StateError(f"group {name} has no particles to export: leave it out")
        if unknown := set(uids) - known:
            raise StateError(
                f"group {name} has {len(unknown)} particles that are not in this data set, first "
                f"{min(unknown)}: export particles of the same import"
            )


def _remove_groups(out: Path) -> None:
    """Take away an earlier export, before anything is written: what breaks off is no mixture."""
    for path in (*out.glob("*.star"), *out.glob("relion5/*.star")):
        if _OF_A_GROUP.fullmatch(path.name):
            path.unlink()
    (out / "relion5" / "lost.json").unlink(missing_ok=True)


def group_rows(subset: ParticleSet, source: Source) -> NDArray[np.int64]:
    """Rows of the source's particle block that belong to `subset`, ascending, 0-based."""
    table = subset.images if source.row_is_image else subset.particles
    return np.unique(table["source_row"].to_numpy(dtype=np.int64))


def _write_group(
    out: Path, name: str, subset: ParticleSet, source: Source, settings: ExportSettings
) -> list[str]:
    """Write a group's files; what RELION-5 loses of it, a sentence each."""
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
    return write_relion5(out / "relion5", name, subset, source) if settings.relion5 else []


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
