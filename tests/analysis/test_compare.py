from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tomopipe.analysis.compare import compare_maps, correlation_matrix, fsc_table, mask_of
from tomopipe.analysis.volumes import resize
from tomopipe.cli.main import main
from tomopipe.errors import InputError
from tomopipe.io.mrc import write_volume


def ball(n=24, radius=5.0, centre=0.0, seed=None):
    grid = np.indices((n, n, n)) - n // 2 - centre
    volume = (np.sqrt((grid**2).sum(axis=0)) < radius).astype(np.float32)
    if seed is not None:
        volume += 0.3 * np.random.default_rng(seed).normal(size=volume.shape).astype(np.float32)
    return volume


def test_correlation_matrix_is_pearson_inside_a_mask():
    maps = np.stack([ball(seed=i, radius=4 + i) for i in range(3)])
    inside = ball(radius=8) > 0
    expected = np.corrcoef([m[inside] for m in maps])
    assert correlation_matrix(maps, inside.astype(float)) == pytest.approx(expected, abs=1e-6)


def test_correlation_ignores_scale_and_offset_and_knows_sign():
    a = ball(seed=1)
    matrix = correlation_matrix(np.stack([a, 3 * a + 7, -a]))
    assert matrix[0] == pytest.approx([1, 1, -1], abs=1e-6)


def test_correlation_of_an_empty_map_is_zero():
    assert correlation_matrix(np.stack([ball(), np.zeros((24, 24, 24))]))[0, 1] == 0


def test_fsc_table_has_shells_from_one_to_below_nyquist():
    a = ball(seed=1)
    table = fsc_table(a, a, None, 5.0)
    assert table["shell"].tolist() == list(range(1, 12))
    assert table["fsc"].to_numpy() == pytest.approx(1.0)
    assert table["resolution_angstrom"].iloc[0] == pytest.approx(24 * 5.0)


def test_masked_fsc_leaves_noise_outside_out():
    common = ball()
    a, b = (common + 0.5 * np.random.default_rng(i).normal(size=common.shape) for i in (1, 2))
    table = fsc_table(a, b, mask_of(common), 5.0)
    assert table["fsc_masked"].iloc[1:5].mean() > table["fsc"].iloc[1:5].mean() + 0.1


def test_maps_of_unlike_box_pixel_size_or_shape_are_refused(tmp_path):
    a, b = tmp_path / "a.mrc", tmp_path / "b.mrc"
    write_volume(a, ball(), 5.0)
    write_volume(b, ball(20), 5.0)
    with pytest.raises(InputError, match=r"b.mrc has box 20, .*a.mrc has 24"):
        compare_maps(a, b)
    write_volume(b, ball(), 4.0)
    with pytest.raises(InputError, match=r"b.mrc has 4 Å per voxel"):
        compare_maps(a, b)
    write_volume(b, np.zeros((4, 24, 24), np.float32), 5.0)
    with pytest.raises(InputError, match="give a cube"):
        compare_maps(a, b)
    write_volume(b, ball(seed=3), 5.0)
    table, cc = compare_maps(a, b)
    assert 0.6 < cc < 1
    assert len(table) == 11


def test_cc_on_the_command_line_is_pearson_inside_the_mask(tmp_path, capsys):
    a, b, mask = (tmp_path / f"{name}.mrc" for name in ("a", "b", "mask"))
    maps, inside = [ball(seed=1), ball(seed=2, radius=6)], ball(radius=8) > 0
    for path, volume in zip((a, b, mask), (*maps, inside), strict=True):
        write_volume(path, volume, 5.0)
    for words, voxels in ((["--mask", str(mask)], inside), (["--mask", "none"], ...)):
        assert main(["compare", "cc", str(a), str(b), *words]) == 0
        expected = np.corrcoef([volume[voxels].ravel() for volume in maps])[0, 1]
        assert float(capsys.readouterr().out) == pytest.approx(expected, abs=6e-5)


def test_fsc_on_the_command_line_is_read_where_it_falls(tmp_path, capsys):
    """Of a map and itself with all beyond shell 6 turned round: the FSC goes from 1 to -1."""
    a, b = tmp_path / "a.mrc", tmp_path / "b.mrc"
    volume = ball(seed=1)
    k = np.fft.fftfreq(24, 1 / 24)
    far = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2) > 6.5
    turned = np.fft.ifftn(np.fft.fftn(volume) * np.where(far, -1, 1)).real
    write_volume(a, volume, 5.0)
    write_volume(b, turned, 5.0)
    words = ["compare", "fsc", str(a), str(b), "--mask", "none"]
    assert main([*words, "--out", str(tmp_path / "fsc.csv")]) == 0
    read = {fsc: 24 * 5.0 / (6 + (1 - fsc) / 2) for fsc in (0.5, 0.143)}
    expected = [f"FSC {fsc:g} at {angstrom:.2f} Å" for fsc, angstrom in read.items()]
    assert capsys.readouterr().out.splitlines() == expected
    table = pd.read_csv(tmp_path / "fsc.csv")
    assert table["fsc"].to_numpy() == pytest.approx([1] * 6 + [-1] * 5, abs=1e-3)
    assert main(words) == 0  # without a file the table is printed
    assert len(capsys.readouterr().out.splitlines()) == 1 + 11 + 2


def test_resized_maps_keep_size_and_values():
    a = ball(32, radius=8)
    smooth, pixel = resize(a, 5.0, 16)
    assert pixel == 10.0
    assert smooth.mean() == pytest.approx(a.mean(), rel=1e-4)
    assert smooth[8, 8, 8] == pytest.approx(1.0, abs=0.15)
    assert resize(a, 5.0, None)[0] is a
