"""A cache of tensors that is bounded by memory, not by their number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from torch import Tensor

P = ParamSpec("P")


def keep_tensors(max_bytes: int) -> Callable[[Callable[P, Tensor]], Callable[P, Tensor]]:
    """Decorate a function of hashable positional arguments: what it gave last is given again.

    The longest unused results go when all together exceed `max_bytes`; the newest always stays.
    """

    def decorate(make: Callable[P, Tensor]) -> Callable[P, Tensor]:
        kept: OrderedDict[object, Tensor] = OrderedDict()

        @wraps(make)
        def found(*args: P.args, **kwargs: P.kwargs) -> Tensor:
            if args not in kept:
                kept[args] = make(*args, **kwargs)
                while len(kept) > 1 and sum(t.nbytes for t in kept.values()) > max_bytes:
                    kept.popitem(last=False)
            kept.move_to_end(args)
            return kept[args]

        return found

    return decorate
