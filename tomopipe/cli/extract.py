"""`tomopipe extract`: particle images of any box and pixel size from aligned tilt series."""

from __future__ import annotations

import argparse
import re
from functools import partial
from pathlib import Path

from tomopipe.cli.arguments import kept_uids
from tomopipe.cli.settings import add_settings, read_settings

HELP = "cut particle images of any box and pixel size out of aligned tilt series"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.extract import ExtractSettings

    parser.add_argument(
        "series",
        type=Path,
        nargs="?",
        metavar="SERIES",
        help="aligned tilt series: RELION-5's tomograms.star, a folder of WarpTools, IMOD, AreTomo",
    )
    parser.add_argument(
        "--particles",
        type=Path,
        metavar="STAR",
        help="particle STAR file, optimisation set, or folder made by `tomopipe import`",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for stacks and STAR files")
    parser.add_argument(
        "--select", type=Path, metavar="TABLE", help="selected.parquet: only its kept particles"
    )
    work = parser.add_mutually_exclusive_group()
    work.add_argument(
        "--part",
        type=_part,
        metavar="I/N",
        help="only tomograms I, I + N, … (I from 0 to N - 1), to be joined later",
    )
    work.add_argument(
        "--join",
        type=int,
        nargs="?",
        const=0,
        metavar="N",
        help="write the STAR files of the parts that lie in OUT, of those of N jobs if several do",
    )
    add_settings(parser, ExtractSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.errors import ConfigError

    if args.join is not None:
        from tomopipe.extract.extract import join
        from tomopipe.lineage.write import recorded

        pattern = f"parts/*_of_{args.join or '*'}"
        with recorded("extract", args.out, inputs=sorted(args.out.glob(pattern))):
            joined = join(args.out, args.join)
        return _say(joined)
    if args.series is None or args.particles is None:
        missing = "SERIES" if args.series is None else "--particles"
        raise ConfigError(f"extract: {missing} is missing; only --join does without")
    from tomopipe.config.extract import ExtractSettings

    settings = read_settings(args, ExtractSettings)
    from tomopipe.extract.extract import extract, tomograms_of_part
    from tomopipe.extract.particles import read_particles
    from tomopipe.extract.parts import PARTS, files_of_part
    from tomopipe.extract.series import series_of
    from tomopipe.lineage.write import recorded

    inputs = [
        path for path in (args.series, args.particles, args.select) if path and path.is_file()
    ]

    particles = read_particles(args.particles, settings.coordinates_pixel_size_angstrom)
    uids = kept_uids(args.select)
    particles = particles if uids is None else particles.select(uids)
    mine = tomograms_of_part(particles, args.part)
    series = series_of(args.series, mine, settings.tilt_series)
    out, left = args.out, None
    if args.part is not None:  # other parts are written beside it
        out = args.out / PARTS / f"{args.part[0]}_of_{args.part[1]}"
        left = partial(files_of_part, args.out, out, mine)
    with recorded("extract", out, settings, inputs=inputs, outputs=left) as record:
        found = extract(series, particles, args.out, settings, source=args.series, part=args.part)
        record.read_sample(image.path for one in series.values() for image in one.images)
    return _say(found)


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 0 to N - 1, as 0/4")
    return int(match[1]), int(match[2])


def _say(record: dict[str, object]) -> None:
    left = f", {record['n_dropped']} dropped" if record["n_dropped"] else ""
    images = f" with {record['n_images']} images" if "n_images" in record else ""
    print(f"{record['n_particles']} particles{images}{left}")
