"""STAR files come back as they were, value for value, and damaged ones are refused."""

from __future__ import annotations

import string
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomopipe.errors import InputError
from tomopipe.io.star import Block, quoted, read_star, write_star

words = st.one_of(
    st.text(string.ascii_letters + string.digits + "._-+@/[],#'\"", min_size=1, max_size=8),
    st.sampled_from(
        [
            "000_000000",
            "001",
            "1.500",
            "1e-05",
            "0x1",
            "-0.0",
            "1_000",
            "nan",
            "inf",
            "NA",
            "null",
            "None",
            "True",
            "",
            "two words",
            "#1",
            "it's",
            "a#b",
            "[1,0,1]",
        ]
    ),
).filter(lambda word: not ("'" in word and '"' in word) and not word.startswith(("data_", "_")))


def round_trip(blocks):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.star"
        write_star(path, blocks)
        return read_star(path)


@given(st.lists(st.lists(words, min_size=3, max_size=3), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_words_survive(rows):
    table = pd.DataFrame(rows, columns=["rlnA", "rlnB", "rlnC"]).astype("str")
    found = round_trip([Block("particles", table)])["particles"]
    assert found.to_numpy().tolist() == rows
    assert found.dtypes.equals(table.dtypes)


def test_every_spelling_of_a_missing_value_survives():
    rows = [["nan", "NaN", "<NA>"], ["NA", "null", "None"], ["1", "NaNa", "x<NA>"]]
    table = pd.DataFrame(rows, columns=["rlnA", "rlnB", "rlnC"]).astype("str")
    assert round_trip([Block("particles", table)])["particles"].to_numpy().tolist() == rows


@given(st.lists(words, min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_single_values_survive(values):
    table = pd.DataFrame({f"rln{k}": [v] for k, v in enumerate(values)}).astype("str")
    star = round_trip([Block("", table, loop=False), Block("x", table)])
    assert star[""].iloc[0].tolist() == values and not star.blocks[""].loop


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("2 # a comment", "2"),
        ("/data/o'neil/particles.star", "/data/o'neil/particles.star"),
        ("'two words' # a comment", "two words"),
        ("a#b", "a#b"),
    ],
)
def test_hashes_and_apostrophes_are_values_or_comments(tmp_path, line, value):
    path = tmp_path / "a.star"
    loop = f"data_b\nloop_ # rows\n_rlnA #1\n_rlnB #2\n1 {line}\n2 x\n"
    path.write_text(f"data_a\n_rlnA 1\n_rlnB {line}\n\n{loop}")
    star = read_star(path)
    assert star["a"].to_numpy().tolist() == [["1", value]] and not star.blocks["a"].loop
    assert star["b"].to_numpy().tolist() == [["1", value], ["2", "x"]]


def test_long_tables_are_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("tomopipe.io.star._ROWS_AT_ONCE", 4)
    for count in (3, 4, 5, 8):
        rows = [[f"{k}", "'a b'" if k % 3 else "c"] for k in range(count)]
        table = pd.DataFrame(rows, columns=["rlnA", "rlnB"]).astype("str")
        found = round_trip([Block("x", table), Block("y", table)])
        for name in "xy":
            pd.testing.assert_frame_equal(found[name], table)


def test_numbers_keep_their_digits(tmp_path):
    path = tmp_path / "a.star"
    path.write_text(
        "\n# version 30001\n\ndata_optics\n\nloop_ \n_rlnOpticsGroup #1 \n_rlnVoltage #2 \n"
        "           1   300.000000 \n \n\n# version 30001\n\ndata_particles\n\nloop_\n"
        "_rlnGroupName\n"
        "_rlnX #2 \n_rlnY\n000_000000 1.50 -0.0\n\n001 1e-5 <NA>\n"
    )
    star = read_star(path)
    assert star["optics"].iloc[0].tolist() == ["1", "300.000000"]
    assert star["particles"]["rlnGroupName"].tolist() == ["000_000000", "001"]
    assert star["particles"]["rlnX"].tolist() == ["1.50", "1e-5"]
    assert star.blocks["particles"].comments == ("# version 30001",)
    assert star.find("rlnX", "rlnY") == "particles" and star.find("rlnZ") is None


def test_a_file_that_changed_is_read_anew(tmp_path):
    path = tmp_path / "a.star"
    for value in ("1", "2"):
        path.write_text(f"data_\nloop_\n_rlnA\n{value}\n")
        assert read_star(path)[""]["rlnA"].tolist() == [value]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no data_ block"),
        ("hello\n", "line 1"),
        ("data_a\nloop_\n_rlnA\n_rlnB\n1 2\n3\n", "block data_a row 2 has 1 values for 2 columns"),
        ("data_a\nloop_\n_rlnA\n_rlnB\n1 2\n3 4 5\n", "row 2 has 3 values"),
        ("data_a\nloop_\n_rlnA\n_rlnA\n1 2\n", "column rlnA twice"),
        ("data_a\nloop_\n_rlnA\n1\ndata_a\nloop_\n_rlnB\n1\n", "two blocks"),
        ("data_a\n_rlnA\n", "one value for rlnA"),
        ("data_a\nloop_\n_rlnA\ndata_set/x.mrc\n", "data_set/x.mrc holds nothing"),
        ("data_a\nloop_\n_rlnA\n_rlnB\ndata_set/x.mrc 2\n", "begins with data_"),
        ("data_a\n_rlnA 1\nfoo bar\n", "label"),
        ("data_a\n_rlnA 1\nloop_\n_rlnB\n2\n", "line 3 begins a second table in block data_a"),
    ],
)
def test_damage_is_one_sentence(tmp_path, text, words):
    path = tmp_path / "a.star"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_star(path)
    assert words in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_star(tmp_path / "no.star")
    (tmp_path / "b.star").write_bytes(b"\xff\xfe\x00\x81" * 20)
    with pytest.raises(InputError, match="not a text file"):
        read_star(tmp_path / "b.star")


def test_empty_table_is_kept(tmp_path):
    path = tmp_path / "a.star"
    path.write_text("data_a\nloop_\n_rlnA\n_rlnB\n\ndata_b\nloop_\n_rlnC\n1\n")
    star = read_star(path)
    assert list(star["a"].columns) == ["rlnA", "rlnB"] and not len(star["a"])


def test_quotes():
    assert [quoted(word) for word in ("a", "", "a b", 'a "b', "#a")] == [
        "a",
        '""',
        '"a b"',
        "'a \"b'",
        '"#a"',
    ]
