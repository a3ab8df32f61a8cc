"""`tomopipe fetch` and its rule: by flags, by config, and before the import of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fetch.server import Server
from tests.workflow.plan import planned, pretend_done, snakemake
from tomopipe.cli.main import main
from tomopipe.config import parse_config
from tomopipe.errors import ConfigError


def run_of(server: Server, **download: Any) -> dict[str, Any]:
    """A config whose STAR file comes from the server."""
    source = {"url": f"{server.address}/set", "to": "data", "files": ["*"], **download}
    return {
        "results": "out",
        "downloads": {"stacks": source},
        "datasets": {"box": {"fetch": ["stacks"], "particles": "data/particles.star"}},
        "branches": {"all": {"dataset": "box", "consensus": {}}},
    }


def test_list_says_what_is_there_and_loads_nothing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = server.serve("/set/a.star", b"data_")
    server.serve("/set/b.mrcs", bytes(2048))
    to = str(tmp_path / "data")
    assert main(["fetch", "--url", f"{server.address}/set", "--to", to, "--list"]) == 0
    said = capsys.readouterr().out
    assert "5 bytes    a.star" in said and "2.0 kB    b.mrcs" in said and "in 2 files" in said
    assert main(["fetch", "--url", f"{server.address}/set", "--to", to, "--list", "*.star"]) == 0
    assert "b.mrcs" not in capsys.readouterr().out
    assert main(["fetch", "--url", f"{server.address}/set", "--to", to, "--list", "a.star"]) == 0
    assert "5 bytes    a.star" in capsys.readouterr().out
    record = ["--record", str(tmp_path / "record.json")]
    assert main(["fetch", "--url", f"{server.address}/set", "--to", to, "--list", *record]) == 2
    assert "leave it out with --list" in capsys.readouterr().err
    assert file.sent == 0 and not Path(to).exists()
    assert main(["fetch", "--url", f"{server.address}/set", "--to", to, "*.star"]) == 0
    assert (Path(to) / "a.star").read_bytes() == b"data_"


def test_downloads_of_a_config(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    server.serve("/set/particles.star", b"data_")
    config = tmp_path / "my.yaml"
    config.write_text(yaml.safe_dump(run_of(server, files=[])))
    assert main(["fetch", "--config", "my.yaml", "--list"]) == 0
    assert "particles.star" in capsys.readouterr().out
    assert main(["fetch", "--config", "my.yaml"]) == 2
    assert "no files are chosen" in capsys.readouterr().err
    config.write_text(yaml.safe_dump(run_of(server)))
    assert main(["fetch", "--config", "my.yaml", "--download", "stakcs"]) == 2
    assert "known are stacks" in capsys.readouterr().err
    assert main(["fetch", "--config", "my.yaml", "--download", "stacks"]) == 0
    assert (tmp_path / "data" / "particles.star").exists()


def test_settings_do_not_go_with_a_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "--config", "my.yaml", "--attempts", "3"]) == 2
    assert "--attempts does not go with --config" in capsys.readouterr().err


def test_a_data_set_names_downloads_that_exist(server: Server) -> None:
    run = run_of(server)
    run["datasets"]["box"]["fetch"] = ["stack"]
    with pytest.raises(ConfigError, match="unknown download 'stack': known are stacks"):
        parse_config(run)
    run = run_of(server)
    cut = {"tilt_series": "cell", "particles": "p.star", "box": 32, "pixel_size_angstrom": 10}
    run["tilt_series"] = {"cell": {"fetch": ["stacks"], "path": "data/tomograms.star"}}
    run["datasets"]["box"] = {"extract": cut}
    assert parse_config(run).downloads_of("box") == ("stacks",)


def test_the_rule_runs_before_the_import_and_a_file_that_came_re_runs_nothing(
    server: Server, tmp_path: Path
) -> None:
    server.serve("/set/particles.star", b"data_\n")
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(run_of(server, connections=2)))
    pretend_done(tmp_path, config)
    star = tmp_path / "data" / "particles.star"
    star.parent.mkdir()
    star.write_bytes(b"data_\n")
    config.write_text(yaml.safe_dump(run_of(server, connections=4, attempts=2)))
    assert set(planned(tmp_path, config)) == {"writing the report"}
    star.unlink()
    config.write_text(yaml.safe_dump(run_of(server, files=["*.star"])))
    jobs = snakemake(tmp_path, "--configfile", str(config), "--cores", "1", "--until", "fetch")
    assert jobs.returncode == 0, jobs.stderr
    assert star.read_bytes() == b"data_\n"
