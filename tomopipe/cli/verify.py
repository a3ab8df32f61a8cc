"""`tomopipe verify`: whether results are what their lineage says."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tomopipe.cli.arguments import given_config
from tomopipe.errors import ConfigError

if TYPE_CHECKING:
    from tomopipe.lineage.verify import Verified

HELP = "check results against their lineage: what is missing, changed or out of date"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "results",
        type=Path,
        nargs="?",
        metavar="RESULTS",
        help="results folder of a run (default: that of --config)",
    )
    parser.add_argument(
        "--config", metavar="CONFIG", help="config of the run: compare its settings as well"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="take files of the recorded size and time as unchanged; leave inputs outside alone",
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON, for scripts")


def run(args: argparse.Namespace) -> int:
    """Do the work; 1 where something does not hold."""
    if args.results is None and args.config is None:
        raise ConfigError("verify: give RESULTS, the folder of a run, or --config")
    config = given_config(args.config) if args.config else None
    from tomopipe.lineage.verify import verify

    root = args.results or Path(config.results if config else "")
    found = verify(root, config, quick=args.quick)
    print(_json(found, args.config) if args.json else _words(found, args.config))
    return 1 if found.findings else 0


def _words(found: Verified, config: str | None) -> str:
    lines = [f"{f.what}: {_shown(f.file)} {f.sentence}" for f in found.findings]
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join([*lines, _last(found, config)])


def _last(found: Verified, config: str | None) -> str:
    """What to do, in a line."""
    if not found.findings:
        return f"all holds: {found.files} files of {len(found.records)} steps"
    if found.again:
        places = " ".join(shlex.quote(_shown(path)) for path in found.again)
        file = config if config and not config.lstrip().startswith("{") else "CONFIG.yaml"
        return f"to mend: snakemake --configfile {shlex.quote(file)} --forcerun {places}"
    return "to mend: run these steps again, or remove what is not needed"


def _json(found: Verified, config: str | None) -> str:
    findings = [
        {"what": f.what, "file": str(f.file), "step": f.step, "sentence": f.sentence}
        for f in found.findings
    ]
    said = {
        "holds": not findings,
        "results": str(found.root),
        "steps": len(found.records),
        "files": found.files,
        "findings": findings,
        "notes": found.notes,
        "again": [str(path) for path in found.again],
        "do": _last(found, config),
    }
    return json.dumps(said, indent=2)


def _shown(path: Path) -> str:
    """Short: from the folder that the command runs in, where it lies below that."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
