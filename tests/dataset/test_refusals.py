"""What was taken silently for something else is refused, or read as what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dataset.importing.conftest import Made, make
from tomopipe.config.prepare import PrepareSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.particles import ParticleSet
from tomopipe.dataset.prepare import prepare
from tomopipe.errors import InputError, StateError
from tomopipe.extract.particles import read_particles


def halves(made: Made, folder: Path) -> list[int]:
    import_star(made.write(), folder)
    return ParticleSet.load(folder).particles["half"].tolist()


@pytest.mark.parametrize(
    ("dialect", "column"),
    [
        ("relion31", "rlnRandomSubset"),
        ("relion5", "rlnRandomSubset"),
        ("cistem", "cisTEMAssignedSubset"),
    ],
)
def test_half_sets_are_those_of_the_file_or_none_at_all(
    dialect: str, column: str, tmp_path: Path
) -> None:
    made = make(dialect, tmp_path, tilts=1)
    given = [1, 1, 2, 2, 1, 2]
    made.table = made.table.assign(**{column: [str(half) for half in given]})
    assert halves(made, tmp_path / "given") == given
    made.table.loc[3, column] = "0"
    with pytest.raises(InputError, match=rf"column {column} row 4 is 0, .*set it to 1 or 2, or"):
        halves(made, tmp_path / "mixed")
    # as RELION writes them before it has drawn any
    made.table[column] = "0"
    drawn = halves(made, tmp_path / "zero")
    made.table = made.table.drop(columns=column)
    assert halves(made, tmp_path / "without") == drawn
    assert drawn.count(1) == drawn.count(2) == 3


@pytest.mark.parametrize("dialect", ["relion5", "warptools"])
def test_an_at_in_a_folders_name_is_no_image_number(dialect: str, tmp_path: Path) -> None:
    folder = tmp_path / "me@lab"
    made = make(dialect, folder)
    made.table["rlnImageName"] = [f"{folder}/{name}" for name in made.table["rlnImageName"]]
    made.write()
    import_star(made.star, tmp_path / "out")
    assert ParticleSet.load(tmp_path / "out").info["dialect"] == dialect
    assert len(read_particles(made.star)) == len(made.table)
    made.table["rlnImageName"] = "000001@" + made.table["rlnImageName"]
    made.write()
    with pytest.raises(InputError, match="rlnImageName names single images"):
        read_particles(made.star)


@pytest.mark.parametrize("out", [".", ".."])
def test_a_store_does_not_take_the_place_of_the_folder_one_is_in(
    tiny, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(StateError, match="holds the working directory"):
        prepare(tiny.dataset, Path(out), PrepareSettings(workers=1))
    assert [path.name for path in (tmp_path / "a").rglob("*")] == ["b"]
