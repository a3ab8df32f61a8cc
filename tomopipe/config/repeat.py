"""Settings of branches that run more than once: rounds of a cycle, and replicates."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tomopipe.config.base import Section


class RepeatSettings(Section):
    """Rounds that repeat a branch on what its junk decisions leave; `until clean` for the default.

    Each round is a branch of its own: `NAME_round1`, `NAME_round2`, and the last is `NAME`.
    """

    until: Literal["clean"] = Field(
        "clean", description="when to stop: no cluster is called junk any more"
    )
    rounds: int = Field(4, ge=2, le=20, description="most rounds")
    round: int | None = Field(
        None, ge=1, description="which round this is; written by tomopipe, leave it out"
    )


class ReplicateSettings(Section):
    """Fits of the same particles with other seeds; a number alone is their count.

    The branch is the first of them; the others are `NAME_replicate2`, `NAME_replicate3`, ….
    """

    count: int = Field(3, ge=2, le=20, description="fits, this branch's own among them")
    number: int | None = Field(
        None, ge=1, description="which replicate this is; written by tomopipe, leave it out"
    )


def _from_words(raw: Any) -> Any:
    return {} if raw == "until clean" else raw


def _from_number(raw: Any) -> Any:
    return {"count": raw} if isinstance(raw, int) and not isinstance(raw, bool) else raw


# Both may be written short.
Repeat = Annotated[
    RepeatSettings | None,
    BeforeValidator(
        _from_words, json_schema_input_type=RepeatSettings | Literal["until clean"] | None
    ),
]
Replicates = Annotated[
    ReplicateSettings | None,
    BeforeValidator(
        _from_number,
        json_schema_input_type=ReplicateSettings | Annotated[int, Field(ge=2, le=20)] | None,
    ),
]
