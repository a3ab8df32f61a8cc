"""Flags from settings: every field of a pydantic model becomes one, with its help and bounds."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

from tomopipe.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

Model = TypeVar("Model", bound="BaseModel")
_PREFIX = "setting_"


def add_settings(parser: argparse.ArgumentParser, *models: type[BaseModel]) -> None:
    """Add `--settings JSON` and one flag per field of all the models."""
    parser.add_argument(
        "--settings", metavar="JSON", help="all settings as JSON; single flags go before it"
    )
    group = parser.add_argument_group("settings")
    seen: set[str] = set()
    for model in models:
        for name, field in model.model_fields.items():
            if name not in seen:
                seen.add(name)
                _add_flag(group, name, field)


def read_settings(args: argparse.Namespace, model: type[Model]) -> Model:
    """Settings from `--settings` and the single flags, which win.

    Raises
    ------
    ConfigError
        One sentence that names the flag, its value and what is allowed.
    """
    from pydantic import ValidationError

    from tomopipe.config.messages import config_error, field_names

    values = _from_json(args.settings)
    values |= {name: _plain(name, value) for name, value in _given(args).items()}
    source = "settings"
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise config_error(error, source, field_names(model)) from None


def given_settings(args: argparse.Namespace) -> list[str]:
    """Flags of settings that were given, `--settings` too."""
    return [_flag(name) for name in _given(args)] + (["--settings"] if args.settings else [])


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Values of the flags of settings that were given, by field."""
    return {
        key.removeprefix(_PREFIX): value
        for key, value in vars(args).items()
        if key.startswith(_PREFIX) and value is not None
    }


def _from_json(text: str | None) -> dict[str, Any]:
    try:
        values = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        raise ConfigError(f"--settings: is not valid JSON ({error}); write {{}} for none") from None
    if not isinstance(values, dict):
        raise ConfigError(f"--settings: must be a JSON object, but is {values!r}")
    return values


def _plain(name: str, value: Any) -> Any:
    """A flag's text as pydantic wants it: null, JSON lists and objects; other text is coerced."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("null", "none"):
        return None if value.lower() == "null" else value
    if value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            flag = _flag(name)
            raise ConfigError(f"{flag}: {value!r} is not valid JSON ({error})") from None
    return value


def _flag(name: str) -> str:
    return f"--{name.rstrip('_').replace('_', '-')}"


def _add_flag(group: Any, name: str, field: FieldInfo) -> None:
    flag = _flag(name)
    text = f"{field.description or ''} (default: {_shown(field)})".replace("%", "%%")
    options: dict[str, Any] = {"dest": f"{_PREFIX}{name}", "default": None, "help": text}
    if field.annotation is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif True in get_args(get_args(field.annotation)[:1] and get_args(field.annotation)[0]):
        options |= {"action": "store_const", "const": True}  # Literal[True] | None
    elif get_origin(field.annotation) is Literal and all(
        isinstance(choice, str) for choice in get_args(field.annotation)
    ):
        options["choices"] = get_args(field.annotation)
    else:
        options["metavar"] = name.rsplit("_", 1)[-1].upper()
    group.add_argument(flag, **options)


def _shown(field: FieldInfo) -> str:
    if field.is_required():
        return "none, must be given"
    value = field.get_default(call_default_factory=True)
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    return json.dumps(value, default=str)
