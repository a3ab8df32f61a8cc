"""`tomopipe train`: the neural models."""

from __future__ import annotations

import argparse
from pathlib import Path

from tomopipe.cli.arguments import add_fitting, is_taken_over, kept_uids
from tomopipe.cli.settings import add_settings, read_settings
from tomopipe.errors import ConfigError

HELP = "train a neural model, or go on with one that was interrupted"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.training import HeterogeneousSettings, HomogeneousSettings

    add_fitting(parser, "folder for model and latents")
    parser.add_argument(
        "--model",
        choices=("heterogeneous", "homogeneous"),
        default="heterogeneous",
        help="latent model, or one map for all particles (default: heterogeneous)",
    )
    parser.add_argument(
        "--state",
        type=Path,
        help="folder of the training state, removed at the end (default: OUT.state, beside OUT)",
    )
    parser.add_argument("--linear", type=Path, help="linear model of the same branch: a warm start")
    parser.add_argument("--consensus", type=Path, help="consensus of the same branch: a warm start")
    add_settings(parser, HeterogeneousSettings, HomogeneousSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.training import HeterogeneousSettings, HomogeneousSettings

    uids = kept_uids(args.particles)
    inputs = [args.store, args.particles, args.consensus, args.linear]
    from tomopipe.lineage.write import recorded

    if args.model == "homogeneous":
        if args.linear is not None:
            raise ConfigError("--linear is for --model heterogeneous: leave it out")
        homogeneous = read_settings(args, HomogeneousSettings)
        from tomopipe.training.neural import train_homogeneous

        with recorded("homogeneous", args.out, homogeneous, inputs=inputs[:-1]):
            if is_taken_over(args, "homogeneous", homogeneous):
                return
            train_homogeneous(
                args.store,
                args.out,
                homogeneous,
                uids=uids,
                state=args.state,
                consensus=args.consensus,
            )
        return
    heterogeneous = read_settings(args, HeterogeneousSettings)
    from tomopipe.training.neural import train_heterogeneous

    with recorded("heterogeneous", args.out, heterogeneous, inputs=inputs):
        if is_taken_over(args, "heterogeneous", heterogeneous):
            return
        train_heterogeneous(
            args.store,
            args.out,
            heterogeneous,
            uids=uids,
            state=args.state,
            linear=args.linear,
            consensus=args.consensus,
        )
