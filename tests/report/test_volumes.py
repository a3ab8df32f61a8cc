"""What the viewer gets is the map that lies on disk."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from matplotlib import image

from tomopipe.io.mrc import write_volume
from tomopipe.report.volumes import Map, encode, png, slices, surface_level


def _ball(box: int, radius: float, centre: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.arange(box) - box // 2] * 3, indexing="ij")
    r = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
    return (1 / (1 + np.exp((r - radius) / 0.8))).astype(np.float32)


def _decode(entry: dict) -> np.ndarray:
    raw = np.frombuffer(base64.b64decode(entry["data"]), np.uint8).reshape(entry["shape"])
    return entry["low"] + raw * (entry["high"] - entry["low"]) / 255


def test_encoded_map_is_the_map_cropped_about_its_centre(tmp_path):
    volume = _ball(40, 7, (2, -1, 3))
    write_volume(tmp_path / "a.mrc", volume, 5.0)
    entry = encode({"a": tmp_path / "a.mrc"})["a"]
    n = entry["shape"][0]
    assert n < 40
    cut = slice(20 - n // 2, 20 + n // 2)
    assert np.abs(_decode(entry) - volume[cut, cut, cut]).max() < 0.01
    assert entry["voxel"] == 5.0
    assert entry["level"] == pytest.approx(surface_level(volume))


def test_large_maps_shrink_without_moving_or_fading(tmp_path):
    volume = _ball(96, 20, (6, 0, -4))
    write_volume(tmp_path / "a.mrc", volume, 2.0)
    entry = encode({"a": tmp_path / "a.mrc"}, budget=32**3)["a"]
    small, n = _decode(entry), entry["shape"][0]
    assert n <= 32
    found = np.argwhere(small > 0.5).mean(axis=0) - n // 2
    assert np.abs(found * entry["voxel"] - np.array([-4, 0, 6]) * 2.0).max() < entry["voxel"]
    inside = (small > 0.5).sum() * entry["voxel"] ** 3
    assert inside == pytest.approx((volume > 0.5).sum() * 8.0, rel=0.05)


def test_all_maps_of_a_branch_share_a_crop_and_a_budget(tmp_path):
    paths = {}
    for name, radius in {"a": 4, "b": 12}.items():
        paths[name] = tmp_path / f"{name}.mrc"
        write_volume(paths[name], _ball(48, radius), 3.0)
    encoded = encode(paths, budget=2 * 20**3)
    assert encoded["a"]["shape"] == encoded["b"]["shape"]
    assert sum(len(base64.b64decode(e["data"])) for e in encoded.values()) <= 2 * 20**3


def test_flat_and_negative_maps_do_not_break(tmp_path):
    for value in (0.0, -1.0):
        write_volume(tmp_path / "a.mrc", np.full((16,) * 3, value, np.float32), 3.0)
        assert encode({"a": tmp_path / "a.mrc"})["a"]["shape"]
        assert len(slices(Map.read(tmp_path / "a.mrc"))) == 3


def test_png_is_the_image():
    rows = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    data = base64.b64decode(png(rows, 0, 1).split(",")[1])
    assert np.abs(image.imread(io.BytesIO(data)) - rows).max() < 0.003
