"""`tomopipe fetch`: files of EMPIAR, Zenodo or a web server, listed or loaded."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tomopipe.cli.arguments import given_config
from tomopipe.cli.settings import add_settings, given_settings, read_settings
from tomopipe.errors import ConfigError

if TYPE_CHECKING:
    from tomopipe.config.fetch import Download

HELP = "list or load files of EMPIAR, Zenodo or a web server"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from tomopipe.config.fetch import Download

    parser.add_argument(
        "patterns", nargs="*", metavar="FILE", help="paths or patterns in quotes, like --files"
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="only say what is there, with sizes: the files that are chosen, or all of them",
    )
    parser.add_argument("--record", type=Path, metavar="JSON", help="what was loaded, to write")
    parser.add_argument(
        "--config", metavar="CONFIG", help="take the downloads of a config, instead of the settings"
    )
    parser.add_argument(
        "--download", metavar="NAME", help="only this download of the config (default: all)"
    )
    add_settings(parser, Download)


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    downloads = _downloads(args)
    if args.list:
        if args.record is not None:
            raise ConfigError("--record is of what was loaded: leave it out with --list")
        for download in downloads:
            _show(download)
        return
    if args.record is not None and len(downloads) > 1:
        raise ConfigError("--record is for one download: name it with --download")
    from tomopipe.fetch.download import fetch

    for download in downloads:
        files = fetch(download, args.record)
        print(f"{download.name}: {len(files)} files in {download.folder}")


def _downloads(args: argparse.Namespace) -> list[Download]:
    from tomopipe.config.fetch import Download

    if args.config is None:
        if args.download is not None:
            raise ConfigError("--download names a download of a config: give --config too")
        if args.patterns:
            args.setting_files = args.patterns
        return [read_settings(args, Download)]
    if args.patterns:
        raise ConfigError("FILE is for a source given by flags: with --config, files stand there")
    if given := given_settings(args):
        raise ConfigError(f"{given[0]} does not go with --config, where the settings stand")
    known = given_config(args.config).downloads
    names = list(known) if args.download is None else [args.download]
    if not known or names[0] not in known:
        raise ConfigError(
            f"{args.config}: has no download {args.download or ''!r}: known are "
            f"{', '.join(known) or 'none'}"
        )
    return [known[name] for name in names]


def _show(download: Download) -> None:
    from tomopipe.fetch.listing import available, chosen, with_sizes
    from tomopipe.fetch.web import Web
    from tomopipe.fetch.words import listing_words

    web = Web(download)
    files = chosen(download, web) if download.files else available(download, web)
    files = with_sizes(files, web)
    print(f"{download.name}, to {download.folder}\n{listing_words(files)}")
