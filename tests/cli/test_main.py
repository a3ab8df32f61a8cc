"""The command line: errors in one sentence with exit code 2, flags from settings, no slow start."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

import tomopipe
from tomopipe.cli.main import VERBS, main
from tomopipe.cli.settings import add_settings, read_settings
from tomopipe.config.base import Section
from tomopipe.errors import ConfigError

HEAVY = ("torch", "pandas", "numpy", "scipy", "sklearn", "umap", "matplotlib", "snakemake")


class Example(Section):
    """Settings with every kind of field."""

    count: int = Field(3, ge=1, description="a number (particles)")
    rate: float = Field(0.5, description="100 % of a number")
    fast: bool = Field(True, description="a switch")
    kind: Literal["none", "all"] = Field("all", description="a choice")
    limit: float | None = Field(None, description="a number or nothing")
    auto: bool | Literal["auto"] = Field("auto", description="a switch or auto")
    names: tuple[str, ...] = Field((), description="a list")


def settings(*words: str) -> Example:
    parser = argparse.ArgumentParser()
    add_settings(parser, Example)
    return read_settings(parser.parse_args(words), Example)


def test_flags_come_from_the_fields() -> None:
    assert settings() == Example()
    given = settings("--count", "7", "--rate", "1e-3", "--no-fast", "--kind", "none")
    assert given == Example(count=7, rate=1e-3, fast=False, kind="none")
    assert settings("--limit", "2").limit == 2
    assert settings("--limit", "null").limit is None
    assert settings("--auto", "true").auto is True
    assert settings("--names", '["a", "b"]').names == ("a", "b")


def test_a_flag_wins_over_the_json() -> None:
    assert settings("--settings", '{"count": 5, "rate": 2}', "--count", "6") == Example(
        count=6, rate=2
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--count", "0"), "count: should be greater than or equal to 1, but is '0'"),
        (("--count", "many"), "count: "),
        (("--settings", '{"cuont": 1}'), "cuont: unknown setting; did you mean 'count'?"),
        (("--settings", "{"), "--settings: is not valid JSON"),
        (("--settings", "[1]"), "--settings: must be a JSON object"),
        (("--names", "[a"), "--names: '[a' is not valid JSON"),
    ],
)
def test_wrong_settings_are_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(*words)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_is_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = main(["prepare", str(tmp_path / "nothing"), "--out", str(tmp_path / "store")])
    said = capsys.readouterr()
    assert code == 2
    assert said.err.startswith("tomopipe: ")
    assert said.err.count("\n") == 1
    assert "nothing" in said.err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("prepare empty --out store", "empty/import.json is missing"),
        ("prepare file --out store", "file is a file: give the folder that holds import.json"),
        ("prepare nothing --out store", "nothing/import.json is missing"),
        ("import empty --out out", "empty is a folder: give the STAR file in it"),
        ("import file --out out", "file is not a STAR file"),
        ("consensus file --out out", "file is a file: give the folder that holds store.json"),
        ("linear empty --out out", "empty/store.json is missing"),
        ("train empty --out out", "empty/store.json is missing"),
        ("convergence empty --out out", "metrics.jsonl is missing"),
        ("analyze empty empty --out out", "latents.parquet is missing"),
        ("export empty empty --out out", "clusters.parquet is missing"),
        ("select empty --out out", "particles.parquet is missing"),
        ("report nothing --config run.yaml --out out", "nothing is not a folder"),
        ("report empty --out out", "config/config.yaml: cannot be read"),
        ("recover empty --config run.yaml --out out", "no dataset of this config is simulated"),
        ("volumes empty --out out", "give at least one --z or --uid"),
        ("volumes empty --z 1,x --out out", "'1,x' is not a list of numbers"),
        ("volumes empty --z 1 --box 7 --out out", "--box: must be even and at least 8"),
        ("compare fsc empty file", "empty is a folder: give the MRC file in it"),
        ("compare fsc file file", "file is not a readable MRC file"),
        ("config check typo.yaml", "branches.b.linaer: unknown setting; did you mean 'linear'?"),
        ("simulate particles --out file/out --particles 4 --box 8", "file cannot be used (File"),
        ("simulate particles --out file --box 8", "file is a file: give a folder to write to"),
    ],
)
def test_wrong_paths_and_typos_are_one_sentence(
    words: str,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no star")
    branch = "results: r\ndatasets: {a: {particles: p.star}}\nbranches: {b: {dataset: a, %s: {}}}\n"
    (tmp_path / "run.yaml").write_text(branch % "linear")
    (tmp_path / "typo.yaml").write_text(branch % "linaer")
    before = sorted(tmp_path.rglob("*"))
    assert main(words.split()) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tomopipe:")]
    assert len(lines) == 1
    assert sentence in lines[0]
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left behind"
    assert (tmp_path / "file").read_text() == "no star"


def test_an_unknown_verb_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "no verb 'trian': did you mean 'train'?" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == f"tomopipe {tomopipe.__version__}"


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"  {verb} " in text for verb in VERBS)


def test_every_verb_has_help_without_heavy_imports() -> None:
    script = (
        "import json, sys\n"
        "from tomopipe.cli.main import VERBS, _load, _parser\n"
        "for verb in VERBS: _parser(verb, _load(verb)).format_help()\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    loaded = {name.split(".")[0] for name in json.loads(result.stdout)}
    assert not loaded.intersection(HEAVY)


def test_threads_are_told_before_anything_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "NUMBA"):
        monkeypatch.setenv(f"{name}_NUM_THREADS", "1")  # noted, so that it is undone
    main(["prepare", "nothing", "--out", "nowhere", "--threads", "3"])
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_config_check_says_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = Path(__file__).parents[2] / "config" / "config.yaml"
    assert main(["config", "check", str(shipped)]) == 0
    assert "pilot -> clean (data set demo): consensus, linear, heterogeneous" in (
        capsys.readouterr().out
    )
