"""Conda environment and container recipes: whole, and of the versions that are tested."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKER = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "CMD"}
SECTIONS = {"arguments", "files", "post", "runscript"}
PLACE = "/opt/tomopipe"


def dockerfile() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile, in order."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest) for name, rest in (line.split(maxsplit=1) for line in lines)]


def definition() -> tuple[dict[str, str], dict[str, list[str]]]:
    """Header and sections of apptainer.def."""
    head, *parts = re.split(
        r"^%", (ROOT / "apptainer.def").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    lines = [line for line in head.splitlines() if line.strip() and not line.startswith("#")]
    header = dict(line.split(": ") for line in lines)
    sections = {}
    for part in parts:
        name, *body = part.splitlines()
        sections[name.strip()] = [line.strip() for line in body if line.strip()]
    return header, sections


def copied() -> dict[str, str]:
    """Where each source of the Dockerfile's COPY goes."""
    found = {}
    for name, rest in dockerfile():
        if name == "COPY":
            *sources, target = shlex.split(rest)
            folder = target.endswith("/")
            for source in sources:
                found[source] = target + source if folder else target
    return found


def pip_arguments(command: str) -> list[str]:
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "pip", "install"]
    return words[4:]


def extras(requirement: str) -> set[str]:
    """Extras of `.[a,b]`."""
    found = re.fullmatch(r"\.\[([\w,]+)\]", requirement)
    assert found, requirement
    return set(found[1].split(","))


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pinned}


def test_constraints_pin_versions_that_the_project_allows() -> None:
    pinned, optional = pins(), PROJECT["optional-dependencies"].values()
    texts = [*PROJECT["dependencies"], *(text for group in optional for text in group)]
    wanted = [Requirement(text) for text in texts]
    for requirement in wanted:
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is None or requirement.specifier.contains(version), requirement
    core = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert core <= set(pinned)


def test_the_conda_environment_installs_what_is_tested() -> None:
    environment = yaml.safe_load((ROOT / "environment.yaml").read_text(encoding="utf-8"))
    assert environment["channels"][0] == "conda-forge"
    *plain, pip = environment["dependencies"]
    versions = dict(item.split("=", 1) for item in plain if "=" in item)
    assert SpecifierSet(PROJECT["requires-python"]).contains(versions.pop("python"))
    assert not versions and "pip" in plain, "versions of packages stand in constraints.txt"
    constraint, package = pip["pip"]
    assert (ROOT / constraint.removeprefix("-c ")).is_file()
    assert extras(package.removeprefix("-e ")) <= set(PROJECT["optional-dependencies"])


def test_the_dockerfile_copies_what_exists_and_installs_what_is_tested() -> None:
    steps = dockerfile()
    assert {name for name, _ in steps} <= DOCKER
    assert steps[0][0] == "FROM"
    for source in copied():
        assert (ROOT / source).exists(), source
    installs = [pip_arguments(rest) for name, rest in steps if name == "RUN"]
    assert len(installs) == 1 and "constraints.txt" in installs[0]
    assert extras(installs[0][-1]) <= set(PROJECT["optional-dependencies"])
    assert json.loads(steps[-1][1])[:3] == ["snakemake", "--snakefile", f"{PLACE}/Snakefile"]


def test_both_recipes_make_the_same_image() -> None:
    header, sections = definition()
    assert set(sections) == SECTIONS
    steps = dockerfile()
    assert header == {"Bootstrap": "docker", "From": steps[0][1]}
    assert [("ARG", sections["arguments"][0])] == [step for step in steps if step[0] == "ARG"]
    files = dict(line.split() for line in sections["files"])
    assert files == {
        name: f"{PLACE}/{target.removeprefix('./')}" for name, target in copied().items()
    }
    (run,) = [rest for name, rest in steps if name == "RUN"]
    enter, install = sections["post"]
    assert enter == f"cd {PLACE}"
    assert install == run.replace("$TORCH_INDEX", "{{ TORCH_INDEX }}")


def test_docker_is_sent_what_it_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())


def test_what_is_copied_is_enough_to_plan(tmp_path: Path) -> None:
    image, data = tmp_path / "image", tmp_path / "data"
    data.mkdir()
    for source, target in copied().items():
        place = image / target
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, place)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(image / "Snakefile")),
            *("--configfile", str(image / "config" / "config.yaml"), "-n", "--quiet", "rules"),
        ],
        cwd=data,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert "heterogeneous" in said
    assert str(image / "profiles" / "default") in said


@pytest.mark.parametrize("name", ["README.md", "LICENSE"])
def test_the_build_has_the_files_that_the_project_names(name: str) -> None:
    assert name in {PROJECT["readme"], *PROJECT["license-files"]}
    assert name in copied()
