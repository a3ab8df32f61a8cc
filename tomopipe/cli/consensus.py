"""`tomopipe consensus`: weighted back-projection with half-maps and FSC."""

from __future__ import annotations

import argparse

from tomopipe.cli.arguments import add_device, add_fitting, is_taken_over, kept_uids
from tomopipe.cli.settings import add_settings, read_settings

HELP = "back-project the consensus map, half-maps and FSC"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.linear import ConsensusSettings

    add_fitting(parser, "folder for maps and fsc.csv")
    add_device(parser)
    add_settings(parser, ConsensusSettings)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.linear import ConsensusSettings

    settings = read_settings(args, ConsensusSettings)
    from tomopipe.lineage.write import recorded
    from tomopipe.reconstruct.consensus import consensus
    from tomopipe.training.distributed import pick_device

    device = pick_device(args.device)
    with recorded("consensus", args.out, settings, inputs=[args.store, args.particles]):
        if is_taken_over(args, "consensus", settings):
            return
        consensus(args.store, args.out, settings, uids=kept_uids(args.particles), device=device)
