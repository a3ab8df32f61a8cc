"""YAML in which a key that stands twice is an error: of two branches one would be lost unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def load_yaml(text: str) -> Any:
    """Read YAML with the safe loader; raises `yaml.YAMLError` also for a key that stands twice."""
    return yaml.load(text, _UniqueKeys)


def repeated_key(path: Path | str) -> str:
    """Say which key of a YAML file stands twice; empty if none does, or it cannot be read."""
    try:
        load_yaml(Path(path).read_text(encoding="utf-8"))
    except _Repeated as error:
        return f"{path}: {error}"
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""  # whoever reads it for its content says so
    return ""


class _Repeated(yaml.YAMLError):
    """A key that stands twice in one mapping."""


class _UniqueKeys(yaml.SafeLoader):
    """Keys are compared as they are written, before merges (`<<`) add those of other mappings."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in first:
                raise _Repeated(
                    f"the key {key.value!r} stands twice, in lines {first[name]} and {line}: "
                    "rename one, or put both together"
                )
            first[name] = line
        return node
