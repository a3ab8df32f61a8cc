"""Arguments that several verbs share: the store, and which of its particles."""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tomopipe.errors import ConfigError, StateError

if TYPE_CHECKING:
    from tomopipe.config.base import Section
    from tomopipe.config.run import Config


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the positional STORE."""
    parser.add_argument(
        "store", type=Path, metavar="STORE", help="store made by `tomopipe prepare`"
    )


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Add the positional DIR."""
    parser.add_argument(
        "dataset", type=Path, metavar="DIR", help="folder made by `tomopipe import`"
    )


def add_particles(parser: argparse.ArgumentParser) -> None:
    """Add `--particles`."""
    parser.add_argument(
        "--particles",
        type=Path,
        metavar="TABLE",
        help="selected.parquet of a branch: only its kept particles (default: all of the store)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="DEVICE",
        type=_device,
        help="auto, cpu, cuda or cuda:N (default: auto, a GPU where there is one)",
    )


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of auto, cpu, cuda, cuda:N")
    return text


def kept_uids(table: Path | None) -> list[str] | None:
    """Uids that a selection keeps, in its order; None without a table.

    Raises
    ------
    StateError
        If the table keeps nothing, or is not a selection.
    """
    if table is None:
        return None
    from tomopipe.analysis.uids import is_kept
    from tomopipe.io.atomic import read_parquet

    frame = read_parquet(table)
    missing = {"uid", "kept"} - set(frame.columns)
    if missing:
        raise StateError(f"{table}: has no column {sorted(missing)[0]!r}; give a selected.parquet")
    uids: list[str] = frame.loc[is_kept(frame, table), "uid"].astype(str).tolist()
    if not uids:
        raise StateError(f"{table}: keeps no particle; widen the branch's select")
    return uids


def model_files(folder: Path) -> list[Path]:
    """What later steps read of a model."""
    return [folder / name for name in ("config.json", "model.safetensors", "latents.parquet")]


def add_same_as(parser: argparse.ArgumentParser) -> None:
    """Add `--same-as`."""
    parser.add_argument(
        "--same-as",
        type=Path,
        metavar="BRANCH",
        help="folder of another branch: where it kept the same particles and was made with the "
        "same settings, its result is copied to OUT, which must lie in a branch's folder",
    )


def is_taken_over(args: argparse.Namespace, stage: str, settings: Section) -> bool:
    """Whether a result was taken over, as `--same-as` allows, so that nothing is left to do."""
    if args.same_as is None and not (args.out.parent / "taken_over").is_dir():
        return False
    from tomopipe.analysis.takeover import take_over

    leads = os.environ.get("RANK", "0") == "0"  # of the processes of torchrun
    done = take_over(stage, args.out.parent, args.same_as, settings, leads=leads)
    if done:
        print(f"{stage}: taken over from {args.same_as}: same particles, same settings")
    return done


def add_fitting(parser: argparse.ArgumentParser, out: str) -> None:
    """Add what every fit to particles of a store takes; `out` is the help of `--out`."""
    add_store(parser)
    parser.add_argument("--out", type=Path, required=True, help=out)
    add_particles(parser)
    add_same_as(parser)


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add `--config`."""
    parser.add_argument(
        "--config",
        default="config/config.yaml",
        metavar="CONFIG",
        help="config file of the run, or its content as JSON (default: config/config.yaml)",
    )


def given_config(text: str) -> Config:
    """Config of a `--config` argument; raises `ConfigError` in one sentence."""
    from tomopipe.config.run import parse_config, read_config

    if not text.lstrip().startswith("{"):
        return read_config(text)
    try:
        return parse_config(json.loads(text), "--config")
    except json.JSONDecodeError as error:
        raise ConfigError(f"--config: is not valid JSON ({error}); give a file") from None
