"""A whole small results tree, faked by the contract between the rules: blobs in a box of 32."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.config import Config, parse_config
from tomopipe.io.atomic import write_json, write_parquet, write_text, write_yaml
from tomopipe.io.mrc import write_volume

BOX, PIXEL, N = 32, 10.0, 240
STATES = ("whole", "lobeless", "arm")


def _blobs(*centres: tuple[float, float, float], width: float = 3.0) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.arange(BOX) - BOX // 2] * 3, indexing="ij")
    volume = np.zeros((BOX,) * 3, np.float32)
    for cx, cy, cz in centres:
        volume += np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * width**2))
    return volume


def _volume(kind: int, t: float = 0.5) -> np.ndarray:
    """Three states of a complex, t moving its arm; any other kind is weak rubble."""
    body = [(-4.0, 0.0, 0.0), (2.0, 3.0, 1.0), (0.0, -4.0, 3.0)]
    if kind == 0:
        body.append((6.0, -2.0, -4.0))
    if kind == 2:
        body.append((8.0 * np.cos(t), 8.0 * np.sin(t), 2.0))
    if kind < 3:
        return _blobs(*body)
    return 0.3 * _blobs((0, 0, 0), (-9, 2, 5), (5, 9, -7), width=2.0)


def _config(root: Path) -> Config:
    return parse_config(
        {
            "title": "A faked run <of> blobs & more",
            "results": str(root),
            "datasets": {"demo": {"about": "Faked for the tests.", "simulate": {"particles": N}}},
            "branches": {
                "pilot": {
                    "dataset": "demo", "consensus": {}, "linear": {"components": 3},
                    "analysis": {"clusters": 4, "traversal": 5}, "junk": {},
                },
                "clean": {
                    "parent": "pilot", "select": {"junk": "auto"}, "consensus": {}, "linear": {},
                    "heterogeneous": {"epochs": 20}, "analysis": {"clusters": 3}, "junk": {},
                },
                "moving": {
                    "parent": "clean", "select": {"largest": 1}, "linear": {},
                    "analysis": {"clusters": 2},
                },
                "unrun": {"parent": "clean", "select": {"largest": 2}, "linear": {}},
                "later": {"parent": "clean", "select": {}, "linear": {}, "analysis": {}},
                "after": {"parent": "later", "select": {"largest": 2}, "linear": {}},
            },
        }
    )  # fmt: skip


class Faker:
    """Writes the results of one stage after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rng = np.random.default_rng(0)
        self.kind = self.rng.choice(4, N, p=[0.35, 0.25, 0.27, 0.13])
        self.motion = self.rng.uniform(0, 1, N)
        tomograms = self.rng.choice(4, N)
        self.uids = np.array([f"TS_{t + 1:02d}/{i:04d}" for i, t in enumerate(tomograms)])
        self.tomograms = np.array([f"TS_{t + 1:02d}" for t in tomograms])

    def dataset(self) -> None:
        path = self.root / "datasets/demo"
        n = self.rng.integers(11, 22, N)
        particles = pd.DataFrame({"uid": self.uids, "tomogram": self.tomograms, "n_images": n})
        write_parquet(path / "particles.parquet", particles)
        index = np.concatenate([np.arange(k) for k in n])
        images = pd.DataFrame({"uid": np.repeat(self.uids, n), "dose_e_per_A2": 3.0 * (index + 1)})
        images["tilt_degrees"] = 3.0 * ((index + 1) // 2) * np.where(index % 2, 1, -1)
        images["defocus_u_angstrom"] = self.rng.normal(30000, 4000, len(index))
        images["pixel_size_angstrom"] = PIXEL
        write_parquet(path / "images.parquet", images)
        info = {
            "dialect": "warp",
            "box": BOX,
            "contrast": "bright",
            "sources": {"p.star": "sha256:0"},
        }
        write_json(path / "import.json", info)
        states = np.array([*STATES, "junk"])[self.kind]
        truth = pd.DataFrame({"uid": self.uids, "state": states, "junk": self.kind == 3})
        truth["coordinate"] = np.where(self.kind == 2, self.motion, np.nan)
        write_parquet(path / "simulated/truth.parquet", truth)

    def select(self, branch: str, kept: np.ndarray, among: np.ndarray, reason: str) -> None:
        reasons = np.where(kept[among], "all" if branch == "pilot" else "not junk", reason)
        table = pd.DataFrame({"uid": self.uids[among], "kept": kept[among], "reason": reasons})
        write_parquet(self.root / "branches" / branch / "selected.parquet", table)

    def consensus(self, branch: str) -> None:
        path = self.root / "branches" / branch / "consensus"
        write_volume(path / "map.mrc", _volume(0) + 0.03 * self._noise(), PIXEL)
        shell = np.arange(1, BOX // 2)
        fsc = 1 / (1 + np.exp((shell - 9) / 1.3))
        frequency = shell / (BOX * PIXEL)
        table = pd.DataFrame({"shell": shell, "frequency_per_angstrom": frequency})
        table["resolution_angstrom"], table["fsc"], table["fsc_masked"] = (
            1 / frequency,
            fsc * 0.95,
            fsc,
        )
        write_text(path / "fsc.csv", table.to_csv(index=False))
        write_json(path / "consensus.json", {"resolution_0143_angstrom": 28.4, "n_particles": N})

    def linear(self, branch: str) -> None:
        path = self.root / "branches" / branch / "linear"
        values = np.array([5.0, 2.0, 0.4])
        table = pd.DataFrame(
            {"component": [1, 2, 3], "eigenvalue": values, "fraction": values / 7.4}
        )
        write_text(path / "spectrum.csv", table.to_csv(index=False))
        write_parquet(path / "latents.parquet", pd.DataFrame({"uid": self.uids}))
        write_json(path / "config.json", {"kind": "linear"})

    def heterogeneous(self, branch: str) -> None:
        path = self.root / "branches" / branch / "heterogeneous"
        epochs = np.arange(1, 21)
        loss = 1 + 0.4 * np.exp(-epochs / 4) + 0.002 * self.rng.normal(size=20)
        lines = [
            json.dumps(
                {"epoch": int(e), "loss": a, "validation": a + 0.02 + 0.0004 * e, "lr": 1e-3}
            )
            for e, a in zip(epochs, loss, strict=True)
        ]
        write_text(path / "metrics.jsonl", "\n".join(lines) + "\n")
        write_json(path / "config.json", {"kind": "heterogeneous"})
        write_parquet(path / "latents.parquet", pd.DataFrame({"uid": self.uids}))
        curves = {
            "latent_epoch": epochs[1:], "latent_shift": 0.5 * np.exp(-epochs[1:] / 5),
            "volume_epoch": epochs[1:], "volume_cc_median": 1 - 0.2 * 0.7 ** epochs[1:],
        }  # fmt: skip
        verdict = {
            "status": "converged", "epoch": 14, "sentence": "converged at epoch 14: nothing moves",
            "gain_last": 0.011, "curves": curves, "settings": {"shift": 0.15, "volume_cc": 0.98},
        }  # fmt: skip
        write_json(self.root / "branches" / branch / "convergence/convergence.json", verdict)

    def analysis(self, branch: str, members: np.ndarray, k: int, *, junk: bool = True) -> None:
        path = self.root / "branches" / branch
        kind, n = self.kind[members], int(members.sum())
        centres = np.array([[0, 0], [4, 1], [1, 5], [6, 6]])
        z = centres[kind] + self.rng.normal(0, 0.5, (n, 2))
        moved = kind == 2
        z[moved, 0] += 4 * (self.motion[members][moved] - 0.5)
        table = pd.DataFrame({"uid": self.uids[members], "z0": z[:, 0], "z1": z[:, 1]})
        table["pc0"], table["pc1"] = z[:, 0] - z[:, 0].mean(), z[:, 1] - z[:, 1].mean()
        table["umap0"], table["umap1"] = z[:, 0] * 1.3, z[:, 1] + 0.1 * z[:, 0] ** 2
        table["coordinate"] = np.where(moved, z[:, 0], np.nan)
        table["error"] = 1 + 0.05 * (kind == 3) + 0.02 * self.rng.normal(size=n)
        write_parquet(path / "analysis/latents.parquet", table)
        label = kind if junk else (self.motion[members] > 0.5).astype(int)
        clusters = pd.DataFrame({"uid": self.uids[members], "cluster": label.astype(np.int32)})
        write_parquet(path / "analysis/clusters.parquet", clusters)
        info = {
            "k": k,
            "fingerprint": clusters_fingerprint(clusters),
            "resolutions_angstrom": [30.0, 33.0, 35.5, None][:k],
        }
        write_json(path / "analysis/analysis.json", info)
        self._volumes(path / "analysis/volumes", k)
        self._classes(path / "classes", k, info["fingerprint"])
        if junk:
            self._decide(path, kind, k, info["fingerprint"])

    def _volumes(self, path: Path, k: int) -> None:
        shell = np.arange(1, BOX // 2)
        for c in range(k):
            write_volume(path / f"cluster_{c:02d}.mrc", _volume(c), PIXEL)
            write_volume(
                path / f"backprojection_{c:02d}.mrc", _volume(c) + 0.1 * self._noise(), PIXEL
            )
            table = pd.DataFrame({"shell": shell, "frequency_per_angstrom": shell / (BOX * PIXEL)})
            table["fsc_masked"] = table["fsc"] = 1 / (1 + np.exp((shell - 8 + c) / 1.3))
            write_text(path / f"fsc_{c:02d}.csv", table.to_csv(index=False))
        for component in (1, 2):
            for i in range(5):
                volume = _volume(2, i / 4 * component)
                write_volume(path / f"pc{component}_{i}.mrc", volume, PIXEL)

    def _classes(self, path: Path, k: int, fingerprint: str) -> None:
        shell = np.arange(1, BOX // 2)
        rows, tables = [], []
        for cluster in range(k):
            weak = cluster == 3
            rows.append(
                {
                    "cluster": cluster,
                    "particles": 60,
                    "resolution_0143_angstrom": None if weak else 30.0 + cluster,
                    "model_fsc_area": 0.4 if weak else 0.8,
                    "difference_cc": 0.02 if weak else 0.9,
                    "supported": not weak,
                    "reason": "fewer than 30 particles" if weak else "its own particles show it",
                }
            )
            curve = 1 / (1 + np.exp((shell - 9 + cluster) / 1.3))
            table = pd.DataFrame({"cluster": cluster, "shell": shell, "fsc_corrected": curve})
            table["frequency_per_angstrom"] = shell / (BOX * PIXEL)
            tables.append(table.assign(fsc_model=np.nan if weak else curve))
        write_text(path / "fsc.csv", pd.concat(tables).to_csv(index=False))
        write_json(path / "classes.json", {"classes": rows, "clusters_fingerprint": fingerprint})

    def _decide(self, path: Path, kind: np.ndarray, k: int, fingerprint: str) -> None:
        counts = np.bincount(kind, minlength=k)
        told = {
            0: ("keep", "agrees with the consensus like the rest"),
            3: (
                "junk",
                "its back-projection agrees 5× less with the consensus than random groups do",
            ),
        }
        clusters = {}
        for c in range(k):
            decision, reason = told.get(
                c, ("keep", "a different composition, but as sharp as the rest")
            )
            clusters[c] = {"decision": decision, "count": int(counts[c]), "reason": reason}
        selection = {
            "clusters_fingerprint": fingerprint,
            "decided_by": "automatic",
            "clusters": clusters,
        }
        write_yaml(path / "selection.yaml", selection)
        evidence = pd.DataFrame({"cluster": np.arange(k, dtype=np.int32), "count": counts})
        evidence["cc_volume"] = np.array([0.98, 0.94, 0.92, 0.31])[:k]
        evidence["agreement"] = np.array([1.01, 0.97, 0.95, 0.2])[:k]
        evidence["signal"] = np.array([1.0, 0.9, np.nan, 0.1])[:k]
        write_parquet(path / "junk.parquet", evidence)
        write_text(path / "export/kept.star", "data_\n")

    def _noise(self) -> np.ndarray:
        return self.rng.normal(size=(BOX,) * 3).astype(np.float32)

    def benchmarks(self) -> None:
        text = "s\th:m:s\tmax_rss\n12.5\t0:00:12\t410.2\n"
        write_text(self.root / "benchmarks/branches/pilot/linear.tsv", text)

    def everything(self) -> None:
        all_, good = np.ones(N, bool), self.kind != 3
        self.dataset()
        self.select("pilot", all_, all_, "")
        self.consensus("pilot")
        self.linear("pilot")
        self.analysis("pilot", all_, 4)
        self.select("clean", good, all_, "cluster 3 is junk")
        self.consensus("clean")
        self.linear("clean")
        self.heterogeneous("clean")
        self.analysis("clean", good, 3)
        self.select("moving", self.kind == 2, all_, "not in the largest cluster")
        self.linear("moving")
        self.analysis("moving", self.kind == 2, 2, junk=False)
        self.benchmarks()
        curve = {"frequency_per_angstrom": [0.01, 0.02, 0.03], "fsc": [0.99, 0.9, 0.6]}
        recovery = {
            "ari": 0.97,
            "spearman": -0.94,
            "fsc_area": 0.86,
            "states": dict.fromkeys(STATES, curve),
        }
        write_json(self.root / "recovery.json", recovery)


@pytest.fixture(scope="session")
def fake_results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """Config and results root of a finished run; two of its branches wait and one has not run."""
    root = tmp_path_factory.mktemp("faked") / "results"
    Faker(root).everything()
    return _config(root), root


@pytest.fixture
def empty_results(tmp_path: Path) -> tuple[Config, Path]:
    """The same config before anything has run."""
    (tmp_path / "results").mkdir()
    return _config(tmp_path / "results"), tmp_path / "results"
