"""STAR files without loss: every value stays the text that stands in the file.

Nothing is made a number, cut or padded: `000_000000` and `1.50` come back as they were, a row with
too few or too many values is refused, and comments are kept (RELION reads `# version 50001`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from tomopipe.errors import InputError
from tomopipe.io.atomic import atomic_path

_TOKEN = re.compile(r'"([^"]*)"(?=\s|$)|\'([^\']*)\'(?=\s|$)|(\S+)')
_SPECIAL = re.compile(r"[\"'#]")  # what may make a line more than words between white space
_ROWS_AT_ONCE = 1 << 16  # as Python's strings they take ten times their room in the table


@dataclass(frozen=True)
class Block:
    """One data block; all values are text. A block of single values is a table of one row."""

    name: str
    table: pd.DataFrame
    loop: bool = True
    comments: tuple[str, ...] = ()


@dataclass(frozen=True)
class StarFile:
    """The blocks of one STAR file, in the order of the file."""

    path: Path
    blocks: Mapping[str, Block]

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Table of the block called `name`."""
        return self.blocks[name].table

    def find(self, *columns: str, besides: str | None = None) -> str | None:
        """Name of the first block, `besides` left out, with all `columns`; None without one."""
        for name, block in self.blocks.items():
            if name != besides and all(column in block.table.columns for column in columns):
                return name
        return None


@dataclass
class _Reading:
    """One block while its lines are read."""

    name: str
    comments: tuple[str, ...]
    loop: bool = False
    columns: list[str] = field(default_factory=list)
    single: list[str] = field(default_factory=list)  # values of a block that is no loop
    n_rows: int = 0
    _rows: list[list[str]] = field(default_factory=list)
    _tables: list[pd.DataFrame] = field(default_factory=list)

    def add_row(self, values: list[str]) -> None:
        """Add one row of as many values as there are columns."""
        self.n_rows += 1
        self._rows.append(values)
        if len(self._rows) == _ROWS_AT_ONCE:
            self._gather()

    def _gather(self) -> None:
        """Make a table of the rows since the last one."""
        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(self.columns)
        self._tables.append(
            pd.DataFrame(
                {n: pd.Series(v, dtype="str") for n, v in zip(self.columns, columns, strict=True)}
            )
        )
        self._rows = []

    def block(self) -> Block:
        """Give the whole block."""
        if not self.loop:
            self.add_row(self.single)
        if self._rows or not self._tables:
            self._gather()
        table = pd.concat(self._tables, ignore_index=True)
        return Block(self.name, table, self.loop, self.comments)


def read_star(path: Path | str) -> StarFile:
    """Read a STAR file; every value is kept as text.

    Raises
    ------
    InputError
        If the file is missing, is not text, holds no data block, or has a row with too few or too
        many values (a truncated file), naming the block and its 1-based data row.
    """
    path = Path(path)
    return StarFile(path, {block.name: block.block() for block in _read(path, _lines(path))})


def write_star(path: Path | str, blocks: Mapping[str, Block] | list[Block]) -> None:
    """Write blocks as a STAR file, atomically; values are written as the text they are."""
    chosen = list(blocks.values()) if isinstance(blocks, Mapping) else blocks
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for block in chosen:
            for line in _block_lines(block):
                stream.write(line + "\n")


def quoted(value: str) -> str:
    """`value` as it must stand in a STAR file: quoted if it is empty or has white space."""
    if value and not re.search(r"\s", value) and value[0] not in "\"'#":
        return value
    return f"'{value}'" if '"' in value else f'"{value}"'


def _lines(path: Path) -> list[str]:
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the STAR file in it")
    if not path.is_file():
        raise InputError(f"{path} does not exist: check the path of the STAR file")
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file: give a STAR file") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): check its permissions"
        ) from None


def _read(path: Path, lines: list[str]) -> list[_Reading]:
    """Blocks in the order of the file; the comments since the last block are those of the next."""
    blocks: list[_Reading] = []
    comments: list[str] = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        if text[0] == "#":
            comments.append(text)
        elif text.startswith("data_"):
            blocks.append(_new_block(path, number, text, comments, blocks))
            comments = []
        elif not blocks:
            raise InputError(
                f"{path} is not a STAR file: line {number} stands before any data_ block"
            )
        else:
            _add_line(path, number, text, blocks[-1])
    if not blocks:
        raise InputError(f"{path} is not a STAR file or is empty: it has no data_ block")
    for block in blocks:
        if not block.columns:
            raise InputError(f"{path} block data_{block.name} holds nothing: remove it")
    return blocks


def _new_block(
    path: Path, number: int, text: str, comments: list[str], blocks: list[_Reading]
) -> _Reading:
    name = text[5:]
    if len(text.split()) > 1:
        raise InputError(
            f"{path} line {number} begins with data_ but holds several words: "
            "a value must not begin with data_, rename it"
        )
    if any(block.name == name for block in blocks):
        raise InputError(f"{path} has two blocks called data_{name}: rename or remove one of them")
    return _Reading(name, tuple(comments))


def _add_line(path: Path, number: int, text: str, block: _Reading) -> None:
    values = _tokens(text) if _SPECIAL.search(text) else text.split()
    if values == ["loop_"]:
        _begin_loop(path, number, block)
    elif block.loop and (block.n_rows or text[0] != "_"):
        _add_row(path, values, block)
    elif text[0] == "_":
        _add_label(path, number, values, block)
    else:
        raise InputError(
            f"{path} line {number} in block data_{block.name} is not a _label value pair"
        )


def _begin_loop(path: Path, number: int, block: _Reading) -> None:
    if block.columns:
        raise InputError(
            f"{path} line {number} begins a second table in block data_{block.name}: give it a "
            "block of its own"
        )
    block.loop = True


def _add_row(path: Path, values: list[str], block: _Reading) -> None:
    if len(values) != len(block.columns):
        raise InputError(
            f"{path} block data_{block.name} row {block.n_rows + 1} has {len(values)} values for "
            f"{len(block.columns)} columns: the file is truncated or the row is damaged"
        )
    block.add_row(values)


def _add_label(path: Path, number: int, values: list[str], block: _Reading) -> None:
    name = values[0][1:]
    if name in block.columns:
        raise InputError(
            f"{path} block data_{block.name} has the column {name} twice: remove one of them"
        )
    block.columns.append(name)
    if not block.loop:
        if len(values) != 2:
            raise InputError(
                f"{path} line {number} in block data_{block.name} needs one value for {name}"
            )
        block.single.append(values[1])


def _tokens(text: str) -> list[str]:
    """Values of one line; a hash that begins a word ends the line."""
    found = []
    for match in _TOKEN.finditer(text):
        word = match.group(0)
        if word[0] == "#":
            break
        found.append(next(group for group in match.groups() if group is not None))
    return found


def _block_lines(block: Block) -> Iterator[str]:
    yield ""
    yield from block.comments
    yield f"data_{block.name}"
    yield ""
    columns = list(block.table.columns)
    if not block.loop:
        width = max((len(column) for column in columns), default=0) + 1
        for column in columns:
            yield f"_{column:<{width}} {quoted(str(block.table[column].iloc[0]))}"
    else:
        yield "loop_"
        yield from (f"_{column} #{number}" for number, column in enumerate(columns, 1))
        for start in range(0, len(block.table), _ROWS_AT_ONCE):
            rows = block.table.iloc[start : start + _ROWS_AT_ONCE]
            yield from map("  ".join, zip(*(_written(rows[c]) for c in columns), strict=True))
    yield ""


def _written(column: pd.Series) -> list[str]:
    values = column.astype("str")
    plain = values.str.fullmatch(r"[^\s\"'#]\S*")
    if not plain.all():
        values = values.where(plain, values.map(quoted))
    return values.tolist()
