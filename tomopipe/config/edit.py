"""A branch written into the text of a config: every other character of the file stays as it is."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tomopipe.config.yaml_text import load_yaml
from tomopipe.errors import ConfigError

_WIDTH = 100
# a comma may trail in a flow mapping, and a block has no closing character
_SEPARATORS = (yaml.BlockEndToken, yaml.FlowEntryToken)


class _Plain(yaml.SafeDumper):
    """Writes values out each time, since an anchor could be one that the file has already."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@dataclass(frozen=True)
class Edited:
    """A config with one more branch.

    Attributes
    ----------
    text
        All of it.
    added
        What was added, without the indent that it has in the file.
    """

    text: str
    added: str


def with_branch(text: str, name: str, branch: Mapping[str, Any], source: str) -> Edited:
    """Put a branch behind the last one of a config, in the style of the file.

    Parameters
    ----------
    text
        A config that is valid.
    name, branch
        The new branch, as YAML would read it.
    source
        File that the text is from, for errors.

    Raises
    ------
    ConfigError
        If there is a branch of that name, or no place where nothing else would change.
    """
    before = load_yaml(text)
    if name in before["branches"]:
        raise ConfigError(f"{source}: branches.{name} is there already: give another name")
    branches = _branches(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    if branches.flow_style:
        added = f"{_flow(name)}: {_flow(branch)}"
        at, whole = _end_of_content(text, branches), f", {added}"
    else:
        added = _block(name, branch, branches)
        indent = branches.value[0][0].start_mark.column * " "
        at = _after_comments(text, _end_of_content(text, branches), len(indent))
        gap = "\n\n" if _airy(text, branches, at) else "\n"
        whole = (gap + textwrap.indent(added, indent)).replace("\n", newline)
    after = text[:at] + whole + text[at:]
    _check_only_added(before, after, name, branch, source)
    return Edited(text=after, added=added)


def _branches(text: str) -> yaml.MappingNode:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    found = next(value for key, value in root.value if key.value == "branches")
    assert isinstance(found, yaml.MappingNode)
    return found


def _end_of_content(text: str, node: yaml.MappingNode) -> int:
    """Where the last token within a mapping ends: a block's own mark is behind its comments."""
    start, end = node.start_mark.index, node.end_mark.index
    found = start
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        first, last = token.start_mark.index, token.end_mark.index
        closes = node.flow_style and last == end
        if start <= first < last <= end and not closes and not isinstance(token, _SEPARATORS):
            found = last
    return len(text[:found].rstrip())


def _after_comments(text: str, at: int, indent: int) -> int:
    """End of the line of `at`, or of the comments below it that belong to the last branch.

    They are indented like branches; behind an empty line that begins another one, and only a
    comment that is indented more still belongs.
    """
    end, apart = at, False
    for line in text[at:].splitlines(keepends=True):
        words = line.strip()
        if end > at and words and (words[0] != "#" or _column(line) < indent + apart):
            break
        apart = end > at and not words
        end += len(line)
    return len(text[:end].rstrip())


def _column(line: str) -> int:
    return len(line) - len(line.lstrip())


def _airy(text: str, branches: yaml.MappingNode, at: int) -> bool:
    """Whether branches are kept apart by empty lines."""
    lines = text[branches.start_mark.index : at].splitlines()
    return any(not line.strip() for line in lines)


def _block(name: str, branch: Mapping[str, Any], branches: yaml.MappingNode) -> str:
    """The branch on lines of its own, or on one where the last branch is on one."""
    key, value = branches.value[-1]
    if value.flow_style:
        return f"{_flow(name)}: {_flow(branch)}"
    step = max(value.value[0][0].start_mark.column - key.start_mark.column, 2)
    body = "\n".join(_line(key, value) for key, value in branch.items())
    return f"{_flow(name)}:\n{textwrap.indent(body, step * ' ')}"


def _line(key: str, value: Any) -> str:
    line = f"{key}: {_flow(value)}"
    if len(line) < _WIDTH:
        return line
    return _dump({key: value}, flow=False)


def _flow(value: Any) -> str:
    return _dump(value, flow=True)


def _dump(value: Any, *, flow: bool) -> str:
    text = yaml.dump(
        value,
        Dumper=_Plain,
        default_flow_style=flow,
        sort_keys=False,
        allow_unicode=True,
        width=1_000_000,
    )
    return str(text).removesuffix("...\n").rstrip("\n")


def _check_only_added(
    before: Any, after: str, name: str, branch: Mapping[str, Any], source: str
) -> None:
    wanted = before | {"branches": before["branches"] | {name: dict(branch)}}
    try:
        same = yaml.safe_load(after) == wanted
    except yaml.YAMLError:
        same = False
    if not same:
        raise ConfigError(
            f"{source}: branches.{name} cannot be added without changing the rest: write the last "
            "branch on indented lines below its name, without an alias"
        )
