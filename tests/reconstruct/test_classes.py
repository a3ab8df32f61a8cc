"""Classes are held against their own particles: true ones stand, shuffled ones do not."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.records import check_record
from tomopipe.cli.main import main
from tomopipe.config.reconstruct import ClassesSettings
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, write_parquet
from tomopipe.io.mrc import read_volume, write_volume
from tomopipe.physics.fsc import fsc
from tomopipe.physics.project import lowpass
from tomopipe.reconstruct.class_figures import Class, Volumes, class_figures
from tomopipe.reconstruct.classes import validate_classes
from tomopipe.reconstruct.mask import automatic_mask
from tomopipe.reconstruct.resolution import half_map_curves
from tomopipe.reconstruct.verdict import ClassFigures, verdict
from tomopipe.simulate.particles import true_volume

STATES = ("whole", "no_lobe")


@pytest.fixture(scope="module")
def analysis(tiny, tmp_path_factory):
    """Clusters that are the true states (junk is cluster 2), and their true volumes."""
    folder = tmp_path_factory.mktemp("analysis")
    label = tiny.truth["state"].map({name: i for i, name in enumerate(STATES)}).fillna(2)
    table = pd.DataFrame({"uid": tiny.truth.index, "cluster": label.astype(int)})
    write_parquet(folder / "clusters.parquet", table)
    for i, state in enumerate(STATES):
        path = folder / "volumes" / f"cluster_{i:02d}.mrc"
        write_volume(path, true_volume(tiny.settings, state).numpy(), 13.0)
    return folder


def test_true_classes_are_supported(tiny, analysis, tmp_path):
    assert main(["classes", str(tiny.store_path), str(analysis), "--out", str(tmp_path / "c")]) == 0
    check_record("classes", tmp_path / "c", ClassesSettings())
    table = pd.read_csv(tmp_path / "c" / "classes.csv").set_index("cluster")
    assert table.loc[[0, 1], "supported"].all()
    assert (table.loc[[0, 1], "difference_cc"] > 0.5).all()
    assert not table.loc[2, "supported"]
    assert "fewer than 30 particles" in table.loc[2, "reason"]
    curves = pd.read_csv(tmp_path / "c" / "fsc.csv")
    assert {"cluster", "fsc_corrected", "fsc_model"} <= set(curves)
    for name in ("map", "half1", "half2"):
        assert read_volume(tmp_path / "c" / "cluster_01" / f"{name}.mrc")[0].shape == (24, 24, 24)
    assert read_json(tmp_path / "c" / "classes.json")["unsupported"] == [2]


def test_shuffled_classes_are_not(tiny, analysis, tmp_path):
    shutil.copytree(analysis, tmp_path / "shuffled")
    table = pd.read_parquet(analysis / "clusters.parquet")
    good = table["cluster"] < 2
    rng = np.random.default_rng(2)
    table.loc[good, "cluster"] = rng.permutation(table.loc[good, "cluster"].to_numpy())
    write_parquet(tmp_path / "shuffled" / "clusters.parquet", table)
    found = validate_classes(tiny.store_path, tmp_path / "shuffled", tmp_path / "c")
    assert found["unsupported"] == [0, 1, 2]
    assert "does not differ from the others" in found["classes"][0]["reason"]


@pytest.mark.parametrize("seed", range(3))
def test_classes_of_nothing_but_noise_are_not_supported(tmp_path, seed):
    """Whose model, fitted to the same noise, agrees with their maps perfectly well."""
    generator = torch.Generator().manual_seed(seed)
    found, whole = [], {}
    for label in range(2):
        first, second = (torch.randn(32, 32, 32, generator=generator) for _ in range(2))
        maps = {"half1": first, "half2": second, "map": (first + second) / 2}
        model = lowpass(maps["map"], 6.0)
        write_volume(tmp_path / f"cluster_{label:02d}.mrc", model.numpy(), 10.0)
        mask = automatic_mask(model, 10.0, 40.0)
        curves = half_map_curves(first, second, mask)
        found.append(Class(label, 200, maps["map"], mask, curves, fsc(maps["map"], model, mask)))
        whole = {name: whole.get(name, 0) + 0.5 * one for name, one in maps.items()}
    rows = class_figures(found, Volumes(tmp_path, 32), whole, 10.0, ClassesSettings())
    assert [row.supported for row in rows] == [False, False]
    assert all("as those of noise do" in row.reason for row in rows)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "its own particles show it"),
        ({"particles": 3}, "fewer than"),
        ({"resolution_0143_angstrom": None}, "one half-set"),
        ({"resolution_0143_angstrom": 170.0}, "as those of noise do"),
        ({"resolution_0143_angstrom": 60.0}, "as many particles of all classes"),
        ({"model_resolution_05_angstrom": 90.0}, "its map agrees with the model to 90 Å only"),
        ({"difference_cc": 0.05}, "does not differ from the others as the model says"),
        ({"difference_cc": None}, "its own particles show it"),
    ],
)
def test_each_objection_has_its_case(changed, words):
    row = ClassFigures(
        cluster=0,
        particles=200,
        resolution_0143_angstrom=30.0,
        resolution_05_angstrom=40.0,
        expected_0143_angstrom=28.0,
        model_resolution_05_angstrom=33.0,
        model_fsc_area=0.6,
        difference_cc=0.8,
    )
    found = verdict(replace(row, **changed), ClassesSettings(), 480.0)
    assert words in found.reason
    assert found.supported == (words == "its own particles show it")


def test_volumes_of_another_box_are_resized(tiny, analysis, tmp_path):
    from tomopipe.analysis.volumes import resize

    shutil.copytree(analysis, tmp_path / "a")
    for path in (tmp_path / "a" / "volumes").iterdir():
        small, pixel = resize(read_volume(path)[0], 13.0, 20)
        write_volume(path, small, pixel)
    found = validate_classes(tiny.store_path, tmp_path / "a", tmp_path / "c")
    assert found["classes"][0]["supported"]


def test_a_class_of_one_half_set_has_no_resolution(tiny, analysis, tmp_path):
    shutil.copytree(analysis, tmp_path / "a")
    half = pd.Series(tiny.open().half, index=tiny.open().uids)
    table = pd.read_parquet(analysis / "clusters.parquet")
    table["cluster"] = (half.loc[table["uid"]].to_numpy() == 2).astype(int)
    write_parquet(tmp_path / "a" / "clusters.parquet", table)
    found = validate_classes(
        tiny.store_path, tmp_path / "a", tmp_path / "c", ClassesSettings(min_particles=10)
    )
    assert found["classes"][0]["resolution_0143_angstrom"] is None
    assert "one half-set" in found["classes"][0]["reason"]


def test_a_table_without_clusters_is_one_sentence(tiny, tmp_path):
    write_parquet(tmp_path / "a" / "clusters.parquet", pd.DataFrame({"uid": ["a"]}))
    with pytest.raises(StateError, match="run analyze again"):
        validate_classes(tiny.store_path, tmp_path / "a", tmp_path / "c")
