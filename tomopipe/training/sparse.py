"""Sparse matrices voxel x particle of three values each, and how they lie on disk.

One order of the entries serves both directions: the entries of a voxel stand together, so that a
product over particles reads them once, and a product over voxels reads its dense side once and adds
into rows of few particles, which stay in the processor's cache.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy import sparse
from torch import Tensor

from tomopipe.dataset.memory import free_memory
from tomopipe.io.space import check_space

_HALF_LIMIT = 3e4  # below the largest float16


@dataclass(frozen=True)
class Entries:
    """Three sparse matrices `(n, P)` with the same C entries, sorted by row (voxel).

    Attributes
    ----------
    start
        `(n + 1,)` int32, where each row begins.
    column
        `(C,)` int32, particle of each entry; int16 when packed.
    values
        `(3, C)` float32; float16 when packed.
    unit
        `(3, 1)` float32 factors of the values; 1 unless packed.
    width
        Number of columns P.
    """

    start: Tensor
    column: Tensor
    values: Tensor
    unit: Tensor
    width: int

    @classmethod
    def of(cls, row: Tensor, column: Tensor, values: Tensor, shape: tuple[int, int]) -> Entries:
        """Entries `(C,)` in any order with `(C, 3)` values; those of one place are added up."""
        n, width = shape
        key, order = torch.sort(row * width + column)
        first = torch.ones_like(key, dtype=torch.bool)
        first[1:] = key[1:] != key[:-1]
        place = first.cumsum(0) - 1
        key = key[first]
        summed = values.new_zeros(3, len(key))
        for total, part in zip(summed, values.unbind(1), strict=True):
            total.index_add_(0, place, part[order])
        start = torch.zeros(n + 1, dtype=torch.int32, device=row.device)
        rows = torch.div(key, width, rounding_mode="floor")
        start[1:] = torch.bincount(rows, minlength=n).cumsum(0)
        unit = torch.ones(3, 1, device=row.device)
        return cls(start, (key % width).int(), summed, unit, width)

    @classmethod
    def nothing(cls) -> Entries:
        """No entries of nothing: what is left in memory of entries on disk."""
        empty = torch.empty(0, dtype=torch.int32)
        return cls(empty, empty, torch.empty(3, 0), torch.ones(3, 1), 0)

    def packed(self) -> Entries:
        """The same in half the bytes: float16 values, relative error 2^-11, and int16 columns."""
        unit = (self.values.abs().amax(1, keepdim=True) / _HALF_LIMIT).clamp(min=1e-30)
        column = self.column if self.width > torch.iinfo(torch.int16).max else self.column.short()
        return Entries(self.start, column, (self.values / unit).half(), unit, self.width)

    def opened(self, device: torch.device | str) -> Entries:
        """The same, ready for products on `device`."""
        unit = self.unit.to(device)
        values = self.values.to(device)
        if values.dtype == torch.float16:
            values, unit = values.float() * unit, torch.ones_like(unit)
        return Entries(
            self.start.to(device), self.column.to(device).int(), values, unit, self.width
        )

    def matrix(self, which: int) -> Tensor:
        """Matrix `which` (0 … 2) as a sparse CSR tensor `(n, P)`, without a copy."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(
                self.start,
                self.column,
                self.values[which],
                size=(len(self.start) - 1, self.width),
                check_invariants=False,
            )

    def transposed(self, which: int) -> Transposed:
        """Matrix `which` the other way, `(P, n)`, for products with dense matrices."""
        return Transposed(self.matrix(which))


class Transposed:
    """The transpose `(P, n)` of a sparse CSR matrix `(n, P)`, as the left side of a product."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix

    def __matmul__(self, dense: Tensor) -> Tensor:
        """Product with a dense `(n, k)` matrix: `(P, k)`."""
        matrix = self._matrix
        if matrix.device.type != "cpu":
            return matrix.t() @ dense
        # torch would sort the entries anew for every product; scipy adds them up as they lie
        arrays = (matrix.values(), matrix.col_indices(), matrix.crow_indices())
        shape = (matrix.shape[1], matrix.shape[0])
        there = sparse.csc_matrix(tuple(a.numpy() for a in arrays), shape=shape)
        return torch.from_numpy(there @ dense.contiguous().numpy())


class Spill:
    """Entries on disk, read back one after the other, the next one while the last is worked on.

    The file has no name: its space is free again when the process ends, however it ends.

    Raises
    ------
    StateError
        If `folder` has less than `expected_bytes` free.
    """

    def __init__(self, folder: Path, expected_bytes: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        remedy = "set `scratch` to a folder with more space, or raise `memory_gb`"
        check_space(folder, expected_bytes, "statistics need", remedy)
        # closed by the garbage collector, at the end at the latest
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self._parts: list[list[tuple[torch.dtype, torch.Size, int]]] = []
        self._widths: list[int] = []
        self._end = 0
        self._reader = ThreadPoolExecutor(1, "spill")
        self._coming: tuple[int, Future[Entries]] | None = None

    def append(self, entries: Entries) -> int:
        """Write `entries` at the end; their number."""
        layout = []
        for tensor in _tensors(entries):
            layout.append((tensor.dtype, tensor.shape, self._end))
            rest = _bytes(tensor.cpu().contiguous())
            while rest:  # one write gives at most 2 GB
                written = os.pwrite(self._file.fileno(), rest, self._end)
                rest, self._end = rest[written:], self._end + written
        self._parts.append(layout)
        self._widths.append(entries.width)
        return len(self._parts) - 1

    def read(self, number: int) -> Entries:
        """Entries `number`, while the following ones are read in the background."""
        if self._coming is not None and self._coming[0] == number:
            entries = self._coming[1].result()
        else:
            entries = self._load(number)
        following = (number + 1) % len(self._parts)
        self._coming = (following, self._reader.submit(self._load, following))
        return entries

    def _load(self, number: int) -> Entries:
        start, column, values, unit = (self._tensor(*part) for part in self._parts[number])
        return Entries(start, column, values, unit, self._widths[number])

    def _tensor(self, dtype: torch.dtype, shape: torch.Size, at: int) -> Tensor:
        tensor = torch.empty(shape, dtype=dtype)
        rest = _bytes(tensor)
        while rest:
            got = os.preadv(self._file.fileno(), [rest], at)
            rest, at = rest[got:], at + got
        return tensor


def _bytes(tensor: Tensor) -> memoryview:
    """The memory of a tensor."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _tensors(entries: Entries) -> Sequence[Tensor]:
    return entries.start, entries.column, entries.values, entries.unit


def memory_budget(memory_gb: float | None, device: torch.device | str) -> float:
    """Bytes that statistics may take: as given, else 4 GB, or .6 of what is free on a GPU."""
    if memory_gb is not None:
        return memory_gb * 1e9
    device = torch.device(device)
    return 0.6 * free_memory(device) if device.type == "cuda" else 4e9
