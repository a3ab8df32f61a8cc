"""The entry point: find the verb, build only its parser, run it, and say errors in one sentence."""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from tomopipe import __version__
from tomopipe.errors import TomopipeError
from tomopipe.io.parent import end_with_parent

# verb: module below tomopipe.cli
VERBS = {
    "init": "init",
    "simulate": "simulate",
    "fetch": "fetch",
    "import": "import_",
    "extract": "extract",
    "prepare": "prepare",
    "select": "select",
    "branch": "branch",
    "consensus": "consensus",
    "reconstruct": "reconstruct",
    "tomogram": "tomogram",
    "fit": "fit",
    "linear": "linear",
    "train": "train",
    "convergence": "convergence",
    "analyze": "analyze",
    "classes": "classes",
    "junk": "junk",
    "decide": "decide",
    "agreement": "agreement",
    "export": "export",
    "recover": "recover",
    "report": "report",
    "status": "status",
    "verify": "verify",
    "crate": "crate",
    "volumes": "volumes",
    "compare": "compare",
    "config": "config",
}
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
# what a path, a disk or its rights can refuse; any other OSError is a bug
_REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EIO,
    errno.EFBIG,
    errno.ENAMETOOLONG,
    errno.ESTALE,
}


class Verb(Protocol):
    """What every module of a verb offers."""

    HELP: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the verb's arguments."""

    def run(self, args: argparse.Namespace) -> int | None:
        """Do the work; gives the exit code if it is not 0."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code: 0 done, 2 an error that the user can mend.

    `verify` gives 1 where results do not hold.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0].startswith("-"):
        return _about(words)
    if words[0] not in VERBS:
        return _fail(_unknown(words[0]))
    verb = _load(words[0])
    args = _parser(words[0], verb).parse_args(words[1:])
    _limit_threads(args.threads)
    end_with_parent()
    # before arrow is loaded: its own allocator would keep what it took to read a large table
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        return verb.run(args) or 0
    except TomopipeError as error:
        return _fail(str(error))
    except BrokenPipeError:  # as of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        where = error.filename2 or error.filename or "a file"
        return _fail(f"{where} cannot be used ({error.strerror}): check path, rights and space")
    except KeyboardInterrupt:
        return _fail("stopped", code=130)
    except Exception as error:
        sentence = _short_of_memory(error)
        if sentence is None:
            raise
        return _fail(sentence)


def _short_of_memory(error: Exception) -> str | None:
    """What helps where memory did not suffice; None for any other error."""
    # where the error comes from is loaded: nothing is imported to look
    torch, pools = (sys.modules.get(name) for name in ("torch", "concurrent.futures.process"))
    if torch is not None and isinstance(error, torch.cuda.OutOfMemoryError):
        return (
            "the GPU has too little free memory: lower `batch` (of a network), `components` (of "
            "the linear model) or `memory_gb`, or end what else runs on it"
        )
    if pools is not None and isinstance(error, pools.BrokenProcessPool):
        return (
            "a worker process was killed, probably because memory ran out: lower `workers` or give "
            "the job more memory; the next start goes on from what is done"
        )
    return None


def _load(name: str) -> Verb:
    module: Verb = importlib.import_module(f"tomopipe.cli.{VERBS[name]}")
    return module


def _parser(name: str, verb: Verb) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"tomopipe {name}",
        description=verb.HELP,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=100),
        allow_abbrev=False,
    )
    verb.configure(parser)
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads to use (default: all cores)"
    )
    return parser


def _about(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tomopipe",
        usage="tomopipe VERB [options]      (tomopipe VERB --help lists them)",
        description="Heterogeneity of particles in cryo-electron tomography, step by step. "
        "The workflow runs these steps for you: see `snakemake` in README.md.",
        epilog="verbs:\n" + "\n".join(f"  {name:<12} {_load(name).HELP}" for name in VERBS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tomopipe {__version__}")
    parser.parse_args(words)
    parser.print_help()
    return 0


def _unknown(word: str) -> str:
    close = difflib.get_close_matches(word, VERBS, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"there is no verb {word!r}: {hint}`tomopipe --help` lists them"


def _limit_threads(threads: int | None) -> None:
    """Tell every numerical library before it is imported; torch reads OMP_NUM_THREADS too."""
    if threads is not None:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(max(threads, 1))))


def _fail(sentence: str, code: int = 2) -> int:
    print(f"tomopipe: {' '.join(sentence.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
