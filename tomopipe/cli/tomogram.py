"""`tomopipe tomogram`: tomograms of aligned tilt series by weighted back-projection."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.settings import add_settings, read_settings

HELP = "back-project whole tilt series into tomograms"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.reconstruct import TomogramSettings

    parser.add_argument(
        "series", type=Path, metavar="SERIES", help="aligned tilt series: tomograms.star or folder"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the tomograms")
    parser.add_argument(
        "--tomogram", nargs="+", metavar="NAME", help="only these tomograms (default: all)"
    )
    parser.add_argument(
        "--tilt-series",
        default="{}",
        metavar="JSON",
        dest="alignment",
        help="how the alignment is read: settings of tilt series as JSON (default: {})",
    )
    add_settings(parser, TomogramSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.reconstruct import TomogramSettings
    from tomopipe.config.tilt_series import TiltSeriesSettings

    settings = read_settings(args, TomogramSettings)
    alignment = read_settings(argparse.Namespace(settings=args.alignment), TiltSeriesSettings)
    from tomopipe.dataset.tilt_series.read import read_tilt_series
    from tomopipe.lineage.write import recorded
    from tomopipe.reconstruct.write_tomograms import write_tomograms

    series = read_tilt_series(args.series, alignment, args.tomogram)
    with recorded(
        "tomogram", args.out, settings, inputs=[args.series] if args.series.is_file() else []
    ) as record:
        written = write_tomograms(series, args.out, settings)
        record.read_sample(image.path for one in series.values() for image in one.images)
    for path in written:
        print(path)
