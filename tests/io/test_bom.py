"""Editors of Windows put a byte order mark before the first word of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tomopipe.io.star import read_star

TEXT = "data_particles\n\nloop_\n_rlnA #1\n_rlnB #2\n1.500 å\n"


@pytest.mark.parametrize("before", ["", "# version 50001\n\n"])
def test_a_mark_is_no_part_of_a_star_file(before: str, tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain.star", tmp_path / "marked.star"
    plain.write_text(before + TEXT, encoding="utf-8")
    marked.write_text(before + TEXT, encoding="utf-8-sig")
    assert marked.read_bytes()[:3] == b"\xef\xbb\xbf"
    for star in (plain, marked):
        block = read_star(star).blocks["particles"]
        assert block.table.to_numpy().tolist() == [["1.500", "å"]]
        assert block.comments == tuple(before.split("\n")[:1] if before else ())
