"""The STAR files a data set came from, kept value for value so that export loses nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tomopipe.dataset.dialects.draft import Draft
from tomopipe.io.atomic import read_json, read_parquet, write_json, write_parquet
from tomopipe.io.star import Block, StarFile


@dataclass(frozen=True)
class Source:
    """STAR files by role (particles, tomograms, optimisation_set) and what a particle row is."""

    dialect: str
    files: dict[str, StarFile]
    block: str
    row_is_image: bool


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
