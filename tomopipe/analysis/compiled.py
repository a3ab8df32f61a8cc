"""Keep what numba compiles, so that not every process compiles UMAP anew."""

from __future__ import annotations

import sys
from collections import defaultdict
from types import CodeType
from typing import Any


def keep_compiled(*packages: str) -> None:
    """Let numba store the machine code of packages that are imported already.

    Compiling UMAP takes longer than embedding some thousand particles. Numba puts the code beside
    the package's source or, where that is read-only, into the user's cache, and compiles anew when
    source, numba or processor are others. Its key leaves the options of a function out, so where
    one source is compiled in two ways (serial and parallel, say) neither is kept.
    """
    from numba.core.dispatcher import Dispatcher

    ways: dict[CodeType, dict[int, Any]] = defaultdict(dict)
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] not in packages:
            continue
        for function in vars(module).values():
            if isinstance(function, Dispatcher):
                ways[function.py_func.__code__][id(function)] = function
    for functions in ways.values():
        if len(functions) == 1:
            _keep(*functions.values())


def _keep(function: Any) -> None:
    try:
        function.enable_caching()
    except RuntimeError:  # no folder that may be written to: it is compiled in every process
        return
