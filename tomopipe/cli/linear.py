"""`tomopipe linear`: the linear model of heterogeneity."""

from __future__ import annotations

import argparse

from tomopipe.cli.arguments import add_device, add_fitting, is_taken_over, kept_uids
from tomopipe.cli.settings import add_settings, read_settings

HELP = "fit the linear model: eigenvolumes, latents with covariance"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.linear import LinearSettings

    add_fitting(parser, "folder for model and latents")
    add_device(parser)
    add_settings(parser, LinearSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.linear import LinearSettings

    settings = read_settings(args, LinearSettings)
    from tomopipe.lineage.write import recorded
    from tomopipe.training.distributed import pick_device
    from tomopipe.training.linear import fit_linear

    device = pick_device(args.device)
    with recorded("linear", args.out, settings, inputs=[args.store, args.particles]):
        if is_taken_over(args, "linear", settings):
            return
        fit_linear(args.store, args.out, settings, uids=kept_uids(args.particles), device=device)
