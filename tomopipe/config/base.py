"""The base of all settings: frozen, and strict about unknown names and infinite numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

# Libraries take seeds below 2**32; replicates raise them by a few.
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """A group of settings; unknown fields are refused so that a misspelt name is never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # settings that say how a step is carried out, not what comes out of it
    undecided: ClassVar[frozenset[str]] = frozenset()

    def undeciding(self) -> dict[str, Any]:
        """What pydantic's `exclude` takes to leave out what decides no result, here or inside."""
        inside = {name: _undeciding(getattr(self, name)) for name in type(self).model_fields}
        return dict.fromkeys(self.undecided, True) | {k: v for k, v in inside.items() if v}

    def deciding(self) -> dict[str, Any]:
        """The settings that decide a result, as JSON has them."""
        return self.model_dump(mode="json", exclude=self.undeciding())

    def decide_as(self, made: Mapping[str, Any]) -> bool:
        """Whether a result that was made with settings `made` (of this version) is of these."""
        try:
            other = type(self).model_validate(made)
        except ValidationError:
            return False
        return self.deciding() == other.deciding()


def _undeciding(value: object) -> dict[Any, Any]:
    if isinstance(value, Section):
        return value.undeciding()
    if isinstance(value, Mapping):
        found = {key: _undeciding(item) for key, item in value.items()}
    elif isinstance(value, Sequence) and not isinstance(value, str):
        found = {number: _undeciding(item) for number, item in enumerate(value)}
    else:
        return {}
    return {key: inside for key, inside in found.items() if inside}
