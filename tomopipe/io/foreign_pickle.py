"""cryoDRGN's pose and CTF pickles, read without running anything that stands in them.

A pickle may name any function of any library; here only the few names that a numpy array needs are
known. tomopipe itself writes no pickle.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomopipe.errors import InputError

Floats = NDArray[np.float64]

_ALLOWED = {
    "numpy": ("ndarray", "dtype"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.numeric": ("_frombuffer",),
    "numpy._core.numeric": ("_frombuffer",),
    "_codecs": ("encode",),
}


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows numpy arrays and Python's plain containers, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Give the few allowed names."""
        if name not in _ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def read_arrays(path: Path | str) -> list[NDArray[Any]]:
    """Arrays of a pickle that holds an array, or a list or tuple of arrays.

    Raises
    ------
    InputError
        If the file is missing, damaged, or holds anything but numpy arrays.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            content = _ArrayUnpickler(stream).load()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: check the path") from None
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError) as error:
        detail = " ".join(str(error).split()) or "it ends too early"
        raise InputError(
            f"{path} is not a pickle of numpy arrays ({detail}): give cryoDRGN's pose or CTF pickle"
        ) from None
    arrays = list(content) if isinstance(content, list | tuple) else [content]
    if not all(isinstance(array, np.ndarray) and array.dtype != object for array in arrays):
        raise InputError(f"{path} holds more than numpy arrays: give cryoDRGN's pose or CTF pickle")
    return arrays


def read_poses(path: Path | str) -> tuple[Floats, Floats]:
    """Views `(n, 3, 3)` and shifts `(n, 2)` as a fraction of the box, of a cryoDRGN pose pickle.

    Raises
    ------
    InputError
        If the arrays are not rotations and shifts.
    """
    arrays = read_arrays(path)
    fits = len(arrays) == 2 and arrays[0].shape[1:] == (3, 3)
    if not fits or arrays[1].shape != (len(arrays[0]), 2):
        raise InputError(
            f"{path} is not a pose pickle: (n, 3, 3) rotations and (n, 2) shifts needed"
        )
    return arrays[0].astype(np.float64), arrays[1].astype(np.float64)


def read_ctf(path: Path | str) -> Floats:
    """CTF table `(n, 9)` of a cryoDRGN CTF pickle.

    Columns: box, pixel size (Å), defocus U, V (Å), angle (°), voltage (kV), Cs (mm), amplitude
    contrast, phase shift (°).

    Raises
    ------
    InputError
        If the array has not 9 columns.
    """
    arrays = read_arrays(path)
    if len(arrays) != 1 or arrays[0].ndim != 2 or arrays[0].shape[1] != 9:
        raise InputError(f"{path} is not a CTF pickle: a table with 9 columns is needed")
    return arrays[0].astype(np.float64)
