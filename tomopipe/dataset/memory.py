"""How much memory of a GPU is left."""

from __future__ import annotations

import torch


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that nothing takes.

    torch keeps what tensors free, and the driver counts that as taken: it is given back before.
    """
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info(device)[0])
