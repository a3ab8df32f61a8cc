"""Files are written whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tomopipe.config.yaml_text import load_yaml
from tomopipe.errors import StateError

_CHUNK = 1 << 20
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SEAL = "fingerprint"


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its name when the block ends without error.

    On an error the temporary file is removed and `path` stays as it was. An `OSError`, of a full
    disk for example, names `path`.
    """
    path = Path(path)
    with _names(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _sync(temporary)
            temporary.chmod(0o666 & ~_UMASK)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)


@contextmanager
def atomic_directory(path: Path | str, *, optional: Iterable[str] = ()) -> Iterator[Path]:
    """Give an empty directory beside `path` that becomes `path` when the block ends without error.

    If `path` exists, files and folders of the same names in it are replaced, those of `optional`
    names taken away where none was made anew, and others left. A link stays one: what it leads to
    is the directory.

    Raises
    ------
    StateError
        If `path` is a file.
    """
    path = Path(path)
    check_folder(path)
    with _names(path):
        path = path.resolve()  # a link may lead to another disk, onto which nothing can be renamed
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary.chmod(0o777 & ~_UMASK)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        _swap(temporary, path, optional)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync(path.parent)


@contextmanager
def _names(path: Path) -> Iterator[None]:
    """Errors of the system name the file that was to be written, not a temporary one or none."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM or error.errno == errno.EROFS:
            error.filename, error.filename2 = str(path), None
        raise


def check_folder(path: Path) -> None:
    """Raise `StateError` if `path`, a folder to write to, is a file: before any work is done."""
    if path.exists() and not path.is_dir():
        raise StateError(f"{path} is a file: give a folder to write to")


def _swap(new: Path, path: Path, optional: Iterable[str]) -> None:
    """Rename `new` to `path`; where a directory stands already, replace its entries one by one.

    Entries of `optional` names go, whether `new` brings others or not.

    What else lies there stays: results of other stages, or what a user keeps in the folder given.
    """
    if not path.exists():
        new.replace(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    # records go first and come last: what a kill leaves in between has none
    entries = sorted(new.iterdir(), key=lambda entry: (entry.suffix == ".json", entry.name))
    for name in [*(entry.name for entry in entries if entry.suffix == ".json"), *optional]:
        if (path / name).exists():
            (path / name).replace(old / name)
    for entry in entries:
        if (path / entry.name).exists():
            (path / entry.name).replace(old / entry.name)
        entry.replace(path / entry.name)
    shutil.rmtree(old, ignore_errors=True)


def remove_directory(path: Path) -> None:
    """Remove a directory at once: a kill in between leaves nothing of it under its name.

    What such a kill leaves under a hidden name goes with the next directory of this name.
    """
    away = path.with_name(f".{path.name}.removed")
    shutil.rmtree(away, ignore_errors=True)
    path.replace(away)
    shutil.rmtree(away, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


# it can only be read by setting it, for all threads: once, while there is one
_UMASK = _read_umask()


def _missing(path: Path | str) -> StateError:
    """Error for a result that is not there; says so when its folder is a file."""
    folder = Path(path).parent
    if folder.is_file():
        return StateError(f"{folder} is a file: give the folder that holds {Path(path).name}")
    return StateError(f"{path} is missing: run the stage that writes it first")


def write_text(path: Path | str, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON atomically; NaN and infinities become null because JSON has none."""
    write_text(path, json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises
    ------
    StateError
        If the file is missing or not valid JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StateError(
            f"{path} is not valid JSON ({error}): delete it and run its stage again"
        ) from None


def write_sealed_json(path: Path | str, value: dict[str, Any]) -> None:
    """Write a JSON object with its fingerprint in it, for `read_sealed_json` to check."""
    value = json.loads(json.dumps(_plain(value), allow_nan=False))
    write_json(path, {**value, _SEAL: fingerprint(value)})


def read_sealed_json(path: Path | str) -> dict[str, Any]:
    """Read a JSON object and check the fingerprint in it; without one it is taken as it is.

    Raises
    ------
    StateError
        If the file is missing, not valid, or not what was written.
    """
    found: dict[str, Any] = read_json(path)
    rest = {name: value for name, value in found.items() if name != _SEAL}
    if _SEAL in found and found[_SEAL] != fingerprint(rest):
        raise StateError(f"{path} was changed or damaged since it was written: run its stage again")
    return rest


def write_yaml(path: Path | str, value: Any) -> None:
    """Write YAML atomically, keys in the order given."""
    write_text(path, yaml.safe_dump(_plain(value), sort_keys=False, allow_unicode=True))


def read_yaml(path: Path | str) -> Any:
    """Read a YAML file with the safe loader.

    Raises
    ------
    StateError
        If the file is missing or not valid YAML.
    """
    try:
        return load_yaml(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())
        raise StateError(f"{path} is not valid YAML ({detail}): correct it") from None


def write_parquet(path: Path | str, table: pd.DataFrame) -> None:
    """Write a table as parquet, atomically, without its index, every page with a checksum."""
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False, write_page_checksum=True)


def read_parquet(path: Path | str, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a parquet table, all of it or some columns, and check the pages that are read.

    Raises
    ------
    StateError
        If the file is missing or damaged.
    """
    try:
        return pd.read_parquet(path, columns=columns, page_checksum_verification=True)
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except (OSError, ValueError, LookupError, TypeError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # of the system, not of the contents
        detail = " ".join(str(error).split())
        raise StateError(
            f"{path} cannot be read ({detail}): delete it and run its stage again"
        ) from None


def fingerprint(*parts: Any) -> str:
    """`sha256:` of files (given as Path: their bytes) and of plain values (as JSON), in order."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
        elif isinstance(part, np.ndarray) and part.dtype != object:
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(_plain(part), sort_keys=True).encode())
    return f"sha256:{digest.hexdigest()}"


def _plain(value: Any) -> Any:
    """`value` with numpy scalars, arrays, paths and non-finite floats made plain."""
    if isinstance(value, dict):
        return {
            str(_plain(k)) if not isinstance(k, int | str) else k: _plain(v)
            for k, v in value.items()
        }
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
