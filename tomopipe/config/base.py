"""The base of all settings: frozen, and strict about unknown names and infinite numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Libraries take seeds below 2**32; replicates raise them by a few.
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """A group of settings; unknown fields are refused so that a misspelt name is never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
