"""`tomopipe volumes`: maps at any point of a latent space."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import model_files
from tomopipe.errors import ConfigError

HELP = "decode maps at given latents, or at given particles"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="folder of a linear or neural model"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for volume_NNN.mrc")
    parser.add_argument(
        "--z",
        action="append",
        default=[],
        metavar="Z0,Z1,…",
        help="a point, as --z=-1,0.5; may be repeated",
    )
    parser.add_argument(
        "--uid", action="append", default=[], help="a particle, at its latent; may be repeated"
    )
    parser.add_argument("--box", type=int, help="box of the maps (voxels; default: the model's)")


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    points = [_numbers(text) for text in args.z]
    if not points and not args.uid:
        raise ConfigError("volumes: give at least one --z or --uid")
    if args.box is not None and (args.box < 8 or args.box % 2):
        raise ConfigError(f"--box: must be even and at least 8, but is {args.box}")
    import numpy as np

    from tomopipe.analysis.latent import read_latents
    from tomopipe.analysis.volumes import decode
    from tomopipe.lineage.write import recorded

    if args.uid:
        latents = read_latents(args.model / "latents.parquet", np.array(args.uid, dtype=object))
        points += latents.z.tolist()
    wrong = next((point for point in points if len(point) != len(points[0])), None)
    if wrong is not None:
        raise ConfigError(
            f"--z: points have {len(points[0])} and {len(wrong)} numbers; give as many"
        )
    with recorded("volumes", args.out, inputs=model_files(args.model)):
        decode(args.model, np.array(points), args.out, box=args.box)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--z: {text!r} is not a list of numbers such as 0.5,-1,2") from None
