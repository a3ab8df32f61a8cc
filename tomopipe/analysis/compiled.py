"""Keep what numba compiles, so that not every process compiles UMAP anew."""

from __future__ import annotations

import sys


def keep_compiled(*packages: str) -> None:
    """Let numba store the machine code of packages that are imported already.

    Compiling UMAP takes longer than embedding some thousand particles. Numba puts the code beside
    the package's source or, where that is read-only, into the user's cache, and compiles anew when
    source, numba or processor are others. Its key leaves the options of a function out, so parallel
    variants, which share their source with serial ones, are left alone.
    """
    from numba.core.dispatcher import Dispatcher

    for name, module in list(sys.modules.items()):
        if name.split(".")[0] not in packages:
            continue
        for function in vars(module).values():
            if isinstance(function, Dispatcher) and not function.targetoptions.get("parallel"):
                _keep(function)


def _keep(function: object) -> None:
    try:
        function.enable_caching()  # type: ignore[attr-defined]
    except RuntimeError:  # no folder that may be written to: it is compiled in every process
        return
