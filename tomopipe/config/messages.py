"""One sentence from pydantic's list of errors: where, what, and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from tomopipe.errors import ConfigError


def config_error(error: ValidationError, source: str, fields: Iterable[str] = ()) -> ConfigError:
    """Turn a validation error into one sentence about its first finding.

    `source` is the file or flag that held the value; `fields` are the known names, for a hint when
    a name is unknown (by default those of the model that failed, found through its title).
    """
    # a misspelt name explains why the right one is missing
    findings = sorted(
        error.errors(include_url=False), key=lambda finding: finding["type"] != "extra_forbidden"
    )
    sentence = f"{source}: {_where(findings[0]['loc'])}{_what(findings[0], tuple(fields))}"
    more = len(findings) - 1
    return ConfigError(f"{sentence} (and {more} more)" if more else sentence)


def field_names(model: type[BaseModel]) -> tuple[str, ...]:
    """All names that can stand anywhere below a model, as written in files."""
    names: set[str] = set()
    schema = model.model_json_schema(by_alias=True)
    for part in (schema, *schema.get("$defs", {}).values()):
        names |= set(part.get("properties", {}))
    return tuple(sorted(names))


def _where(location: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in location if part != "[key]"]
    return f"{'.'.join(parts)}: " if parts else ""


def _what(finding: Any, fields: tuple[str, ...]) -> str:
    kind, message = finding["type"], finding["msg"]
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(str(finding["loc"][-1]), fields, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "remove it or correct its name"
        return f"unknown setting; {hint}"
    if kind == "missing":
        return "is missing; add it"
    if kind == "value_error":
        return str(message).removeprefix("Value error, ")
    text = str(message).removeprefix("Input ")
    return f"{text[0].lower()}{text[1:]}, but is {finding['input']!r}"
