"""Foreign pickles: numpy arrays pass, anything that could run code does not."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import tomopipe
from tomopipe.errors import InputError
from tomopipe.io.foreign_pickle import read_arrays, read_ctf, read_poses


class Evil:
    """Unpickled by anything else, it leaves a file."""

    trace: ClassVar[Path]

    def __reduce__(self):
        return os.system, (f"touch '{self.trace}'",)


@pytest.fixture(autouse=True)
def trace(tmp_path, monkeypatch):
    monkeypatch.setattr(Evil, "trace", tmp_path / "was-here", raising=False)
    return Evil.trace


def test_the_bait_works(trace):
    pickle.loads(pickle.dumps(Evil()))
    assert trace.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_arrays_pass(tmp_path, protocol, dtype):
    arrays = (np.arange(12, dtype=dtype).reshape(4, 3), np.ones(2, dtype=dtype))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(arrays, protocol=protocol))
    found = read_arrays(tmp_path / "a.pkl")
    for one, two in zip(arrays, found, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype


@pytest.mark.parametrize(
    "content",
    [Evil(), [np.ones(2), Evil()], np.array([Evil()], dtype=object), {"a": 1}, "text", print, 3],
)
def test_anything_else_is_refused(tmp_path, trace, content):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError) as caught:
        read_arrays(tmp_path / "a.pkl")
    assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps(np.ones(99))[:-30]])
def test_damaged_files(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.pkl"):
        read_arrays(tmp_path / "a.pkl")


def test_shapes(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps((np.ones((4, 3, 3), "f4"), np.ones((4, 2)))))
    assert read_poses(path)[0].shape == (4, 3, 3)
    with pytest.raises(InputError, match="CTF"):
        read_ctf(path)
    path.write_bytes(pickle.dumps(np.ones((4, 9))))
    assert read_ctf(path).shape == (4, 9)
    with pytest.raises(InputError, match="pose"):
        read_poses(path)
    with pytest.raises(InputError, match="does not exist"):
        read_ctf(tmp_path / "b.pkl")


def test_no_pickle_is_written_or_read_anywhere_else():
    """In tomoDRGN and cryoDRGN everything is a pickle, which runs whatever stands in it."""
    package = Path(tomopipe.__file__).parent
    words = re.compile(r"import pickle|torch\.(save|load)\(|joblib|allow_pickle=True|read_pickle")
    users = {p.name for p in package.rglob("*.py") if words.search(p.read_text(encoding="utf-8"))}
    assert users == {"foreign_pickle.py"}
