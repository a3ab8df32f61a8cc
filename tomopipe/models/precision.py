"""Where bfloat16 is worth using: the decoder's matrix products, on hardware that has it."""

from __future__ import annotations

from functools import cache

import torch

from tomopipe.config.training import TrainingSettings


def half_precision(settings: TrainingSettings, device: torch.device) -> torch.autocast:
    """Context in which matrix products are bfloat16, if settings and `device` say so."""
    wanted = settings.dtype == "bfloat16" or (settings.dtype == "auto" and _fast(device.type))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


@cache
def _fast(kind: str) -> bool:
    """Whether the hardware multiplies bfloat16 (tensor cores, AVX-512 BF16, AMX)."""
    if kind == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
