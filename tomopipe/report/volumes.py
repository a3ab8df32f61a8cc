"""Maps for the page: grey slices as PNG, and small cropped byte arrays that the viewer contours."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomopipe.io.mrc import read_volume

Floats = NDArray[np.float32]

# All maps of one branch together; base64 adds a third.
BRANCH_BUDGET_BYTES = 2_000_000
LARGEST_EDGE = 64
LARGEST_SLICE = 160
_MARGIN = 3


@dataclass(frozen=True)
class Map:
    """A map `[z, y, x]`, its pixel size in Å and the level at which it is drawn at first."""

    data: Floats
    pixel_size: float
    level: float

    @classmethod
    def read(cls, path: Path) -> Map:
        """Read an MRC file; the level is half the 99th percentile (the mask's, SCIENCE.md)."""
        data, pixel_size = read_volume(path)
        return cls(data, pixel_size, surface_level(data))


def surface_level(data: Floats) -> float:
    """Half the 99th percentile, or half the maximum where that percentile is not positive."""
    level: float = 0.5 * float(np.percentile(data, 99))
    return level if level > 0 else 0.5 * float(data.max())


def slices(volume: Map) -> list[tuple[str, str]]:
    """Central slices `(name, data URI)`: xy, xz and yz, at one grey scale, y and z upwards."""
    z, y, x = (n // 2 for n in volume.data.shape)
    cuts = {"xy": volume.data[z], "xz": volume.data[:, y], "yz": volume.data[:, :, x]}
    low, high = (float(v) for v in np.percentile(volume.data, [1, 99.9]))
    small = {name: _resample(cut, LARGEST_SLICE) for name, cut in cuts.items()}
    return [(name, png(cut[::-1], low, high)) for name, cut in small.items()]


def png(image: Floats, low: float, high: float) -> str:
    """Data URI of an 8-bit grey PNG of `image` (rows, columns), black at `low`, white at `high`."""
    grey = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    rows = np.round(np.nan_to_num(grey) * 255).astype(np.uint8)
    height, width = rows.shape
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    blocks = [(b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")]
    body = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in blocks)
    return "data:image/png;base64," + base64.b64encode(body).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode(
    paths: Mapping[str, Path], budget: int = BRANCH_BUDGET_BYTES
) -> dict[str, dict[str, object]]:
    """Maps of one branch for the viewer, in one common crop so that they overlay.

    Maps are read one at a time, since a branch of large boxes does not fit in memory.

    Parameters
    ----------
    paths
        MRC files by name.
    budget
        Bytes for all of them together; large boxes are cropped in Fourier space to fit.

    Returns
    -------
    dict
        By name: `shape` (z, y, x), `voxel` in Å, `low`, `high` and `level` in map units, and
        `data`, base64 of one byte a voxel between `low` and `high`.
    """
    if not paths:
        return {}
    edge = max(int(min(LARGEST_EDGE, (budget / len(paths)) ** (1 / 3))), 12)
    half = max(_half_width(Map.read(path)) for path in paths.values())
    return {name: _encode_one(Map.read(path), half, edge) for name, path in paths.items()}


def _half_width(volume: Map) -> float:
    """Half the crop in Å: the farthest voxel above half the level, and a margin."""
    inside = np.argwhere(volume.data > 0.5 * volume.level)
    if not len(inside):
        return float(0.5 * volume.data.shape[0] * volume.pixel_size)
    centre = np.array(volume.data.shape) // 2
    reach = int(np.abs(inside - centre).max()) + _MARGIN
    return float(reach * volume.pixel_size)


def _encode_one(volume: Map, half_angstrom: float, edge: int) -> dict[str, object]:
    cropped = _crop(volume.data, round(half_angstrom / volume.pixel_size))
    small = _resample(cropped, edge)
    pixel = volume.pixel_size * cropped.shape[0] / small.shape[0]
    # nothing is ever contoured far below zero, so the bytes are spent above
    low = max(float(small.min()), -volume.level)
    high = max(float(small.max()), low + 1e-12)
    scaled = np.round(np.clip((small - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return {
        "shape": list(small.shape),
        "voxel": pixel,
        "low": low,
        "high": high,
        "level": volume.level,
        "data": base64.b64encode(scaled.tobytes()).decode(),
    }


def _crop(data: Floats, half: int) -> Floats:
    """Centred cube of edge `2 half`, or the whole map where that is smaller."""
    cut = []
    for n in data.shape:
        take = min(half, n // 2)
        cut.append(slice(n // 2 - take, n // 2 + take))
    cropped: Floats = data[tuple(cut)]
    return cropped


def _resample(data: Floats, edge: int) -> Floats:
    """A square or cube with at most `edge` samples a side, by cropping its Fourier transform."""
    n = data.shape[0]
    edge = edge // 2 * 2
    if edge >= n or len(set(data.shape)) != 1:
        return data
    full = np.fft.fftshift(np.fft.fftn(data))
    start = n // 2 - edge // 2
    part = full[(slice(start, start + edge),) * data.ndim]
    small = np.fft.ifftn(np.fft.ifftshift(part)).real * (edge / n) ** data.ndim
    resampled: Floats = small.astype(np.float32)
    return resampled
