"""A trained model on disk: `model.safetensors` and `config.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tomopipe.errors import StateError
from tomopipe.io.atomic import atomic_path, read_json, write_json

STEP_FORMAT = 1


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors atomically as safetensors."""
    with atomic_path(path) as temporary:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises
    ------
    StateError
        If it is missing or damaged.
    """
    if not path.is_file():
        raise StateError(f"{path} is missing: run the stage that writes it first")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise StateError(
            f"{path} is damaged ({error}): delete it and run its stage again"
        ) from None
    return tensors


def save_model(directory: Path, model: nn.Module, config: dict[str, Any]) -> None:
    """Write weights, then `config.json` (which says that the weights are whole)."""
    save_tensors(directory / "model.safetensors", model.state_dict())
    write_json(directory / "config.json", {"step_format": STEP_FORMAT, **config})


def read_config(directory: Path, kind: str | None = None) -> dict[str, Any]:
    """`config.json` of a model.

    Raises
    ------
    StateError
        If it is missing, or the model is of another kind.
    """
    config: dict[str, Any] = read_json(directory / "config.json")
    if kind is not None and config.get("kind") != kind:
        raise StateError(
            f"{directory}/config.json is of kind {config.get('kind')!r}, not {kind!r}: "
            "give the directory of the right model"
        )
    return config


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights into a model built from its `config.json`.

    Raises
    ------
    StateError
        If they do not fit.
    """
    try:
        model.load_state_dict(load_tensors(path))
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise StateError(f"{path} does not fit its config.json ({detail}): train again") from None
