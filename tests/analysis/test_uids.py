"""Lists of particles that people make, as spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tomopipe.analysis.uids import read_uids
from tomopipe.errors import InputError


@pytest.mark.parametrize(("value", "shown"), [("yes", "'yes'"), ("no", "'no'"), ("", "nan")])
def test_what_is_neither_true_nor_false_is_refused(value: str, shown: str, tmp_path: Path) -> None:
    path = tmp_path / "uids.csv"
    path.write_text(f"uid,kept\nt/1,true\nt/2,{value}\n")
    with pytest.raises(InputError, match=f"kept of 't/2' is {shown}: write true or false"):
        read_uids(path, tmp_path)


def test_only_what_is_kept_counts(tmp_path: Path) -> None:
    words = ["TRUE", "FALSE ", "1", "0", "true", "False"]
    rows = [f"t/{i},{word}" for i, word in enumerate(words)]
    path = tmp_path / "uids.csv"
    path.write_text("\n".join(["uid,kept", *rows]) + "\n")
    assert read_uids(path, tmp_path) == ["t/0", "t/2", "t/4"]
    table = pd.DataFrame({"uid": ["t/0", "t/1"], "kept": [False, True]})
    table.to_parquet(tmp_path / "uids.parquet")
    assert read_uids(tmp_path / "uids.parquet", tmp_path) == ["t/1"]


@pytest.mark.parametrize(("name", "head"), [("uids.txt", ""), ("uids.csv", "uid\n")])
def test_the_mark_of_windows_is_no_part_of_a_uid(name: str, head: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(f"{head}t/1\nt/2\n", encoding="utf-8-sig")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert read_uids(path, tmp_path) == ["t/1", "t/2"]
