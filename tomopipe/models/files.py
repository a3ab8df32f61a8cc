"""A trained model on disk: `model.safetensors` and `config.json`."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tomopipe.errors import StateError
from tomopipe.io.atomic import atomic_path, read_json, write_json

STEP_FORMAT = 1


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors atomically as safetensors, with their checksum in the header."""
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(plain, temporary, {"crc32": _checksum(plain)})
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


def _checksum(tensors: dict[str, Tensor]) -> str:
    """CRC-32 of names, types, shapes and values."""
    crc = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file and check its values, where it says what they were.

    Raises
    ------
    StateError
        If it is missing or damaged.
    """
    if not path.is_file():
        raise StateError(f"{path} is missing: run the stage that writes it first")
    try:
        with safe_open(path, framework="pt") as file:
            wanted = (file.metadata() or {}).get("crc32")
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # of the system, not of the contents
        detail = " ".join(str(error).split())
        raise StateError(
            f"{path} is damaged ({detail}): delete it and run its stage again"
        ) from None
    if wanted is not None and wanted != _checksum(tensors):
        raise StateError(
            f"{path} is damaged (its checksum is wrong): delete it and run its stage again"
        )
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
