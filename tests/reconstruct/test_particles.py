"""The verb `reconstruct`: files, choice of particles, and sentences where something is wrong."""

import numpy as np
import pandas as pd
import pytest
import torch

from tomopipe.cli.main import main
from tomopipe.config.reconstruct import ReconstructSettings
from tomopipe.io.atomic import read_json, write_parquet
from tomopipe.io.mrc import read_volume, write_volume
from tomopipe.physics.fsc import correlation
from tomopipe.reconstruct.particles import reconstruct
from tomopipe.simulate.particles import true_volume

MAPS = ("map", "half1", "half2", "mask", "sharpened", "local_resolution")


def _clusters(tiny, path):
    states = tiny.truth["state"].astype("category")
    table = pd.DataFrame({"uid": tiny.truth.index, "cluster": states.cat.codes.astype(int)})
    write_parquet(path, table)
    return list(states.cat.categories)


def test_a_clusters_map_is_that_of_its_state(tiny, tmp_path, capsys):
    names = _clusters(tiny, tmp_path / "clusters.parquet")
    label = str(names.index("no_lobe"))
    words = ["reconstruct", str(tiny.store_path), "--out", str(tmp_path / "out")]
    words += ["--clusters", str(tmp_path / "clusters.parquet"), "--cluster", label]
    assert main(words) == 0
    assert "Å at FSC 0.143" in capsys.readouterr().out
    maps = {
        name: torch.from_numpy(read_volume(tmp_path / "out" / f"{name}.mrc")[0]) for name in MAPS
    }
    own, other = (true_volume(tiny.settings, s) for s in ("no_lobe", "whole"))
    for name in ("map", "sharpened"):
        assert correlation(maps[name], own) > 0.85
        assert correlation(maps[name], own) > correlation(maps[name], other)
    assert 0.02 < maps["mask"].mean() < 0.6
    mean = (maps["half1"] + maps["half2"]) / 2
    assert correlation(mean, own) > 0.7
    record = read_json(tmp_path / "out" / "reconstruct.json")
    assert record["n_particles"] == (tiny.truth["state"] == "no_lobe").sum()
    table = pd.read_csv(tmp_path / "out" / "fsc.csv")
    assert {"fsc", "fsc_masked", "fsc_randomised", "fsc_corrected"} <= set(table)
    assert 26 <= record["resolution_0143_angstrom"] < 80


def test_particles_can_be_listed(tiny, tmp_path):
    store = tiny.open()
    chosen = list(store.uids[::3])
    (tmp_path / "uids.txt").write_text("\n".join(chosen))
    words = ["reconstruct", str(tiny.store_path), "--out", str(tmp_path / "out")]
    words += ["--uids", str(tmp_path / "uids.txt"), "--no-local-resolution", "--symmetry", "C2"]
    assert main(words) == 0
    assert read_json(tmp_path / "out" / "reconstruct.json")["n_particles"] == len(chosen)
    assert not (tmp_path / "out" / "local_resolution.mrc").exists()
    volume = read_volume(tmp_path / "out" / "map.mrc")[0][1:, 1:, 1:]
    assert np.allclose(volume, np.rot90(volume, 2, (1, 2)), atol=1e-3 * np.abs(volume).max())


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--cluster", "1"], "give --clusters TABLE and --cluster N together"),
        (["--clusters", "TABLE", "--cluster", "77"], "has no cluster 77; it has 0, 1"),
        (["--mask", "MASK"], "give a mask of its box"),
        (["--symmetry", "C0"], "symmetry"),
    ],
)
def test_mistakes_are_one_sentence(tiny, tmp_path, capsys, flags, sentence):
    _clusters(tiny, tmp_path / "TABLE")
    write_volume(tmp_path / "MASK", np.ones((8, 8, 8), np.float32), 13.0)
    flags = [str(tmp_path / f) if f in ("TABLE", "MASK") else f for f in flags]
    words = ["reconstruct", str(tiny.store_path), "--out", str(tmp_path / "out"), *flags]
    assert main(words) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_threads_change_nothing(tiny, tmp_path, monkeypatch):
    settings = ReconstructSettings(local_resolution=False)
    from tomopipe.reconstruct import backproject

    monkeypatch.setattr(backproject, "_CHUNK_COEFFICIENTS", 20_000)
    monkeypatch.setattr(backproject.chunks, "__defaults__", (20_000,))
    reconstruct(tiny.store_path, tmp_path / "one", settings)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    reconstruct(tiny.store_path, tmp_path / "three", settings)
    one, three = (read_volume(tmp_path / d / "map.mrc")[0] for d in ("one", "three"))
    assert np.allclose(one, three, atol=1e-4 * np.abs(one).max())
