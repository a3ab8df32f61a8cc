"""Sizes in words, and a refusal before a disk fills up."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tomopipe.errors import StateError
from tomopipe.io.space import check_space, size_words


@pytest.mark.parametrize(
    ("size", "words"),
    [(999, "999 bytes"), (1000, "1.0 kB"), (9_949_999, "9.9 MB"), (999_600_000, "1.0 GB")],
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert size_words(size) == words


def test_what_fits_is_let_pass_and_what_does_not_is_one_sentence(tmp_path: Path) -> None:
    check_space(tmp_path, 0, "the store needs", "choose another disk")
    more = 2 * shutil.disk_usage(tmp_path).total
    with pytest.raises(StateError) as caught:
        check_space(tmp_path, more, "the store needs", "choose another disk")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path} has ")
    assert said.endswith(f"the store needs {size_words(more)} more there: choose another disk")
