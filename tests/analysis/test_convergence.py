from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from tests.records import check_record
from tomopipe.analysis.convergence import Curves, assess, judge
from tomopipe.analysis.epochs import landmarks, latent_changes, snapshot_epochs, volume_changes
from tomopipe.config.analysis import ConvergenceSettings
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json
from tomopipe.models.files import save_tensors

SETTINGS = ConvergenceSettings(patience=3, landmarks=3)
EPOCHS = 20


def blob(x, n=16):
    """A map of a fixed blob and one at offset `x` (pixels)."""
    z, y, grid = np.indices((n, n, n)) - n // 2
    return np.exp(-((grid - x) ** 2 + y**2 + z**2) / 6) + np.exp(
        -((grid + 3) ** 2 + y**2 + z**2) / 6
    )


def run(loss, settle_at, *, volumes=None, rotate=False, seed=0):
    """Curves of a planted run whose latents stand still after `settle_at` epochs."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(200, 3)) * [3, 1, 0.5]
    latents = {}
    for epoch in range(1, EPOCHS + 1):
        wander = 1.5 * 0.6 ** max(epoch - settle_at, 0)
        z = truth + wander * 0.3 * rng.normal(size=truth.shape)
        if rotate:
            turn = np.random.default_rng(epoch)
            z = z @ np.linalg.qr(turn.normal(size=(3, 3)))[0] * turn.uniform(0.5, 2) + turn.normal()
        latents[epoch] = z
    metrics = pd.DataFrame({"epoch": range(1, EPOCHS + 1), "loss": loss, "validation": loss})
    some = [(epoch, z[:2]) for epoch, z in latents.items()]
    tables = volume_changes(some, volumes or (lambda epoch, z: None))
    return Curves(metrics, latent_changes(latents.items()), *tables)


def falling(rate=0.5, floor=0.8):
    return floor + 0.4 * np.exp(-rate * np.arange(EPOCHS))


def test_a_settled_run_has_converged_at_the_epoch_it_settled():
    found = judge(run(falling(), 6), SETTINGS)
    assert found.status == "converged"
    assert 6 <= found.epoch <= 13
    assert f"epoch {found.epoch}" in found.sentence


def test_a_run_that_still_improves_has_not_converged():
    found = judge(run(np.linspace(1.3, 0.8, EPOCHS), 4), SETTINGS)
    assert (found.status, found.epoch) == ("not yet", 0)


def test_a_run_whose_latents_still_move_has_not_converged():
    assert judge(run(falling(), 50), SETTINGS).status == "not yet"


def test_overfitting_begins_where_the_held_out_loss_was_lowest():
    loss = np.concatenate([np.linspace(1.2, 0.8, 8), np.linspace(0.81, 1.0, EPOCHS - 8)])
    found = judge(run(loss, 5), SETTINGS)
    assert found.status == "overfitting"
    assert abs(found.epoch - 8) <= 1


def test_a_turn_or_stretch_of_latent_space_is_no_movement():
    plain, turned = (run(falling(), 6, rotate=r).latents for r in (False, True))
    assert turned["shift"].to_numpy() == pytest.approx(plain["shift"].to_numpy(), rel=1e-6)
    assert turned["shift_p90"].iloc[-1] < 0.05
    assert turned["cosine_distance"].iloc[-1] < 0.01
    assert judge(run(falling(), 6, rotate=True), SETTINGS).status == "converged"


def test_real_movement_is_seen():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(300, 4))
    still, moved = (latent_changes([(1, z), (2, b)]).iloc[0] for b in (z, rng.normal(size=z.shape)))
    assert still["shift"] == pytest.approx(0, abs=1e-9)
    assert moved["shift"] > 0.5
    assert moved["cosine_distance"] > 0.5


def test_epochs_that_were_skipped_count_per_epoch():
    rng = np.random.default_rng(2)
    z = rng.normal(size=(300, 2))
    there = z + 0.3 * rng.normal(size=z.shape)
    near, far = (latent_changes([(1, z), (e, there)]).iloc[0] for e in (2, 6))
    assert near["shift"] == pytest.approx(5 * far["shift"])
    assert far["epochs_before"] == 5


def test_volumes_that_still_change_hold_the_verdict_back():
    def changing(epoch, z):
        return np.stack([blob((2.5 * epoch) % 7), blob((1.5 * epoch) % 6)])

    def settling(epoch, z):
        return np.stack([blob(3 + 4 * 0.3**epoch), blob(2 + 4 * 0.3**epoch)])

    assert judge(run(falling(), 6), SETTINGS).status == "converged"
    still = judge(run(falling(), 6, volumes=changing), SETTINGS)
    assert still.status == "not yet"
    assert "volumes at landmarks still change" in still.sentence
    assert judge(run(falling(), 6, volumes=settling), SETTINGS).status == "converged"


def test_volume_changes_compare_consecutive_epochs_that_kept_a_decoder():
    latents = [(e, np.zeros((1, 2))) for e in (1, 2, 3, 4)]
    kept = {2: 0.0, 3: 0.0, 4: 3.0}
    table, curve = volume_changes(latents, lambda e, z: blob(kept[e])[None] if e in kept else None)
    assert table["epoch"].tolist() == [3, 4]
    assert table["cc"].iloc[0] == pytest.approx(1)
    assert table["cc"].iloc[1] < 0.95
    assert table["fsc_half"].iloc[0] == 1
    assert set(curve["epoch"]) == {3, 4}


def test_landmarks_are_particles_of_the_last_clusters():
    rng = np.random.default_rng(3)
    z = np.concatenate([rng.normal(size=(50, 2)) + c for c in ([0, 0], [20, 0], [0, 20])])
    found = landmarks(z, 3, seed=0)
    assert sorted(i // 50 for i in found) == [0, 1, 2]


def write_run(folder, loss, kind="heterogeneous", snapshots=True):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(60, 2))
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"kind": kind}))
    rows = [
        {"epoch": e, "loss": float(v), "validation": float(v)} for e, v in enumerate(loss, start=1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for epoch in range(1, len(loss) + 1 if snapshots else 1):
        z = truth + 0.8**epoch * 0.3 * rng.normal(size=truth.shape)
        path = folder / "snapshots" / f"epoch_{epoch:03d}.safetensors"
        save_tensors(path, {"z": torch.from_numpy(z).float()})


def test_files_of_an_assessment(tmp_path):
    write_run(tmp_path / "model", falling())
    assess(tmp_path / "model", tmp_path / "convergence", SETTINGS)
    check_record("convergence", tmp_path / "convergence", SETTINGS)
    found = read_json(tmp_path / "convergence" / "convergence.json")
    assert found["status"] == "converged"
    assert found["epochs"] == EPOCHS
    assert len(found["curves"]["latent_shift"]) == EPOCHS - 1
    names = {p.name for p in (tmp_path / "convergence").iterdir()}
    assert {
        "loss.png",
        "latent_shift.png",
        "loss.csv",
        "latent_shift.csv",
        "volume_cc.csv",
    } <= names
    assert pd.read_csv(tmp_path / "convergence" / "loss.csv")["epoch"].tolist() == list(
        range(1, 21)
    )


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_short_run_is_not_yet_converged_and_does_not_crash(tmp_path, epochs):
    # cryoDRGN's convergence crashes on every 4.x run, tomoDRGN's where checkpoints skip epochs
    write_run(tmp_path / "model", falling()[:epochs])
    assert assess(tmp_path / "model", tmp_path / "c", SETTINGS)["status"] == "not yet"


def test_skipped_snapshots_do_not_crash(tmp_path):
    write_run(tmp_path / "model", falling())
    for epoch in (1, 2, 5, 9):
        (tmp_path / "model" / "snapshots" / f"epoch_{epoch:03d}.safetensors").unlink()
    assert snapshot_epochs(tmp_path / "model" / "snapshots")[:3] == [3, 4, 6]
    assert assess(tmp_path / "model", tmp_path / "c", SETTINGS)["status"] == "converged"


def test_a_homogeneous_model_is_judged_by_its_loss(tmp_path):
    write_run(tmp_path / "model", falling(), kind="homogeneous", snapshots=False)
    assert assess(tmp_path / "model", tmp_path / "c", SETTINGS)["status"] == "converged"
    assert not (tmp_path / "c" / "latent_shift.png").exists()


def test_damaged_metrics_are_one_sentence(tmp_path):
    write_run(tmp_path / "model", falling()[:2])
    path = tmp_path / "model" / "metrics.jsonl"
    path.write_text(path.read_text() + '{"epoch": 3, "lo')
    with pytest.raises(StateError, match="line 3 is not JSON"):
        assess(tmp_path / "model", tmp_path / "c", SETTINGS)
    path.write_text("")
    with pytest.raises(StateError, match="no epoch"):
        assess(tmp_path / "model", tmp_path / "c", SETTINGS)
    path.unlink()
    with pytest.raises(StateError, match="missing"):
        assess(tmp_path / "model", tmp_path / "c", SETTINGS)
    assert not (tmp_path / "c").exists()
