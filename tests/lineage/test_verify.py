"""`tomopipe verify` names every file that is not what its lineage says, and how to mend it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lineage.conftest import Run, config_of
from tomopipe.cli.main import main
from tomopipe.config import STEP_FORMAT
from tomopipe.io.atomic import read_json, write_json, write_text
from tomopipe.lineage.verify import Verified, verify


def found(verified: Verified, root: Path) -> list[tuple[str, str]]:
    return [(f.what, str(f.file.relative_to(root.absolute()))) for f in verified.findings]


def test_what_was_just_made_holds(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert found(verify(run.root, run.config), run.root) == []
    assert main(["verify", str(run.root)]) == 0
    assert "all holds" in capsys.readouterr().out


def test_a_moved_tree_holds_without_the_users_files(run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.move(run.root, moved)
    (run.folder / "outside.star").unlink()
    verified = verify(moved)
    assert verified.findings == []
    assert "outside.star" in verified.notes[0]


def _append(path: str) -> Callable[[Run], None]:
    return lambda run: write_text(run.root / path, (run.root / path).read_text() + "\n# more")


def _remove(path: str) -> Callable[[Run], None]:
    return lambda run: (run.root / path).unlink()


def _older(run: Run) -> None:
    path = run.root / "branches/a/linear/lineage.json"
    write_json(path, read_json(path) | {"step_format": STEP_FORMAT["linear"] - 1})


def _other_clusters(run: Run) -> None:
    path = run.root / "branches/a/analysis/analysis.json"
    write_json(path, {"fingerprint": "sha256:other"})


@pytest.mark.parametrize(
    ("spoil", "expected", "again"),
    [
        (
            _append("branches/a/linear/model.safetensors"),
            [("changed", "branches/a/linear/model.safetensors")],
            "branches/a/linear/latents.parquet",
        ),
        (
            _remove("branches/a/analysis/clusters.parquet"),
            [("missing", "branches/a/analysis/clusters.parquet")],
            "branches/a/analysis/analysis.json",
        ),
        (
            lambda run: run.linear("a", "another model"),
            [("older input", "branches/a/analysis/analysis.json")],
            "branches/a/analysis/analysis.json",
        ),
        (
            lambda run: write_text(run.folder / "outside.star", "data_others\n"),
            [("older input", "datasets/d/import.json")],
            "datasets/d/import.json",
        ),
        (
            _append("branches/a/selection.yaml"),
            [("stale decision", "branches/b/selected.parquet")],
            "branches/b/selected.parquet",
        ),
        (
            _other_clusters,
            [
                ("changed", "branches/a/analysis/analysis.json"),
                ("stale decision", "branches/a/selection.yaml"),
            ],
            "branches/a/analysis/analysis.json",
        ),
        (_older, [("older format", "branches/a/linear")], "branches/a/linear/latents.parquet"),
        (
            _remove("branches/b/linear/lineage.json"),
            [("no lineage", "branches/b/linear")],
            None,
        ),
        (
            lambda run: write_text(run.root / "branches/b/linear/lineage.json", "{"),
            [("no lineage", "branches/b/linear/lineage.json")],
            None,
        ),
    ],
)
def test_what_does_not_hold_is_named(
    run: Run,
    spoil: Callable[[Run], None],
    expected: list[tuple[str, str]],
    again: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(run)
    verified = verify(run.root)
    assert found(verified, run.root) == expected
    assert [str(p.relative_to(run.root)) for p in verified.again] == ([again] if again else [])
    assert main(["verify", str(run.root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{expected[0][0]}: ")
    assert lines[-1].startswith("to mend: ") and (again or "") in lines[-1]


def test_a_decision_that_cannot_be_read_is_a_finding(run: Run) -> None:
    """The list of findings goes on after it."""
    path = run.root / "branches/a/selection.yaml"
    path.write_text(path.read_text() + "clusters: [\n")
    assert ("changed", "branches/a/selection.yaml") in found(verify(run.root), run.root)


def test_settings_are_those_of_the_config(run: Run) -> None:
    other = config_of(run.root, components=5)
    verified = verify(run.root, other)
    assert found(verified, run.root) == [
        ("other settings", f"branches/{branch}/linear/latents.parquet") for branch in "ab"
    ]
    assert "components: 3, the config has 5" in verified.findings[0].sentence


def test_quick_trusts_size_and_time_and_reads_what_has_another(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tomopipe.lineage import verify as module

    path = run.root / "branches/a/linear/latents.parquet"
    hashed: list[Path] = []
    real = module.file_digest
    monkeypatch.setattr(module, "file_digest", lambda p: hashed.append(p) or real(p))
    (run.root / "branches/a/linear/model.safetensors").touch()
    assert verify(run.root, quick=True).findings == []
    assert {p.name for p in hashed} == {"model.safetensors", "selection.yaml"}
    write_text(path, path.read_text().upper())  # same size
    assert [f.what for f in verify(run.root, quick=True).findings] == ["changed"]


def test_json_says_the_same(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (run.root / "branches/b/linear/model.safetensors").unlink()
    assert main(["verify", str(run.root), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["holds"] is False
    assert [f["what"] for f in said["findings"]] == ["missing"]
    assert said["do"].endswith("branches/b/linear/latents.parquet")


@pytest.mark.parametrize("words", [["nowhere"], ["."], []])
def test_bad_input_exits_with_2(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", *words]) == 2
