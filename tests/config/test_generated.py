"""Schema and reference are made from the models: the committed files must be what they give."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tomopipe.config.reference import config_markdown, schema_json

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "config" / "config.yaml", *sorted((ROOT / "config" / "examples").glob("*.yaml"))]


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("workflow/schemas/config.schema.json", schema_json),
        ("docs/config.md", config_markdown),
        ("config/README.md", config_markdown),
    ],
)
def test_committed_file_is_in_sync(path: str, made: object) -> None:
    assert callable(made)
    assert (ROOT / path).read_text(encoding="utf-8") == made(), f"{path}: run `make docs`"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_configs_follow_the_schema(path: Path) -> None:
    schema = json.loads(schema_json())
    assert schema["$schema"].startswith("https://json-schema.org/")
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema)


def test_every_setting_is_described() -> None:
    schema = json.loads(schema_json())
    bare = [
        f"{title}.{name}"
        for title, model in {**schema["$defs"], "Config": schema}.items()
        for name, field in model.get("properties", {}).items()
        if "description" not in field
    ]
    assert not bare
