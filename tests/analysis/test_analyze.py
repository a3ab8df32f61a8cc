from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from tests.records import check_record
from tomopipe.analysis import cluster_maps
from tomopipe.analysis.analyze import analyze
from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.analysis.compare import correlation_matrix, fsc_table, mask_of, resolution
from tomopipe.analysis.explore import explore
from tomopipe.analysis.latent import Latents, read_latents
from tomopipe.analysis.volumes import decode
from tomopipe.config.analysis import AnalysisSettings
from tomopipe.errors import InputError, StateError
from tomopipe.io.atomic import read_json, read_parquet, write_json, write_parquet
from tomopipe.io.mrc import read_volume
from tomopipe.physics.fourier import fft3c, frequencies, ifft3c
from tomopipe.physics.fsc import fsc
from tomopipe.physics.project import lowpass
from tomopipe.simulate.phantom import complex_in_state

SETTINGS = AnalysisSettings(
    clusters=3, method="kmeans", umap=False, traversal=4, traversal_components=2
)


@pytest.fixture
def analysis(planted, planted_model, tmp_path):
    out = tmp_path / "analysis"
    analyze(planted.store, planted.model, out, SETTINGS)
    return out


def test_clusters_are_the_states_and_rows_are_the_store_s(planted, analysis):
    clusters = read_parquet(analysis / "clusters.parquet")
    assert list(clusters["uid"]) == list(planted.open().uids)
    truth = planted.truth["state"].loc[list(clusters["uid"])]
    assert adjusted_rand_score(truth, clusters["cluster"]) == 1
    assert adjusted_rand_score(truth, clusters["gmm"]) > 0.9
    assert clusters["cluster"].dtype == np.int32
    check_record("analysis", analysis, SETTINGS)
    summary = read_json(analysis / "analysis.json")
    assert summary["fingerprint"] == clusters_fingerprint(clusters)
    assert summary["counts"] == clusters["cluster"].value_counts().sort_index().tolist()
    chosen = clusters[clusters["representative"]].set_index("cluster")["uid"]
    assert summary["representatives"] == [chosen[c] for c in range(3)]


def test_cluster_volumes_are_the_states_with_pixel_size_and_sign(planted, analysis):
    clusters = read_parquet(analysis / "clusters.parquet").set_index("uid")["cluster"]
    for state, true in zip(("whole", "no_lobe"), planted.volumes, strict=False):
        label = clusters[planted.truth.index[planted.truth["state"] == state][0]]
        volume, pixel = read_volume(analysis / "volumes" / f"cluster_{label:02d}.mrc")
        assert pixel == pytest.approx(13.0)
        assert correlation_matrix(np.stack([volume, true]))[0, 1] > 0.99
        own, _ = read_volume(analysis / "volumes" / f"backprojection_{label:02d}.mrc")
        assert correlation_matrix(np.stack([own, true]))[0, 1] > 0.7
        fsc = pd.read_csv(analysis / "volumes" / f"fsc_{label:02d}.csv")
        assert fsc["fsc_masked"].iloc[1:3].min() > 0.8


def test_latents_table_and_traversals(planted, analysis):
    table = read_parquet(analysis / "latents.parquet")
    model = read_parquet(planted.model / "latents.parquet").set_index("uid")
    assert np.allclose(table["z0"], model["z0"].loc[list(table["uid"])])
    assert {"pc0", "pc1", "coordinate", "isolated", "error"} <= set(table.columns)
    assert "umap0" not in table
    for component in (1, 2):
        for i in range(4):
            assert (analysis / "volumes" / f"pc{component}_{i}.mrc").exists()
    assert not (analysis / "volumes" / "pc1_4.mrc").exists()


def test_a_second_run_gives_the_same_files(planted, planted_model, analysis, tmp_path):
    again = tmp_path / "again"
    analyze(planted.store, planted.model, again, SETTINGS)
    for name in ("latents.parquet", "clusters.parquet"):
        pd.testing.assert_frame_equal(read_parquet(analysis / name), read_parquet(again / name))


def test_findings_belong_to_uids_whatever_the_order_of_rows(planted):
    latents = read_latents(planted.model / "latents.parquet")
    turned = latents.take(np.random.default_rng(0).permutation(len(latents)))
    first, second = (explore(x, SETTINGS) for x in (latents, turned))
    assert list(first.latents.uids) == list(second.latents.uids)
    assert np.array_equal(first.chosen.labels, second.chosen.labels)
    pd.testing.assert_frame_equal(first.coordinates, second.coordinates)


def test_a_branch_of_some_particles(planted, planted_model, tmp_path):
    uids = list(planted.truth.index[~planted.truth["junk"]])[::-1]
    analyze(planted.store, planted.model, tmp_path / "a", SETTINGS, uids)
    assert set(read_parquet(tmp_path / "a" / "clusters.parquet")["uid"]) == set(uids)


def test_particles_without_latents_are_refused(planted, planted_model, tmp_path):
    with pytest.raises(StateError, match="lacks 1 of 2 particles, the first is 'nowhere/1'"):
        analyze(
            planted.store,
            planted.model,
            tmp_path / "a",
            SETTINGS,
            ["nowhere/1", planted.truth.index[0]],
        )
    assert not (tmp_path / "a").exists()


def test_the_resolution_of_a_cluster_is_not_that_of_its_mask(planted, monkeypatch, tmp_path):
    """Halves that share nothing beyond 62 Å, Wiener-filtered as clusters' maps are, in a mask."""
    box, pixel = 32, 10.0
    noise = [torch.randn((box,) * 3, generator=torch.Generator().manual_seed(k)) for k in (1, 2)]
    blob = lowpass(
        torch.from_numpy(complex_in_state("whole").volume(box, pixel).numpy()), box * pixel / 62
    )
    halves = [blob / blob.std() + n for n in noise]
    curve = fsc(*halves)
    gain = torch.cat([curve[:1], curve.clamp(0.01), curve[-1:].clamp(0.01)]).float()
    shell = frequencies(box, 3).round().long().clamp(max=box // 2)
    filtered = [ifft3c(fft3c(half) * gain[shell]).real for half in halves]
    maps = SimpleNamespace(
        map=sum(filtered), half1=filtered[0], half2=filtered[1], unfiltered=tuple(halves)
    )
    monkeypatch.setattr(cluster_maps, "half_maps", lambda *args: maps)
    store = SimpleNamespace(
        pixel_size=pixel, half=np.array([1, 2]), uids=np.array(["a", "b"], object)
    )
    labels = pd.Series([0, 0], index=["a", "b"])
    (found,) = cluster_maps.write_cluster_maps(store, labels, tmp_path)
    assert 45 < found < 80
    leaked = fsc_table(*(f.numpy() for f in filtered), mask_of(maps.map.numpy()), pixel)
    assert resolution(leaked, pixel) < 40  # what stood in reports


def test_the_linear_model_that_fit_left_beside_its_network_counts_clusters(
    planted, planted_model, tmp_path
):
    network = tmp_path / "network"
    shutil.copytree(planted.model, network)
    shutil.copytree(planted.model, network / "linear")
    write_json(network / "config.json", {"kind": "heterogeneous"})
    short = {"backprojection": False, "traversal_components": 0, "umap": False}
    by_fit = analyze(planted.store, network, tmp_path / "a", AnalysisSettings(**short))
    assert by_fit["k_of_linear_model"]
    given = analyze(
        planted.store, planted.model, tmp_path / "b", AnalysisSettings(**short), None, planted.model
    )
    assert given["k_of_linear_model"]
    assert list(given["counts"]) == list(by_fit["counts"])
    alone = analyze(planted.store, planted.model, tmp_path / "c", AnalysisSettings(**short))
    assert not alone["k_of_linear_model"]
    table = read_parquet(network / "linear" / "latents.parquet").iloc[1:]
    write_parquet(network / "linear" / "latents.parquet", table)
    with pytest.raises(StateError, match=r"linear/latents\.parquet lacks 1 of"):
        analyze(planted.store, network, tmp_path / "d", AnalysisSettings(**short))


def test_smaller_maps(planted, planted_model, tmp_path):
    settings = SETTINGS.model_copy(update={"volumes_box": 16, "backprojection": False})
    analyze(planted.store, planted.model, tmp_path / "a", settings)
    volume, pixel = read_volume(tmp_path / "a" / "volumes" / "cluster_00.mrc")
    assert volume.shape == (16, 16, 16)
    assert pixel == pytest.approx(13.0 * 24 / 16)
    assert not list((tmp_path / "a" / "volumes").glob("backprojection*"))


def test_volumes_at_any_latent(planted, planted_model, tmp_path):
    paths = decode(planted.model, np.array([[0.0, 0.0], [0.5, 0.0]]), tmp_path / "v")
    maps = [read_volume(path)[0] for path in paths]
    assert np.allclose(maps[0], planted.volumes[0], atol=1e-5)
    assert np.allclose(maps[1], planted.volumes[:2].mean(axis=0), atol=1e-5)
    assert read_parquet(tmp_path / "v" / "latents.parquet")["z0"].tolist() == [0, 0.5]
    with pytest.raises(InputError, match="needs 2 finite values"):
        decode(planted.model, np.zeros((1, 3)), tmp_path / "w")


@pytest.mark.parametrize(("n", "zdim"), [(3, 1), (30, 1), (5, 8), (90, 2)])
def test_few_particles_and_one_dimension_do_not_crash(n, zdim):
    # tomoDRGN's analysis fails for one latent dimension and for a hundred images or fewer
    z = np.random.default_rng(0).normal(size=(n, zdim))
    uids = np.array([f"t/{i:02d}" for i in range(n)], dtype=object)
    found = explore(Latents(uids, z, None, np.full(n, np.nan)), SETTINGS)
    assert len(found.coordinates) == n
    assert set(found.chosen.labels) == set(range(len(found.chosen.centres)))


def test_a_cluster_of_one_half_set_has_a_map_and_no_fsc(planted, planted_model, tmp_path):
    store = planted.open()
    uids = [uid for uid, half in zip(store.uids, store.half, strict=True) if half == 1][:12]
    analyze(planted.store, planted.model, tmp_path / "a", SETTINGS, uids)
    volume, _ = read_volume(tmp_path / "a" / "volumes" / "backprojection_00.mrc")
    assert np.isfinite(volume).all()
    assert volume.std() > 0
    assert not list((tmp_path / "a" / "volumes").glob("fsc_*.csv"))
    assert set(read_json(tmp_path / "a" / "analysis.json")["resolutions_angstrom"]) == {None}
