import bz2
import contextlib
import errno
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tomopipe.dataset.stacks import read_header
from tomopipe.errors import InputError, StateError
from tomopipe.io.atomic import (
    atomic_directory,
    atomic_path,
    fingerprint,
    read_json,
    read_parquet,
    read_yaml,
    remove_directory,
    write_json,
    write_parquet,
)
from tomopipe.io.mrc import open_stack, read_volume, write_stack, write_volume
from tomopipe.io.progress import Progress, duration


@pytest.mark.fault(
    "A step fails while it writes a file",
    "The old file stays as it was, and nothing half written is left.",
)
def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_failed_directory_leaves_the_old_one(tmp_path):
    with atomic_directory(tmp_path / "d") as folder:
        (folder / "old").write_text("1")
    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "d") as folder:
        (folder / "new").write_text("2")
        raise RuntimeError
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_directory_replaces_what_it_brings_and_leaves_the_rest(tmp_path):
    for number in (1, 2):
        with atomic_directory(tmp_path / "d") as folder:
            (folder / "volumes").mkdir()
            (folder / "volumes" / f"{number}").write_text("")
        (tmp_path / "d" / "notes").write_text("mine")
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["notes", "volumes"]
    assert [p.name for p in (tmp_path / "d" / "volumes").iterdir()] == ["2"]
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_linked_directory_is_written_where_it_lies(tmp_path, monkeypatch):
    """Nothing can be renamed from one disk to another, as a link to scratch may lead to."""
    disks = [tmp_path / name for name in ("home", "scratch")]
    for disk in disks:
        disk.mkdir()
    link = disks[0] / "out"
    link.symlink_to(disks[1] / "out")
    replace = Path.replace

    def within_a_disk(self, target):
        sides = {next(d for d in disks if p.resolve().is_relative_to(d)) for p in (self, target)}
        if len(sides) > 1:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", within_a_disk)
    for number in range(2):
        with atomic_directory(link) as folder:
            (folder / "file").write_text(f"{number}")
        assert (link.is_symlink(), (link / "file").read_text()) == (True, f"{number}")
    assert [p.name for disk in disks for p in disk.iterdir()] == ["out", "out"]


def test_what_is_not_made_again_goes_only_if_it_is_optional(tmp_path):
    out = tmp_path / "out"
    (out / "linear").mkdir(parents=True)
    for name in ("linear/model", "spectrum.csv", "notes.txt"):
        (out / name).write_text("old")
    with atomic_directory(out, optional=["linear", "spectrum.csv", "never.mrc"]) as folder:
        (folder / "spectrum.csv").write_text("new")
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", "spectrum.csv"]
    assert (out / "spectrum.csv").read_text() == "new"


def test_a_swap_that_is_killed_leaves_no_record(tmp_path, monkeypatch):
    """A folder of two results must not look like one that was finished."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a.mrc", "b.mrc", "record.json"):
        (out / name).write_text("old")
    real, left = Path.replace, iter(())

    def replace(path, to):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(path, to)

    monkeypatch.setattr(Path, "replace", replace)
    for renames in range(1, 6):  # one takes the record away, the sixth brings it
        left = iter(range(renames))
        with pytest.raises(KeyboardInterrupt), atomic_directory(out) as folder:
            for name in ("a.mrc", "b.mrc", "record.json"):
                (folder / name).write_text("new")
        assert not (out / "record.json").exists()
        for name in ("a.mrc", "b.mrc", "record.json"):
            (out / name).write_text("old")


def test_json_takes_numpy_and_not_a_number(tmp_path):
    write_json(tmp_path / "a.json", {"a": np.float32(1.5), "b": np.arange(2), "c": float("nan")})
    assert read_json(tmp_path / "a.json") == {"a": 1.5, "b": [0, 1], "c": None}


@pytest.mark.parametrize("reader", [read_json, read_parquet, read_yaml])
def test_missing_and_damaged_files_are_one_sentence(tmp_path, reader):
    with pytest.raises(StateError, match="missing"):
        reader(tmp_path / "none")
    (tmp_path / "bad").write_text("{: [")
    with pytest.raises(StateError) as caught:
        reader(tmp_path / "bad")
    assert "\n" not in str(caught.value)


def test_fingerprint_sees_content_not_names(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("x")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(np.arange(3)) != fingerprint(np.arange(4))


def test_parquet_round_trip(tmp_path):
    table = pd.DataFrame({"uid": ["a/1", "b/2"], "z0": [0.5, np.nan]})
    write_parquet(tmp_path / "t.parquet", table)
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "t.parquet"), table)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int16"])
def test_stacks_of_every_type_are_read(tmp_path, dtype):
    images = np.random.default_rng(0).integers(-9, 9, size=(5, 8, 8)).astype(dtype)
    write_stack(tmp_path / "s.mrcs", images, 2.5, dtype)
    with open_stack(tmp_path / "s.mrcs") as stack:
        assert stack.shape == (5, 8, 8)
        assert np.array_equal(stack.read([3, 0]), images[[3, 0]].astype(np.float32))


def test_volume_round_trip_keeps_order_and_pixel_size(tmp_path):
    volume = np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)
    write_volume(tmp_path / "v.mrc", volume, 3.71)
    back, pixel_size = read_volume(tmp_path / "v.mrc")
    assert np.array_equal(back, volume)
    assert pixel_size == pytest.approx(3.71, rel=1e-5)


@pytest.mark.fault(
    "An image stack is cut off or missing",
    "A sentence names the stack and what to do.",
)
def test_truncated_and_missing_stacks_are_one_sentence(tmp_path):
    write_stack(tmp_path / "s.mrcs", np.zeros((5, 8, 8), np.float32), 1.0)
    whole = (tmp_path / "s.mrcs").read_bytes()
    (tmp_path / "s.mrcs").write_bytes(whole[:-300])
    for name in ("s.mrcs", "none.mrcs"):
        with pytest.raises(InputError) as caught:
            open_stack(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["gz", "bz2"])
@pytest.mark.parametrize("keep", [1.0, 0.5, 0.001])
def test_compressed_stacks_that_are_cut_or_damaged_are_one_sentence(tmp_path, ending, keep):
    images = np.random.default_rng(0).normal(size=(5, 8, 8)).astype(np.float32)
    write_stack(tmp_path / "s.mrcs", images, 1.0)
    compress = {"gz": gzip.compress, "bz2": bz2.compress}[ending]
    packed = bytearray(compress((tmp_path / "s.mrcs").read_bytes()))
    if keep == 1.0:
        packed[12:52] = b"\xff" * 40
    path = tmp_path / f"s.mrcs.{ending}"
    path.write_bytes(packed[: int(np.ceil(keep * len(packed)))])
    with pytest.raises(InputError, match=rf"s\.mrcs\.{ending} is "):
        open_stack(path)
    with contextlib.suppress(InputError):  # the header itself may be whole
        read_header(path, "a row")


def test_yaml_that_is_not_utf8_is_one_sentence(tmp_path):
    (tmp_path / "a.yaml").write_bytes("note: Ångström\n".encode("latin-1"))
    with pytest.raises(StateError, match=r"a\.yaml is not valid YAML .*utf-8"):
        read_yaml(tmp_path / "a.yaml")


def test_progress_says_how_much_is_left(capsys):
    with Progress(4, "work", interval_seconds=0) as progress:
        progress.advance(2, "loss 0.5")
    line = capsys.readouterr().err
    assert "work: 2/4 (50 %)" in line
    assert "left" in line
    assert "loss 0.5" in line
    assert duration(42) == "42 s"
    assert duration(185) == "3 min 05 s"
    assert duration(7800) == "2 h 10 min"


def test_removal_that_is_killed_leaves_nothing_under_the_name(tmp_path, monkeypatch):
    state = tmp_path / "state"

    def filled():
        state.mkdir()
        (state / "checkpoint.json").write_text("{}")

    def killed(path, ignore_errors=False):
        if path.exists():
            raise KeyboardInterrupt

    filled()
    with monkeypatch.context() as patch:
        patch.setattr("tomopipe.io.atomic.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_directory(state)
    assert not state.exists()
    filled()
    remove_directory(state)
    assert not list(tmp_path.iterdir())
