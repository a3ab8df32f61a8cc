"""Images that change after they were imported."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.faults.conftest import ONE, Packed
from tomopipe.dataset.changed import changed_stacks, changed_words
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare
from tomopipe.errors import InputError
from tomopipe.io.atomic import read_json
from tomopipe.io.mrc import open_stack, write_stack


@pytest.fixture
def imported(packed: Packed, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the source with its import, and one of its stacks."""
    source = Path(shutil.copytree(packed.star.parent, tmp_path / "source"))
    import_star(source / packed.star.name, tmp_path / "dataset")
    return tmp_path / "dataset", sorted(source.rglob("*.mrcs"))[0]


def _brighten(stack: Path) -> None:
    with open_stack(stack) as reader:
        images, pixel_size = reader.read(range(reader.shape[0])), reader.pixel_size
    write_stack(stack, images + 1, pixel_size)


@pytest.mark.fault(
    "A stack is changed between its import and its packing",
    "Packing refuses it with a sentence that names the stack: put it back or import again; the new "
    "import is packed anew.",
)
def test_stack_changed_before_it_is_packed(imported: tuple[Path, Path], tmp_path: Path) -> None:
    dataset, stack = imported
    before = read_json(dataset / "import.json")
    original = stack.read_bytes()
    _brighten(stack)
    with pytest.raises(InputError, match=f"{stack} is not what was imported: put the images back"):
        prepare(dataset, tmp_path / "store", ONE)
    assert not (tmp_path / "store").exists()
    import_star(before["star"], dataset)
    assert read_json(dataset / "import.json")["stacks"] != before["stacks"]
    stack.write_bytes(original)
    import_star(before["star"], dataset)
    assert read_json(dataset / "import.json") == before
    os.utime(stack)  # the date alone says nothing
    prepare(dataset, tmp_path / "store", ONE)


@pytest.mark.fault(
    "A stack is changed or removed after its packing",
    "The results stay those of the images that were packed; snakemake says at the end of the next "
    "run which stack it is and how to import it again.",
)
def test_stack_changed_after_it_was_packed(imported: tuple[Path, Path]) -> None:
    dataset, stack = imported
    assert changed_stacks(dataset, recent=True) == []
    os.utime(stack)
    assert changed_stacks(dataset, recent=True) == []
    _brighten(stack)
    assert changed_stacks(dataset, recent=True) == [str(stack)]
    stack.unlink()
    assert changed_stacks(dataset, recent=True) == [str(stack)]
    assert "--forcerun import_particles" in changed_words([str(stack)])
