"""STAR files without loss: `starfile` parses, every value stays the text that stands in the file.

`starfile` turns `000_000000` and `1.50` into numbers unless it is told every column's name, pads
short rows, cuts values at `#`, and swaps quotes. Therefore the file's outline is read first: it
gives the names, proves that no row was cut or padded, and keeps the comments (RELION reads
`# version 50001`).
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import starfile

from tomopipe.errors import InputError
from tomopipe.io.atomic import atomic_path

_TOKEN = re.compile(r'"([^"]*)"(?=\s|$)|\'([^\']*)\'(?=\s|$)|(\S+)')
# what starfile does not keep as it stands: quotes, hashes, and its two spellings of a missing value
# that are not "nan"
_SPECIAL = re.compile(r"[\"'#]|(?<!\S)(?:NaN|<NA>)(?!\S)")
_ROWS_AT_ONCE = 1 << 16  # written: as Python's strings they take ten times their room in the table


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

    def find(self, *columns: str) -> str | None:
        """Name of the first block that has all `columns`, None if there is none."""
        for name, block in self.blocks.items():
            if all(column in block.table.columns for column in columns):
                return name
        return None


@dataclass
class _Outline:
    """What the text of one block looks like before it is parsed."""

    name: str
    comments: tuple[str, ...]
    loop: bool = False
    columns: list[str] = field(default_factory=list)
    rows: int = 0
    values: list[str] = field(default_factory=list)
    special: dict[int, list[str]] = field(default_factory=dict)


def read_star(path: Path | str) -> StarFile:
    """Read a STAR file; every value is kept as text.

    Raises
    ------
    InputError
        If the file is missing, is not text, holds no data block, or has a row with too few or too
        many values (a truncated file), naming the block and its 1-based data row.
    """
    path = Path(path)
    outlines = _outline(path, _lines(path))
    tables = _parse(path, outlines)
    blocks = {o.name: Block(o.name, _table(path, o, tables), o.loop, o.comments) for o in outlines}
    return StarFile(path, blocks)


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
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file: give a STAR file") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): check its permissions"
        ) from None


def _outline(path: Path, lines: list[str]) -> list[_Outline]:
    """Blocks with their columns, row counts, and the rows that starfile would not keep."""
    blocks: list[_Outline] = []
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
    path: Path, number: int, text: str, comments: list[str], blocks: list[_Outline]
) -> _Outline:
    name = text[5:]
    if len(text.split()) > 1:
        raise InputError(
            f"{path} line {number} begins with data_ but holds several words: "
            "a value must not begin with data_, rename it"
        )
    if any(block.name == name for block in blocks):
        raise InputError(f"{path} has two blocks called data_{name}: rename or remove one of them")
    return _Outline(name, tuple(comments))


def _add_line(path: Path, number: int, text: str, block: _Outline) -> None:
    if text == "loop_":
        block.loop = True
    elif text[0] == "_" and not block.rows:
        _add_label(path, number, text, block)
    elif not block.loop:
        raise InputError(
            f"{path} line {number} in block data_{block.name} is not a _label value pair"
        )
    else:
        special = _SPECIAL.search(text) is not None
        tokens = _tokens(text) if special else text.split()
        block.rows += 1
        if len(tokens) != len(block.columns):
            raise InputError(
                f"{path} block data_{block.name} row {block.rows} has {len(tokens)} values for "
                f"{len(block.columns)} columns: the file is truncated or the row is damaged"
            )
        if special:
            block.special[block.rows - 1] = tokens


def _add_label(path: Path, number: int, text: str, block: _Outline) -> None:
    tokens = _tokens(text)
    name = tokens[0][1:]
    if name in block.columns:
        raise InputError(
            f"{path} block data_{block.name} has the column {name} twice: remove one of them"
        )
    block.columns.append(name)
    if not block.loop:
        if len(tokens) != 2:
            raise InputError(
                f"{path} line {number} in block data_{block.name} needs one value for {name}"
            )
        block.values.append(tokens[1])


def _tokens(text: str) -> list[str]:
    """Values of one line; a hash that begins a word ends the line."""
    found = []
    for match in _TOKEN.finditer(text):
        word = match.group(0)
        if word[0] == "#":
            break
        found.append(next(group for group in match.groups() if group is not None))
    return found


def _parse(path: Path, outlines: list[_Outline]) -> dict[str, pd.DataFrame]:
    """Tables of the loop blocks as `starfile` reads them, all columns as text."""
    names = sorted({column for outline in outlines for column in outline.columns})
    try:
        parsed = starfile.read(path, always_dict=True, parse_as_string=names)
    except Exception as error:
        # starfile and pandas raise many kinds; whatever it was, this file cannot be parsed
        detail = " ".join(str(error).split())
        raise InputError(f"{path} cannot be parsed as STAR ({detail}): correct the file") from None
    finally:
        linecache.clearcache()  # starfile reads through it and would serve a stale file next time
    return {name: table for name, table in parsed.items() if isinstance(table, pd.DataFrame)}


def _table(path: Path, outline: _Outline, parsed: dict[str, pd.DataFrame]) -> pd.DataFrame:
    if not outline.loop:
        return pd.DataFrame({c: [v] for c, v in zip(outline.columns, outline.values, strict=True)})
    table = parsed.get(outline.name, pd.DataFrame(columns=outline.columns))
    if len(table) != outline.rows or list(table.columns) != outline.columns:
        raise InputError(
            f"{path} block data_{outline.name} has {outline.rows} rows but only {len(table)} can "
            "be parsed: look for quotes or # inside values"
        )
    if not outline.rows:
        return pd.DataFrame({column: pd.Series(dtype="str") for column in outline.columns})
    table = table.fillna("nan").astype("str").reset_index(drop=True)
    if outline.special:
        rows = list(outline.special)
        values = list(zip(*outline.special.values(), strict=True))
        for column, texts in zip(outline.columns, values, strict=True):
            table[column] = table[column].where(
                ~table.index.isin(rows), pd.Series(texts, index=rows)
            )
    return table


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
