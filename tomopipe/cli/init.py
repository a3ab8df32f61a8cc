"""`tomopipe init`: look at a particle data set and write a first config for it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomopipe.config.tilt_series import TiltSeriesSettings
    from tomopipe.suggest.series import Cut

HELP = "look at a particle STAR file and write a first config for it"
_SCHEMA = Path("workflow/schemas/config.schema.json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("star", type=Path, metavar="STAR", help="particle or optimisation-set STAR")
    parser.add_argument(
        "--out", type=Path, default=Path("my.yaml"), help="config to write (default: my.yaml)"
    )
    parser.add_argument(
        "--results",
        metavar="DIR",
        help="folder of the results (default: results/NAME_OF_STAR, with the names of its folders "
        "where that is common or taken)",
    )
    parser.add_argument("--force", action="store_true", help="write over a config that exists")
    reading = parser.add_argument_group("what the file does not tell")
    reading.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder that image paths are relative to"
    )
    reading.add_argument(
        "--tomograms", type=Path, metavar="STAR", help="tomograms STAR file of the particles"
    )
    reading.add_argument(
        "--pixel-size-angstrom", type=_positive, metavar="Å", help="pixel size of the images"
    )
    cutting = parser.add_argument_group("images that are to be cut out of tilt series")
    cutting.add_argument(
        "--tilt-series",
        type=Path,
        metavar="SERIES",
        help="aligned tilt series: RELION-5's tomograms.star, a folder of WarpTools, IMOD, AreTomo",
    )
    cutting.add_argument(
        "--read",
        metavar="JSON",
        help='how they are read, where their files do not tell: {"voltage_kv": 300}; the settings '
        "are those of tilt_series: read: in docs/config.md",
    )
    cutting.add_argument(
        "--diameter-angstrom",
        type=_positive,
        metavar="Å",
        help="diameter of the particle, for the box (default: that of an earlier extraction)",
    )
    cutting.add_argument(
        "--coordinates-pixel-size-angstrom",
        type=_positive,
        metavar="Å",
        help="Å per pixel of rlnCoordinateX/Y/Z (default: as the STAR file says)",
    )


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.errors import ConfigError

    if args.out.exists() and not args.force:
        raise ConfigError(f"{args.out} exists: name another file with --out, or give --force")
    cut = _cut(args)
    imports = _imports(args)
    from tomopipe.config.importing import ImportSettings
    from tomopipe.suggest.config import Run, config_text, default_results
    from tomopipe.suggest.cost import estimate
    from tomopipe.suggest.seen import look_at_star
    from tomopipe.suggest.series import look_at_series
    from tomopipe.suggest.words import report

    seen = (
        look_at_series(args.star, cut)
        if cut
        else look_at_star(args.star, ImportSettings.model_validate(imports))
    )
    cores = len(os.sched_getaffinity(0))
    gpu = _has_gpu()
    run_of = Run(args.results or default_results(args.star), imports, cut, _schema(args.out), gpu)
    _write(args.out, config_text(seen, run_of))
    print(report(seen, estimate(seen, cores), cores, gpu=gpu))
    print(
        f"\nWritten: {args.out}. Next:\n  tomopipe config check {args.out}\n"
        f"  snakemake --configfile {args.out} -n    # the plan; without -n it runs"
    )


def _write(out: Path, text: str) -> None:
    """Write a config that is known to be one."""
    import yaml

    from tomopipe.config.run import parse_config
    from tomopipe.io.atomic import write_text

    parse_config(yaml.safe_load(text), str(out))
    write_text(out, text)


def _read(text: str | None) -> TiltSeriesSettings:
    """Settings of reading tilt series from the JSON of `--read`."""
    import json

    from pydantic import ValidationError

    from tomopipe.config.messages import config_error, field_names
    from tomopipe.config.tilt_series import TiltSeriesSettings
    from tomopipe.errors import ConfigError

    try:
        return TiltSeriesSettings.model_validate(json.loads(text or "{}"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"--read: {text!r} is not valid JSON ({error})") from None
    except ValidationError as error:
        raise config_error(error, "--read", field_names(TiltSeriesSettings)) from None


def _cut(args: argparse.Namespace) -> Cut | None:
    from tomopipe.errors import ConfigError
    from tomopipe.suggest.series import Cut

    if args.tilt_series is None:
        for name in ("diameter_angstrom", "coordinates_pixel_size_angstrom", "read"):
            if getattr(args, name) is not None:
                raise ConfigError(
                    f"--{name.replace('_', '-')} is for images that are to be cut: give "
                    "--tilt-series too, or leave it out"
                )
        return None
    for name in ("data_dir", "tomograms"):
        if getattr(args, name) is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')} is for particles with images, which --tilt-series "
                "replaces: leave one of the two out"
            )
    return Cut(
        args.tilt_series,
        args.pixel_size_angstrom,
        args.diameter_angstrom,
        args.coordinates_pixel_size_angstrom,
        _read(args.read),
    )


def _imports(args: argparse.Namespace) -> dict[str, Any]:
    """Settings of the import that were given."""
    if args.tilt_series is not None:
        return {}
    names = ("data_dir", "tomograms", "pixel_size_angstrom")
    given = {name: getattr(args, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def _schema(out: Path) -> str:
    """The schema from the config's folder, for editors; empty outside a clone."""
    if not _SCHEMA.is_file():
        return ""
    return os.path.relpath(_SCHEMA.resolve(), out.resolve().parent)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
