"""`tomopipe config`: check a config, and write schema and reference from the models."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "check a config; write its schema or its reference"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="say what is wrong with a config, or what it will do")
    check.add_argument("config", type=Path, metavar="CONFIG", help="config file (YAML)")
    schema = actions.add_parser("schema", help="JSON schema, for editors")
    schema.add_argument("--out", type=Path, help="file to write (default: print)")
    docs = actions.add_parser("docs", help="reference of all settings, as Markdown")
    docs.add_argument("--out", type=Path, help="file to write (default: print)")


def run(args: argparse.Namespace) -> None:
    """Do the work."""
    from tomopipe.config.reference import config_markdown, schema_json
    from tomopipe.config.run import read_config
    from tomopipe.config.summary import summary

    if args.action == "check":
        print(summary(read_config(args.config)))
        return
    text = schema_json() if args.action == "schema" else config_markdown()
    if args.out is None:
        print(text, end="")
        return
    from tomopipe.io.atomic import write_text

    write_text(args.out, text)
