"""The lineage file says what a step has read and left, and nothing of what was there before."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.lineage.conftest import Run
from tomopipe.config import STEP_FORMAT
from tomopipe.errors import StateError
from tomopipe.io.atomic import write_text
from tomopipe.lineage import digest
from tomopipe.lineage.record import Lineage, Record, lineage_path
from tomopipe.lineage.write import recorded


def written(out: Path) -> Lineage:
    return Record.read(lineage_path(out)).lineage


def test_only_what_is_new_or_replaced_is_the_steps(tmp_path: Path) -> None:
    for name in ("older.txt", "replaced.txt"):
        write_text(tmp_path / name, "same")
    with recorded("consensus", tmp_path):
        write_text(tmp_path / "replaced.txt", "same")
        write_text(tmp_path / "inside/new.txt", "new")
        write_text(tmp_path / ".hidden", "")
    lineage = written(tmp_path)
    assert {o.path for o in lineage.outputs} == {"replaced.txt", "inside/new.txt"}
    new = next(o for o in lineage.outputs if o.path == "inside/new.txt")
    assert (new.bytes, new.sha256) == (3, hashlib.sha256(b"new").hexdigest())
    assert lineage.step_format == STEP_FORMAT["consensus"]
    assert {"tomopipe", "torch", "numpy", "Python"} <= set(lineage.versions)


def test_after_an_error_the_older_lineage_stays(tmp_path: Path) -> None:
    with recorded("linear", tmp_path):
        write_text(tmp_path / "model", "first")
    before = written(tmp_path)
    with pytest.raises(RuntimeError), recorded("linear", tmp_path):
        raise RuntimeError("a step that fails")
    assert written(tmp_path) == before


def test_one_of_several_processes_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with recorded("linear", tmp_path / "out"):
        pass
    assert not (tmp_path / "out").exists()


def test_settings_seed_inputs_and_the_decision_are_told(run: Run) -> None:
    made = written(run.root / "branches/b/linear")
    assert made.settings == run.config.branches["b"].settings("linear").model_dump(mode="json")
    assert made.seed == 0
    (given,) = made.inputs
    assert (given.path, given.made_by) == ("../selected.parquet", "select")
    assert made.chosen is not None
    assert (made.chosen.branch, made.chosen.parent, made.chosen.kept) == ("b", "a", 5)
    assert made.chosen.decision["junk"] == "auto"
    assert made.chosen.decided_by == "automatic"
    assert made.chosen.clusters is not None and made.chosen.clusters.startswith("sha256:")


def test_files_of_the_user_are_told_by_their_whole_path(run: Run) -> None:
    (given,) = written(run.root / "datasets/d").inputs
    assert (given.path, given.made_by) == (str(run.folder / "outside.star"), None)


def test_times_do_not_change_the_fingerprint_but_losses_do(run: Run) -> None:
    out = run.root / "branches/a/linear"
    first = written(out).fingerprint
    for row, same in (('"loss": 0.5, "seconds": 9.0', True), ('"loss": 0.6', False)):
        with recorded("linear", out):
            for name in ("model.safetensors", "latents.parquet"):
                write_text(out / name, (out / name).read_text())
            write_text(out / "metrics.jsonl", f'{{"epoch": 1, {row}}}\n')
        assert (written(out).fingerprint == first) == same


def test_the_same_run_elsewhere_has_the_same_fingerprints(run: Run, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    again = Run(tmp_path / "elsewhere").all()
    for name in ("branches/b/linear", "branches/a/analysis", "datasets/d"):
        one, other = written(run.root / name), written(again.root / name)
        assert one.fingerprint == other.fingerprint


def test_many_files_of_a_folder_are_one_entry(tmp_path: Path) -> None:
    with recorded("extract", tmp_path):
        for i in range(120):
            (tmp_path / "stacks").mkdir(exist_ok=True)
            (tmp_path / f"stacks/{i}.mrcs").write_bytes(b"x" * i)
    (entry,) = written(tmp_path).outputs
    assert (entry.path, entry.files, entry.bytes) == ("stacks", 120, sum(range(120)))
    record = Record.read(tmp_path / "lineage.json")
    assert record.below(tmp_path / "stacks/7.mrcs")


def test_large_files_are_sampled_and_the_sample_sees_size_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "LARGE_BYTES", 20 << 20)
    file = tmp_path / "large"
    content = bytearray(21 << 20)
    seen = set()
    for at in (None, 0, (21 << 20) - 1):  # unchanged, first and last byte
        changed = bytearray(content)
        if at is not None:
            changed[at] = 1
        file.write_bytes(changed)
        seen.add(digest.file_digest(file))
    file.write_bytes(content + b"\0")
    seen.add(digest.file_digest(file))
    assert len(seen) == 4


def test_few_of_many_images_are_read(tmp_path: Path) -> None:
    files = []
    for i in range(20):
        files.append(tmp_path / f"stack_{i:02d}.mrcs")
        files[-1].write_bytes(bytes([i]))
    with recorded("prepare", tmp_path / "store") as record:
        write_text(tmp_path / "store/store.json", "{}")
        record.read_sample(files)
    inputs = written(tmp_path / "store").inputs
    assert 1 < len(inputs) <= 8
    assert {given.one_of for given in inputs} == {20}


def test_a_lineage_of_a_newer_version_is_refused(run: Run) -> None:
    path = run.root / "branches/a/linear/lineage.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"lineage": 99}))
    with pytest.raises(StateError, match="format 99"):
        Record.read(path)
