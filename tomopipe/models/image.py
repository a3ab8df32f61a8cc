"""What an image is expected to be, given the volume's transform at its points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tomopipe.dataset.batch import Batch

# Below this, a premultiplied coefficient is noise of the box edge, not CTF times noise.
_SMALLEST_PREFILTER = 0.2


@dataclass(frozen=True)
class ImageModel:
    """What data = transfer · V + noise are, and how much each squared error counts; all `(C,)`."""

    transfer: Tensor
    weight: Tensor

    @classmethod
    def of(cls, batch: Batch, *, damage: bool) -> ImageModel:
        """Transfer and weight of every coefficient.

        With `damage` the signal fades with dose, exp(-N / 2 Nc), and noise is even: the weight is
        cos(tilt), over the prefilter's square, which evens the noise of premultiplied images out.
        Without it the signal is CTF alone and the store's weight falls with dose and tilt, as in
        tomoDRGN.
        """
        if not damage:
            return cls(batch.ctf, batch.weight)
        cosine = torch.cos(torch.deg2rad(torch.nan_to_num(batch.tilt))).clamp(min=0.05)
        even = batch.prefilter.abs().clamp(min=_SMALLEST_PREFILTER) ** -2
        return cls(batch.ctf * batch.damage, cosine[batch.coefficient_image] * even)
