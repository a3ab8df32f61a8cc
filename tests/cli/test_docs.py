"""What README and docs tell a newcomer to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tomopipe.cli.main import VERBS, _load, _parser
from tomopipe.config import parse_config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[str]:
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = [line.split(" # ")[0].strip() for line in text.splitlines()]
    return [line for line in lines if re.match(r"(\.venv/bin/)?tomopipe ", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_right_flags(page: Path) -> None:
    for command in commands(page):
        _, verb, *words = shlex.split(command)
        _parser(verb, _load(verb)).parse_args(words)  # exits where a flag does not exist


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    unlinked = (re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text).lower().replace(" ", "-") for text in unlinked}


def links(page: Path) -> list[str]:
    """Where a page's links lead that lead to no other site."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_to_pages_and_headings_that_exist(page: Path) -> None:
    for target in links(page):
        file, _, anchor = target.partition("#")
        other = page.parent / file if file else page
        assert other.exists(), f"{page.name}: {target}"
        if anchor and other.suffix == ".md":
            assert anchor in anchors(other), f"{page.name}: {target}"


def test_the_links_are_found() -> None:
    assert "docs/benchmarks.md" in links(ROOT / "README.md")
    assert "reconstruct.md#how-the-signal-falls" in links(ROOT / "docs" / "benchmarks.md")
    assert "how-the-signal-falls" in anchors(ROOT / "docs" / "reconstruct.md")
    assert sum(len(links(page)) for page in PAGES) > 100


def test_the_commands_are_found() -> None:
    found = [command for page in PAGES for command in commands(page)]
    assert {command.split()[1] for command in found} >= {"import", "config", "train", "export"}


def test_flags_named_in_the_text_exist() -> None:
    known = set()
    for verb in VERBS:
        known |= set(_parser(verb, _load(verb))._option_string_actions)
    text = (ROOT / "docs" / "input-formats.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(--[a-z-]+)", text))
    assert named and named <= known


def test_configs_of_readme_and_quickstart_are_valid() -> None:
    whole, _ = blocks(ROOT / "README.md", "yaml")  # the second one is a part of a config
    assert parse_config(yaml.safe_load(whole)).ready == ("pilot", "clean")
    first, second = blocks(ROOT / "docs" / "quickstart.md", "yaml")
    config = parse_config(yaml.safe_load(first + second))
    assert config.ready == ("pilot", "neural", "state_a")
