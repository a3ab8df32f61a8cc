"""docs/cluster.md says what profiles/default and the rules ask for."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def asked(need: int | str, attempt: int) -> int:
    """A need of the profile, a number or `number * attempt`, at an attempt."""
    number, _, scales = str(need).partition(" * ")
    assert scales in ("", "attempt")
    return int(number) * (attempt if scales else 1)


def test_the_table_of_needs_is_that_of_the_profile() -> None:
    profile = yaml.safe_load((ROOT / "profiles/default/config.v9+.yaml").read_text())
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    row = r"^\| (\w+) \| (\d+) \| (1?) ?\| (\d+) \| (\d+) \| (.+) \|$"
    written = {name: rest for name, *rest in re.findall(row, page, re.MULTILINE)}
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    asks = r"^rule (\w+):\n(?:(?: .*)?\n)*?        gpu=gpu_of"
    gpus = dict.fromkeys(re.findall(asks, rules, re.MULTILINE), "1")
    assert len(gpus) == 3
    expected = {}
    for rule, needs in profile["set-resources"].items():
        first, second = (
            (asked(needs["mem_mb"], attempt), asked(needs["runtime"], attempt))
            for attempt in (1, 2)
        )
        again = "the same" if first == second else f"{second[0]} MB, {second[1]} minutes"
        threads = profile["set-threads"].get(rule, 1)
        expected[rule] = [str(threads), gpus.get(rule, ""), *map(str, first), again]
    assert written == expected
