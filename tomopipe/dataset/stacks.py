"""Where the image stacks of a STAR file lie, and whether their headers can be believed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mrcfile

from tomopipe.errors import InputError
from tomopipe.io.mrc import UNREADABLE

_PARENTS = 8


@dataclass(frozen=True)
class StackHeader:
    """What the header of a stack says, checked against the size of the file."""

    path: Path
    sections: int
    ny: int
    nx: int
    pixel_size: float = 0.0  # Å; 0 where the header has none


@dataclass
class StackFinder:
    """Finds stacks by the names that a STAR file uses; every stack is opened once.

    Names are tried as they stand, then relative to `data_dir`, to the STAR file's folder, to the
    folders above it (RELION's paths start at the project folder) and to the working directory,
    then by file name alone in `data_dir` and beside the STAR file.
    """

    star: Path
    data_dir: Path | None = None
    _found: dict[str, StackHeader] = field(default_factory=dict)
    _folders: dict[Path, list[Path]] = field(default_factory=dict)

    def header(self, name: str, where: str) -> StackHeader:
        """Header of the stack called `name`; `where` says which row asks for it, for messages.

        Raises
        ------
        InputError
            If it is not found (with the places tried), unreadable, truncated, or not square.
        """
        if name not in self._found:
            self._found[name] = read_header(self._resolve(name, where), where)
        return self._found[name]

    def file(self, name: str, where: str) -> Path:
        """Path of any file that a STAR file names, found in the same way."""
        return self._resolve(name, where)

    def _resolve(self, name: str, where: str) -> Path:
        relative = Path(name)
        folder = relative.parent
        if folder not in self._folders:
            # asked once, not for each of very many stacks: most places have no such folder
            self._folders[folder] = [place for place in self._places(folder) if place.is_dir()]
        for place in self._folders[folder]:
            if (path := place / relative.name).is_file():
                return path.resolve()
        tried = dict.fromkeys(str(place / relative.name) for place in self._places(folder))
        raise InputError(
            f"{where} names {name}, which does not exist; tried {', '.join(tried)}: "
            "set data_dir to the folder that holds the images"
        )

    def _places(self, folder: Path) -> Iterator[Path]:
        """Where the files of a STAR file's `folder` may lie, in the order in which they count."""
        home = self.star.resolve().parent
        given = [] if self.data_dir is None else [self.data_dir]
        for root in [*given, home, *list(home.parents)[:_PARENTS], Path.cwd()]:
            yield root / folder
        yield from [*given, home]


def read_header(path: Path, where: str, *, square: bool = True) -> StackHeader:
    """Header of an MRC stack, without reading its images; `square` refuses other images.

    Raises
    ------
    InputError
        If the file is not MRC, is shorter than its header says, or its images are not square.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            with mrcfile.open(path, permissive=True, header_only=True) as mrc:
                header = mrc.header
                nx, ny, nz = int(header.nx), int(header.ny), int(header.nz)
                item = mrcfile.utils.dtype_from_mode(int(header.mode)).itemsize
                pixel = float(header.cella.x) / max(int(header.mx), 1)
                needed = 1024 + int(header.nsymbt) + nx * ny * nz * item
    except UNREADABLE as error:
        detail = " ".join(str(error).split())
        raise InputError(
            f"{path}, named by {where}, is not a readable MRC stack ({detail}): extract it again"
        ) from None
    if nx <= 0 or ny <= 0 or nz <= 0 or (square and ny != nx):
        raise InputError(
            f"{path}, named by {where}, holds {nz} images of {nx} x {ny} pixels: "
            f"a stack of {'square ' * square}images is needed"
        )
    if path.suffix not in {".gz", ".bz2"} and path.stat().st_size < needed:
        raise InputError(
            f"{path}, named by {where}, is truncated: its header promises {needed} bytes but the "
            f"file has {path.stat().st_size}; copy or extract it again"
        )
    return StackHeader(path, nz, ny, nx, pixel)
