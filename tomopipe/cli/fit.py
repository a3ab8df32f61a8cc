"""`tomopipe fit`: the default combination of models, with clusters."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import add_device, add_fitting, is_taken_over, kept_uids
from tomopipe.cli.settings import add_settings, read_settings

HELP = "find heterogeneity with the default models: latents and clusters of every particle"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.fit import FitSettings

    add_fitting(parser, "folder for model and tables")
    parser.add_argument(
        "--state",
        type=Path,
        help="folder of unfinished work, removed at the end (default: OUT.state, beside OUT)",
    )
    add_device(parser)
    add_settings(parser, FitSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.fit import FitSettings

    settings = read_settings(args, FitSettings)
    device = settings.heterogeneous.device if args.device == "auto" else args.device
    from tomopipe.analysis.fit import fit
    from tomopipe.lineage.write import recorded

    with recorded("fit", args.out, settings, inputs=[args.store, args.particles]):
        if is_taken_over(args, "fit", settings):
            return
        record = fit(
            args.store,
            args.out,
            settings,
            uids=kept_uids(args.particles),
            state=args.state,
            device=device,
        )
    print(f"{record['clusters']} clusters. {record['reason']}")
