"""Files that were cut off or in which single bits have changed."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.faults.conftest import ONE, Packed
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.reader import Reader
from tomopipe.dataset.store import Store, check_store
from tomopipe.errors import StateError
from tomopipe.io.atomic import read_json, read_parquet, write_json, write_parquet
from tomopipe.lineage import digest, write
from tomopipe.lineage.verify import verify
from tomopipe.lineage.write import recorded
from tomopipe.models.files import load_tensors, save_tensors

FLIPS = 300


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Turn one bit of a file over."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ (1 << bit)]))


@pytest.mark.fault(
    "A bit of the packed images has changed on disk",
    "The first reading of that image in any step stops with a sentence that names the particle and "
    "the store to remove; `check_store` finds it without running anything.",
)
@pytest.mark.parametrize("way", ["read from disk", "all in memory", "some of it", "check_store"])
def test_bit_flipped_in_the_packed_images(store: Path, way: str) -> None:
    assert check_store(store)
    whole = Store.open(store)
    image = 17
    middle = 128 + 4 * int(whole.starts[image]) + 2 * int(whole.counts[image])
    flip(store / "coefficients.npy", middle, bit=3)
    opened = Store.open(store)
    opened.batch([0, 1])  # what is whole can be read
    particle = int(np.searchsorted(opened.image_start, image, "right")) - 1
    readings = {
        "read from disk": lambda: opened.batch([particle]),
        "some of it": lambda: opened.batch([particle], first=5),
        "all in memory": lambda: Reader(opened, resident=True),
        "check_store": lambda: check_store(store),
    }
    with pytest.raises(StateError, match=rf"particle {opened.uids[particle]}: remove {store} and"):
        readings[way]()


def test_verify_reads_all_of_a_store_that_is_too_large_for_a_fingerprint(
    packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (digest, write):
        monkeypatch.setattr(module, "LARGE_BYTES", 1000)
    monkeypatch.setattr(digest, "_BLOCK", 8)
    out = tmp_path / "datasets" / "d" / "store"
    with recorded("prepare", out, ONE, inputs=[packed.dataset]):
        prepare(packed.dataset, out, ONE)
    assert not verify(tmp_path).findings
    size = (out / "coefficients.npy").stat().st_size
    flip(out / "coefficients.npy", (size - 8) // 15 + 100)  # between two samples
    assert not verify(tmp_path, quick=True).findings
    (finding,) = verify(tmp_path).findings
    assert finding.what == "changed" and f"remove {out} and" in finding.sentence


def test_a_view_checks_its_own_images(store: Path) -> None:
    whole = Store.open(store)
    uids = [whole.uids[5], whole.uids[20]]
    expected = whole.batch([5, 20]).data
    assert torch.equal(Store.open(store, uids).batch([0, 1]).data, expected)
    flip(store / "coefficients.npy", 128 + 4 * int(whole.starts[whole.image_start[20]]))
    with pytest.raises(StateError, match=f"image 1 of particle {uids[1]}"):
        Store.open(store, uids).batch([0, 1])


def test_stores_without_checksums_are_read(store: Path) -> None:
    expected = Store.open(store).batch([3]).data
    write_parquet(
        store / "images.parquet", read_parquet(store / "images.parquet").drop(columns="crc32")
    )
    meta = read_json(store / "store.json")
    write_json(
        store / "store.json", {k: meta[k] for k in meta if k not in ("checksums", "fingerprint")}
    )
    assert torch.equal(Store.open(store).batch([3]).data, expected)
    assert not check_store(store)


@pytest.mark.fault(
    "The store is cut off, or the beginning or the record of it is damaged",
    "Nothing starts on it: a sentence names the file and says to pack it again.",
)
def test_damaged_frame_of_a_store(store: Path) -> None:
    packed, record = store / "coefficients.npy", store / "store.json"
    text, size = record.read_text(), packed.stat().st_size
    record.write_text(text.replace('"box": 16', '"box": 18'))
    with pytest.raises(StateError, match=r"store\.json was changed or damaged"):
        Store.open(store)
    record.write_text(text)
    os.truncate(packed, size - 1)
    with pytest.raises(StateError, match=f"has {size - 1} bytes instead of {size}: remove {store}"):
        Store.open(store)
    os.truncate(packed, size)
    for at in (1, 12, 30):
        flip(packed, at)
        with pytest.raises(StateError, match="damaged at its beginning"):
            Store.open(store)
        flip(packed, at)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "uid": [f"t/{i:04d}" for i in range(200)],
            "z0": rng.normal(size=200),
            "cluster": rng.integers(0, 9, 200),
        }
    )


@pytest.mark.fault(
    "A table is cut off, or a bit of it has changed",
    "A sentence names the table and says to delete it and run its stage again; no value that is "
    "read is another than was written.",
)
def test_damaged_tables(tmp_path: Path, table: pd.DataFrame) -> None:
    path = tmp_path / "latents.parquet"
    write_parquet(path, table)
    whole, draw = path.read_bytes(), random.Random(0)
    for _ in range(20):
        path.write_bytes(whole[: draw.randrange(len(whole))])
        with pytest.raises(StateError, match=r"latents\.parquet cannot be read .*delete it"):
            read_parquet(path)
    found = 0
    for _ in range(FLIPS):
        path.write_bytes(whole)
        flip(path, draw.randrange(len(whole)), draw.randrange(8))
        try:
            again = read_parquet(path)
        except StateError:
            found += 1
            continue
        # what is left are bits that say nothing of the values, and names of columns
        assert [again[c].tolist() for c in again] == [table[c].tolist() for c in table]
    assert found > 0.6 * FLIPS


@pytest.mark.fault(
    "A model is cut off, or a bit of it has changed",
    "A sentence names the file and says to delete it and run its stage again; no tensor that is "
    "read is another than was written.",
)
def test_damaged_models(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    torch.manual_seed(0)
    tensors = {"a": torch.randn(20, 5), "b": torch.tensor(3.0), "c": torch.randn(4).bfloat16()}
    save_tensors(path, tensors)
    whole, draw = path.read_bytes(), random.Random(0)
    for _ in range(20):
        path.write_bytes(whole[: draw.randrange(len(whole))])
        with pytest.raises(StateError, match=r"model\.safetensors is damaged .*delete it"):
            load_tensors(path)
    found = 0
    for _ in range(FLIPS):
        path.write_bytes(whole)
        flip(path, draw.randrange(len(whole)), draw.randrange(8))
        try:
            again = load_tensors(path)
        except StateError:
            found += 1
            continue
        assert again.keys() == tensors.keys()
        assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    assert found > 0.8 * FLIPS
