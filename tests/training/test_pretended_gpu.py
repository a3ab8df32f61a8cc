"""Every model on a GPU that is pretended: nothing mixes devices, and results are a CPU's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.engine import measure
from tests.pretend_gpu import GPU, OnGpu, pretend
from tomopipe.analysis.fit import fit
from tomopipe.config.fit import FitSettings, NetworkSettings
from tomopipe.config.linear import LinearSettings
from tomopipe.config.reconstruct import ReconstructSettings
from tomopipe.config.training import HeterogeneousSettings, HomogeneousSettings
from tomopipe.io.atomic import read_json, read_parquet
from tomopipe.io.mrc import read_volume
from tomopipe.physics.grid import FourierGrid
from tomopipe.reconstruct.consensus import consensus
from tomopipe.reconstruct.particles import reconstruct
from tomopipe.training.linear import fit_linear
from tomopipe.training.neural import train_heterogeneous, train_homogeneous
from tomopipe.training.statistics import Statistics

# nothing is compiled: torch cannot pretend in compiled code
SMALL = {"hidden": 16, "layers": 1, "epochs": 1, "compile": "off", "dtype": "float32"}
ENCODER = {"zdim": 2, "encoder_hidden": 8, "encoder_radius": 3}
Work = Callable[[Path, str], None]


@pytest.fixture
def store(make_store):
    return make_store(["body", "whole", "body", "whole"] * 5, [5, 7, 4, 6] * 5, noise=3.0)


def both(work: Work, tmp_path: Path, monkeypatch) -> tuple[Path, Path]:
    """Folders that `work` left on the CPU and on the GPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order
    try:
        work(tmp_path / "cpu", "cpu")
        with monkeypatch.context() as patch, pretend(patch) as mode:
            work(tmp_path / "gpu", "cuda:0")
        assert mode.operations() > 100
    finally:
        torch.set_num_threads(threads)
    return tmp_path / "cpu", tmp_path / "gpu"


def same_latents(one: Path, other: Path) -> None:
    a, b = (read_parquet(path / "latents.parquet").set_index("uid") for path in (one, other))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_pretence_refuses_what_a_gpu_refuses(monkeypatch):
    with monkeypatch.context() as patch, pretend(patch):
        a = torch.zeros(3, 2, device=GPU)
        assert isinstance(a, OnGpu) and a.device == GPU
        assert (a + 1).device == GPU and a.cpu().device.type == "cpu"
        for mixed in (
            lambda: a + torch.ones(3, 2),
            lambda: torch.ones(2)[a[0].long()],
            lambda: torch.stack([a.sum(), torch.ones(())]),
            lambda: torch.randn(2, device=GPU, generator=torch.Generator()),
        ):
            with pytest.raises(RuntimeError, match="device"):
                mixed()
        assert (a + torch.ones(())).is_cuda  # a number of the CPU may stand beside it
        for taken in (a.numpy, lambda: np.asarray(a)):
            with pytest.raises(TypeError, match="numpy"):
                taken()


def test_consensus(store, tmp_path, monkeypatch):
    def work(out: Path, device: str) -> None:
        consensus(store.path, out, device=torch.device(device))

    folders = both(work, tmp_path, monkeypatch)
    for name in ("map", "half1"):
        maps = (read_volume(folder / f"{name}.mrc")[0] for folder in folders)
        np.testing.assert_allclose(*maps, atol=1e-5)


def test_reconstruction_with_a_symmetry(store, tmp_path, monkeypatch):
    settings = ReconstructSettings(symmetry="C2")

    def work(out: Path, device: str) -> None:
        reconstruct(store.path, out, settings, device=torch.device(device))

    maps = (read_volume(path / "map.mrc")[0] for path in both(work, tmp_path, monkeypatch))
    np.testing.assert_allclose(*maps, atol=1e-5)


@pytest.mark.parametrize("kept", ["exact", "packed", "on disk"])
def test_linear(store, tmp_path, monkeypatch, kept):
    exact = Statistics(store, FourierGrid(store.box), memory_gb=None, device="cpu")
    memory_gb = {"exact": None, "packed": 0.75 * exact.bytes(16) / 1e9, "on disk": 1e-6}[kept]
    seen = Statistics(store, FourierGrid(store.box), memory_gb=memory_gb, device="cpu")
    assert (seen.packed, seen.spilled) == (kept != "exact", kept == "on disk")
    settings = LinearSettings(components=2, rounds=3, memory_gb=memory_gb)

    def work(out: Path, device: str) -> None:
        fit_linear(store.path, out, settings, device=torch.device(device))

    one, other = both(work, tmp_path, monkeypatch)
    same_latents(one, other)
    assert read_json(other / "config.json")["device"] == "cuda"


@pytest.mark.parametrize("encoder", ["volume", "tilts"])
@pytest.mark.parametrize("dtype", ["bfloat16", "tf32"])
def test_network_from_a_linear_model(store, tmp_path, monkeypatch, encoder, dtype):
    def work(out: Path, device: str) -> None:
        given = SMALL | ENCODER | {"encoder": encoder, "dtype": dtype, "device": device}
        consensus(store.path, out / "consensus", device=torch.device(device))
        linear = LinearSettings(components=2, rounds=2)
        fit_linear(store.path, out / "linear", linear, device=torch.device(device))
        train_heterogeneous(
            store.path,
            out / "network",
            HeterogeneousSettings(**given),
            linear=out / "linear",
            consensus=out / "consensus",
        )

    one, other = both(work, tmp_path, monkeypatch)
    same_latents(one / "network", other / "network")


def test_reference_and_homogeneous_network(store, tmp_path, monkeypatch):
    def work(out: Path, device: str) -> None:
        given = SMALL | {"device": device}
        own = {"zdim": 2, "pooling": "mean", "encoder_hidden": 8}
        train_heterogeneous(store.path, out, HeterogeneousSettings.reference(**given, **own))
        train_homogeneous(store.path, out / "map", HomogeneousSettings(**given))

    one, other = both(work, tmp_path, monkeypatch)
    same_latents(one, other)
    maps = (read_volume(path / "map" / "map.mrc")[0] for path in (one, other))
    np.testing.assert_allclose(*maps, atol=1e-5)


def test_fit_takes_both_models(store, tmp_path, monkeypatch):
    network = NetworkSettings(**(SMALL | ENCODER))
    settings = FitSettings(
        network="always",
        linear=LinearSettings(components=2, rounds=3),
        heterogeneous=network,
        clusters=2,
    )

    def work(out: Path, device: str) -> None:
        fit(store.path, out, settings, device=device)

    one, other = both(work, tmp_path, monkeypatch)
    same_latents(one, other)
    assert read_json(other / "fit.json")["comparison"] is not None


def test_the_benchmark_runs(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pretend(patch):
        patch.setattr(gpu, "VARIANTS", {"default": {"compile": "off"}})
        patch.setattr(measure, "ahead", map)
        arguments = ["gpu", "--small", "--device", "cuda:0", "--out", str(tmp_path / "gpu.json")]
        patch.setattr("sys.argv", [*arguments, "--work", str(tmp_path)])
        gpu.main()
    record = read_json(tmp_path / "gpu.json")
    assert [row.get("failed") for row in record["steps"]] == [None]
    assert record["linear"]["components"] == 2 and len(record["quality"]) == 3
