"""The base of all settings: frozen, and strict about unknown names."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings; unknown fields are refused so that a misspelt name is never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)
