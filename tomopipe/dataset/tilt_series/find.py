"""Where the tilt series of a folder lie, by name, and which text files are theirs.

Plans look for them too (`tomopipe.lineage.watched`): nothing that is slow is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tomopipe.errors import InputError

_STEPS = ("_fid", "_nonfid", "_tracked", "_local", "local")  # of etomo, not alignments to read
# what stands behind the name of a tilt series: alignments, then doses, then defoci
_ENDINGS = (
    *(".aln", ".st.aln", ".xf", ".tlt", ".rawtlt", ".xtilt", ".tomostar", ".xml"),
    *(".mdoc", ".st.mdoc", ".mrc.mdoc", ".csv"),
    *(".defocus", "_CTF.txt", "_ctf.txt", ".txt"),
)


def find_aretomo(path: Path) -> dict[str, Path]:
    """The .aln file of each tilt series in a folder, in one of its folders, or one file.

    Raises
    ------
    InputError
        If two files are of one tilt series.
    """
    if path.is_file():
        return {path.stem.removesuffix(".st"): path.with_suffix(".aln")}
    files = sorted(path.glob("*.aln")) or sorted(path.glob("*/*.aln"))
    return _one_each((file.stem.removesuffix(".st"), file) for file in files)  # of AreTomo2


def find_warp(path: Path) -> dict[str, Path]:
    """The .tomostar of each tilt series at `path` or in a folder of it, else its XML.

    Raises
    ------
    InputError
        If two files are of one tilt series.
    """
    if path.is_file():
        return {path.stem: path}
    for pattern in ("*.tomostar", "*/*.tomostar"):
        if files := sorted(path.glob(pattern)):
            return _one_each((file.stem, file) for file in files)
    files = sorted(path.glob("*.xml")) or sorted(path.glob("*/*.xml"))
    return _one_each((file.stem, file) for file in files if is_tilt_series(file))


def is_tilt_series(path: Path) -> bool:
    """Whether an XML file is of a tilt series, by its beginning."""
    with path.open("rb") as stream:
        return b"<TiltSeries" in stream.read(4096).replace(b"\0", b"")  # UTF-16 too


def find_imod(path: Path) -> dict[str, Path]:
    """Folder of each tilt series at `path`: a folder of .xf and .tlt, one of such, or one file.

    A name needs both. Where a folder has no such pair one of them counts, unless another folder
    has both: the reader says what is missing.

    Raises
    ------
    InputError
        If two folders have both of one tilt series.
    """
    if path.is_file():
        return {path.stem: path.parent}
    pairs: list[tuple[str, Path]] = []
    halves: list[tuple[str, Path]] = []
    for folder in (path, *sorted(child for child in path.iterdir() if child.is_dir())):
        transforms, tilts = (
            {f.stem for f in folder.glob(f"*{suffix}") if not f.stem.endswith(_STEPS)}
            for suffix in (".xf", ".tlt")
        )
        both = transforms & tilts
        pairs += [(name, folder / f"{name}.xf") for name in sorted(both)]
        halves += [] if both else [(name, folder) for name in sorted(transforms | tilts)]
    found = {name: file.parent for name, file in _one_each(pairs).items()}
    for name, folder in halves:
        found.setdefault(name, folder)
    return found


def _one_each(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Files by the name of their tilt series."""
    found: dict[str, Path] = {}
    for name, file in files:
        if found.setdefault(name, file) != file:
            raise InputError(
                f"{found[name]} and {file} are both of a tilt series {name}: give the folder of "
                "the one that counts, or move the other away"
            )
    return found


def text_names(folder: Path) -> set[str]:
    """Names that text files have which readers of the tilt series in a folder look for.

    Those that RELION-5's tomograms.star names are not among them. Empty without tilt series.

    Raises
    ------
    InputError
        If two files are of one tilt series.
    """
    series = {*find_aretomo(folder), *find_warp(folder), *find_imod(folder)}
    coms = {f"tilt{axis}.com" for name in series for axis in ("", name[-1:])}
    return {name + ending for name in series for ending in _ENDINGS} | coms
