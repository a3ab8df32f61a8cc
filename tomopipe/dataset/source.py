"""The STAR files a data set came from, kept value for value so that export loses nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tomopipe.dataset.dialects.draft import Draft
from tomopipe.dataset.stacks import StackFinder
from tomopipe.errors import InputError
from tomopipe.io.atomic import read_json, read_parquet, write_json, write_parquet
from tomopipe.io.star import Block, StarFile


@dataclass(frozen=True)
class Source:
    """STAR files by role (particles, tomograms, optimisation_set) and what a particle row is."""

    dialect: str
    files: dict[str, StarFile]
    block: str
    row_is_image: bool

    def resolved_tomograms(self, data_dir: Path | str | None) -> dict[str, Block]:
        """Blocks of the tomograms STAR file, its tilt-series STAR files named by absolute paths.

        They are looked for as at the import, which was given `data_dir`.
        """
        given = self.files.get("optimisation_set", self.files["particles"])
        finder = StackFinder(given.path, None if data_dir is None else Path(data_dir))
        blocks = self.files["tomograms"].blocks
        return {name: _resolved(block, finder) for name, block in blocks.items()}


def _resolved(block: Block, finder: StackFinder) -> Block:
    column = "rlnTomoTiltSeriesStarFile"
    if column not in block.table:
        return block

    def resolve(name: str) -> str:
        try:
            return str(finder.file(name, str(finder.star)))
        except InputError:
            return name  # it was there at import; its absence now is the user's business

    table = block.table.assign(**{column: block.table[column].map(resolve)})
    return Block(block.name, table, block.loop, block.comments)


def save_source(directory: Path, draft: Draft) -> None:
    """Keep the STAR files of a draft in `directory`, all values as text."""
    directory.mkdir()
    files = []
    for role, star in draft.files.items():
        blocks = []
        for number, block in enumerate(star.blocks.values()):
            name = f"{role}_{number}.parquet"
            write_parquet(directory / name, block.table)
            entry = {"name": block.name, "loop": block.loop, "comments": list(block.comments)}
            blocks.append({**entry, "table": name})
        files.append({"role": role, "path": str(star.path.resolve()), "blocks": blocks})
    content = {
        "dialect": draft.dialect,
        "block": draft.rows.block,
        "row_is_image": draft.row_is_image,
        "files": files,
    }
    write_json(directory / "source.json", content)


def load_source(directory: Path) -> Source:
    """Read what `save_source` left.

    Raises
    ------
    StateError
        If it is missing or damaged.
    """
    content = read_json(directory / "source.json")
    files = {}
    for entry in content["files"]:
        blocks = {
            b["name"]: Block(
                b["name"], read_parquet(directory / b["table"]), b["loop"], tuple(b["comments"])
            )
            for b in entry["blocks"]
        }
        files[entry["role"]] = StarFile(Path(entry["path"]), blocks)
    return Source(content["dialect"], files, content["block"], content["row_is_image"])
