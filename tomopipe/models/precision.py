"""The precision of the decoder's matrix products; everything else is float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from tomopipe.config.training import TrainingSettings


def product_dtype(settings: TrainingSettings, device: torch.device) -> torch.dtype:
    """What the decoder's matrices are multiplied in: bfloat16 if settings and `device` say so."""
    wanted = settings.dtype == "bfloat16" or (settings.dtype == "auto" and _fast(device))
    return torch.bfloat16 if wanted else torch.float32


@contextmanager
def products(settings: TrainingSettings, device: torch.device) -> Iterator[torch.dtype]:
    """Context of the decoder's matrix products; gives their type.

    With `dtype: tf32` a GPU rounds what float32 products read to 10 bits; a CPU does not know it.
    """
    if device.type != "cuda":
        yield product_dtype(settings, device)
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = settings.dtype == "tf32"
    try:
        yield product_dtype(settings, device)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@cache
def _fast(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 (tensor cores, AVX-512 BF16, AMX)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
