"""`tomopipe compare`: FSC and correlation of two maps."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "compare two maps: FSC, resolution, masked correlation"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("what", choices=("fsc", "cc"), help="FSC by shell, or one correlation")
    parser.add_argument("first", type=Path, metavar="MAP", help="map (MRC)")
    parser.add_argument("second", type=Path, metavar="MAP", help="map of the same box")
    parser.add_argument(
        "--mask",
        default="soft",
        help="soft (from the first map), sphere, none, or an MRC file (default: soft)",
    )
    parser.add_argument("--out", type=Path, help="CSV file for the FSC (default: print)")


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.analysis.compare import compare_maps, resolution, write_csv
    from tomopipe.io.mrc import read_volume

    table, correlation = compare_maps(args.first, args.second, args.mask)
    if args.what == "cc":
        print(f"{correlation:.4f}")
        return
    if args.out is not None:
        write_csv(args.out, table)
    else:
        print(table.to_string(index=False))
    pixel_size = read_volume(args.first)[1]
    for threshold in (0.5, 0.143):
        print(f"FSC {threshold:g} at {resolution(table, pixel_size, threshold):.2f} Å")
