"""What verbs refuse: one sentence, exit code 2, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.conftest import Simulated
from tests.dataset.importing.conftest import make
from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.cli.main import main
from tomopipe.dataset.importer import import_star
from tomopipe.io.atomic import write_json, write_parquet
from tomopipe.io.mrc import write_volume
from tomopipe.models.linear import LinearModel
from tomopipe.training.distributed import Group

BOX, PIXEL = 24, 13.0
# what verbs write that write no folder
FILES = {"select": "selected.parquet", "junk": "junk.parquet", "compare": "fsc.csv"}
Patch = pytest.MonkeyPatch
# makes what is wrong in a folder; gives the command without --out
Wrong = Callable[[Simulated, Path, Patch], list[str]]


def latents(tiny: Simulated, path: Path, **columns: float) -> None:
    write_parquet(path, pd.DataFrame({"uid": tiny.truth.index, **columns}))


def uids_by_name(tiny: Simulated, path: Path, *names: str) -> str:
    """Names beside the uids of half of the particles, as a table of their own."""
    half = tiny.truth.index[::2]
    table = pd.DataFrame(dict.fromkeys(names, half))
    table.to_csv(path, index=False) if path.suffix == ".csv" else write_parquet(path, table)
    return str(path)


def other_latents(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    volumes = torch.zeros(4, BOX, BOX, BOX)
    LinearModel(volumes[0], volumes[1:], PIXEL).save(folder / "model", {})
    latents(tiny, folder / "model/latents.parquet", z0=0.0, z1=1.0)
    return ["analyze", str(tiny.store_path), str(folder / "model")]


def consensus_of_another_box(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    latents(tiny, folder / "model/latents.parquet", z0=0.0)
    clusters = pd.DataFrame({"uid": tiny.truth.index, "cluster": 0})
    write_parquet(folder / "analysis/clusters.parquet", clusters)
    mark = {"fingerprint": clusters_fingerprint(clusters)}
    write_json(folder / "analysis/analysis.json", mark)
    write_volume(folder / "analysis/volumes/cluster_00.mrc", np.ones((BOX,) * 3, "f4"), PIXEL)
    for name in ("map", "half1", "half2", "mask"):
        write_volume(folder / f"consensus/{name}.mrc", np.ones((16,) * 3, "f4"), PIXEL)
    given = [f"--{name}={folder / name}" for name in ("model", "analysis", "consensus")]
    return ["junk", str(tiny.store_path), *given]


def no_error_to_limit(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    kept = pd.DataFrame({"uid": tiny.truth.index, "kept": True, "reason": "all"})
    write_parquet(folder / "selected.parquet", kept)
    latents(tiny, folder / "analysis/latents.parquet", z0=0.0, error=np.nan)
    limit = '{"max_error": 1.5}'
    return ["select", str(tiny.dataset), "--parent", str(folder), "--quality", limit]


def uids_without_their_name(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    listed = uids_by_name(tiny, folder / "mine.csv", "particle")
    return ["reconstruct", str(tiny.store_path), "--uids", listed]


def map_without_pixel_size(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    for name, pixel in (("a", PIXEL), ("b", 0.0)):
        write_volume(folder / f"{name}.mrc", np.ones((BOX,) * 3, "f4"), pixel)
    return ["compare", "fsc", str(folder / "a.mrc"), str(folder / "b.mrc")]


def mask_beyond_one(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    write_volume(folder / "mask.mrc", 2 * np.ones((BOX,) * 3, "f4"), PIXEL)
    return ["reconstruct", str(tiny.store_path), "--mask", str(folder / "mask.mrc")]


def no_table_of_clusters(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    table = uids_by_name(tiny, folder / "clusters.parquet", "uid", "class")
    return ["reconstruct", str(tiny.store_path), "--clusters", table, "--cluster", "1"]


def nothing_in_common(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    listed = uids_by_name(tiny, folder / "half.csv", "uid")
    left = ~tiny.truth.index.isin(tiny.truth.index[::2])
    write_parquet(folder / "rest.parquet", pd.DataFrame({"uid": tiny.truth.index, "kept": left}))
    rest = ["--particles", str(folder / "rest.parquet")]
    return ["reconstruct", str(tiny.store_path), "--uids", listed, *rest]


def constant_images(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    import_star(make("warp", folder, tilts=2).write(), folder / "set")
    return ["prepare", str(folder / "set"), "--workers", "1"]


def particles_without_tomograms(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    made = make("relion5", folder)
    made.write()
    return ["import", str(made.particles)]


def an_optics_group_twice(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    made = make("relion31", folder)
    made.files[made.star]["optics"]["rlnOpticsGroup"] = "1.000"
    return ["import", str(made.write())]


def cuda_without_a_gpu(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    patch.setattr(torch.cuda, "is_available", lambda: False)
    return ["consensus", str(tiny.store_path), "--device", "cuda"]


def more_processes_than_particles(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    patch.setattr(Group, "join", lambda device: Group(0, 101))
    return ["linear", str(tiny.store_path), "--components", "3"]


def more_processes_than_a_batch(tiny: Simulated, folder: Path, patch: Patch) -> list[str]:
    patch.setattr(Group, "join", lambda device: Group(0, 4))
    return ["train", str(tiny.store_path), "--model", "homogeneous", "--batch", "3"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (other_latents, "has 2 latents, its model 3: run the model's stage again"),
        (consensus_of_another_box, "consensus/map.mrc has box 16, the store 24"),
        (no_error_to_limit, "analysis/latents.parquet has no values of 'error': use another limit"),
        (uids_without_their_name, "mine.csv has no column 'uid': add it"),
        (map_without_pixel_size, "b.mrc has no pixel size: set it in the header"),
        (mask_beyond_one, "has values from 2 to 2: give a mask between 0 and 1"),
        (no_table_of_clusters, "clusters.parquet: has no columns uid and cluster"),
        (nothing_in_common, "no particle is in all of --particles, --cluster and --uids"),
        (constant_images, "all sampled images are constant: check the stacks"),
        (particles_without_tomograms, "neither particles_tomograms.star nor tomograms.star stands"),
        (an_optics_group_twice, "block data_optics lists the same rlnOpticsGroup twice"),
        (cuda_without_a_gpu, "device is 'cuda', but torch finds no CUDA GPU: use cpu or auto"),
        (more_processes_than_particles, "has 100 selected particles for 101 processes"),
        (more_processes_than_a_batch, "batch is 3, but 4 processes share it: make it at least 4"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_refused_is_one_sentence_and_leaves_nothing(
    wrong: Wrong,
    sentence: str,
    tiny: Simulated,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = wrong(tiny, tmp_path, monkeypatch)
    out = tmp_path / "out"
    capsys.readouterr()
    assert main([*command, "--out", str(out / FILES.get(command[0], ""))]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tomopipe:")]
    assert len(lines) == 1
    assert sentence in lines[0]
    assert not out.exists()
