"""A stamp changes when contents do, and not with times, places or what is away for a while."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tomopipe.lineage import digest, watched
from tomopipe.lineage.watched import Watch


@pytest.fixture
def star(tmp_path: Path) -> Path:
    """An optimisation set, as RELION names files: from the folder of the project."""
    project = tmp_path / "project"
    job = project / "Refine3D" / "job007"
    job.mkdir(parents=True)
    (job / "run_data.star").write_text("data_particles\n")
    (project / "tomograms.star").write_text("data_global\n")
    text = "data_\n_rlnTomoParticlesFile Refine3D/job007/run_data.star\n"
    text += "_rlnTomoTomogramsFile 'tomograms.star'\n"
    (job / "run_optimisation_set.star").write_text(text)
    return job / "run_optimisation_set.star"


class Stamps:
    """Stamps of new processes, each with the memory of those before."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.memory, self.made = folder / "memory.json", folder / "made"
        self.made.write_text("")

    def of(self, *paths: Path) -> str:
        watch = Watch(self.memory, self.said.append)
        again = [watch.stamp(paths, self.made) for _ in range(2)]
        assert again[0] == again[1]
        return again[0]


@pytest.fixture
def stamps(tmp_path: Path) -> Stamps:
    return Stamps(tmp_path)


def test_what_a_set_names_counts_by_its_content(star: Path, stamps: Stamps) -> None:
    before = stamps.of(star)
    particles = star.with_name("run_data.star")
    os.utime(particles, ns=(1, 1))
    assert stamps.of(star) == before
    particles.write_text("data_particles\n# refined\n")
    assert stamps.of(star) != before
    particles.write_text("data_particles\n")
    assert stamps.of(star) == before
    (star.parents[2] / "tomograms.star").write_text("data_global\n# M\n")
    assert stamps.of(star) != before


def test_what_is_away_counts_as_it_was_seen(star: Path, stamps: Stamps) -> None:
    before = stamps.of(star)
    star.rename(star.with_suffix(".away"))
    assert stamps.of(star) == before
    assert len(stamps.said) == 1 and str(star) in stamps.said[0]
    # but for something that is to be made of it, or without memory
    assert Watch(stamps.memory, print).stamp([star], stamps.made / "not") != before
    stamps.memory.write_text("damaged")
    assert stamps.of(star) != before


def test_only_what_has_changed_is_read_again(
    star: Path, stamps: Stamps, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps.of(star)
    read: list[str] = []
    digest = watched.file_digest

    def noted(path: Path, **how: bool) -> str:
        read.append(path.name)
        return digest(path, **how)

    monkeypatch.setattr(watched, "file_digest", noted)
    stamps.of(star)
    assert read == []
    star.with_name("run_data.star").write_text("data_\n")
    stamps.of(star)
    assert read == ["run_data.star"]


def test_of_a_folder_its_text_files_count(tmp_path: Path, stamps: Stamps) -> None:
    folder = tmp_path / "aligned"
    (folder / "one").mkdir(parents=True)
    (folder / "one" / "one.xf").write_text("1\n")
    before = stamps.of(folder)
    (folder / "one" / "one.mrc").write_text("image")
    assert stamps.of(folder) == before
    (folder / "two.tlt").write_text("2\n")
    assert stamps.of(folder) != before


def test_a_large_file_counts_to_its_last_byte(
    star: Path, stamps: Stamps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lineage samples large files; a corrected row of a STAR file must not be missed."""
    monkeypatch.setattr(digest, "LARGE_BYTES", 1 << 10)
    monkeypatch.setattr(digest, "_BLOCK", 16)
    particles = star.with_name("run_data.star")
    rows = ["data_particles\n"] + [f"row {n:04d}\n" for n in range(1000)]
    particles.write_text("".join(rows))
    before = stamps.of(star)
    rows[50] = "row 9999\n"
    particles.write_text("".join(rows))
    assert stamps.of(star) != before


def test_a_closed_file_is_not_there(star: Path, stamps: Stamps) -> None:
    closed = star.with_name("run_data.star")
    real = Path.is_file

    def is_file(path: Path) -> bool:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "is_file", is_file)
        assert stamps.of(star) and stamps.of(closed)


def test_where_nothing_can_be_remembered_it_is_read(star: Path, tmp_path: Path) -> None:
    watch = Watch(tmp_path / "made" / "memory.json", print)
    (tmp_path / "made").write_text("a file, no folder")
    assert watch.stamp([star], tmp_path / "made")
