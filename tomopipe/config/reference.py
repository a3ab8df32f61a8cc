"""The schema for editors and the reference for people, both made from the models."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from tomopipe.config.branch import Branch
from tomopipe.config.fetch import Download, FileCheck
from tomopipe.config.run import Config
from tomopipe.config.sources import Dataset, TiltSeriesSource

_INTRO = """\
# Config reference

Made by `tomopipe config docs` from the settings models; do not edit. Every field has a default
unless it says *required*. A stage of a branch runs when its section is there: `linear: {}` runs it
with its defaults. Paths are relative to the folder that `snakemake` is started in. The same
settings are flags on the command line: `heterogeneous: {epochs: 50}` is `--epochs 50`, a section
inside is JSON: `fit: {linear: {components: 12}}` is `tomopipe fit --linear '{"components": 12}'`.
"""


def schema_json() -> str:
    """JSON schema (draft 2020-12) of a config, for editors and for checks without tomopipe."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= Config.model_json_schema(by_alias=True)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def config_markdown() -> str:
    """Reference of every section and field, as Markdown."""
    parts = [_INTRO, _section("The run", "", Config)]
    parts.append(_section("A download", "downloads.NAME", Download))
    parts.append(_section("files", "downloads.NAME.files", FileCheck))
    parts.append(_section("Tilt series", "tilt_series.NAME", TiltSeriesSource))
    parts += _below(TiltSeriesSource, "tilt_series.NAME")
    parts.append(_section("A data set", "datasets.NAME", Dataset))
    parts += _below(Dataset, "datasets.NAME")
    parts.append(_section("A branch", "branches.NAME", Branch))
    parts += _below(Branch, "branches.NAME")
    return "\n".join(parts)


def _below(model: type[BaseModel], path: str) -> list[str]:
    parts = []
    for name, field in model.model_fields.items():
        section = _model_of(field.annotation)
        if section is not None and section is not model:  # a selection may hold others
            where = f"{path}.{field.alias or name}"
            parts.append(_section(field.alias or name, where, section))
            parts += _below(section, where)
    return parts


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The settings model in an annotation such as `Model` or `Model | None`."""
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _section(title: str, path: str, model: type[BaseModel]) -> str:
    heading = f"## {title}" if path.count(".") < 2 else f"### `{path}`"
    lines = [heading, "", " ".join((model.__doc__ or "").split()), ""]
    lines += ["| field | value | default | meaning |", "|---|---|---|---|"]
    schema = model.model_json_schema(by_alias=True)
    schema = schema.get("$defs", {}).get(model.__name__, schema)  # there, if it holds itself
    for name, field in schema["properties"].items():
        required = name in schema.get("required", ())
        default = "*required*" if required else f"`{json.dumps(field.get('default', {}))}`"
        lines.append(f"| `{name}` | {_kind(field)} | {default} | {_cell(field)} |")
    return "\n".join(lines) + "\n"


def _cell(field: dict[str, Any]) -> str:
    text: str = field.get("description", "")
    return text.replace("|", "\\|")


def _kind(field: dict[str, Any]) -> str:
    """What may stand there, in a few words: type, choices and bounds."""
    if "$ref" in field:
        return "section"
    if "anyOf" in field:
        kinds = [_kind(option) for option in field["anyOf"]]
        return " or ".join("`null`" if kind == "null" else kind for kind in kinds)
    if "enum" in field or "const" in field:
        return ", ".join(f"`{choice}`" for choice in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items') or field['prefixItems'][0])}"
    if field.get("type") == "object":
        return "names with values"
    kind = {"boolean": "`true`, `false`", "string": "text"}.get(field["type"], field["type"])
    return f"{kind}{_bounds(field)}"


def _bounds(field: dict[str, Any]) -> str:
    words = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
        "multipleOf": "multiple of {}",
    }
    found = [text.format(field[key]) for key, text in words.items() if key in field]
    return f" {', '.join(found)}" if found else ""
