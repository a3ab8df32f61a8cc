"""What an image is expected to be, given the volume's transform at its points."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tomopipe.dataset.batch import Batch


@dataclass(frozen=True)
class ImageModel:
    """What data = transfer · V + noise are, and how much each squared error counts; all `(C,)`."""

    transfer: Tensor
    weight: Tensor

    @classmethod
    def of(cls, batch: Batch, *, damage: bool) -> ImageModel:
        """Transfer and weight of every coefficient.

        With `damage` the signal fades with dose, exp(-N / 2 Nc), and a squared error counts by the
        noise's precision (`Batch.noise_precision`).
        Without it the signal is CTF alone, whatever was measured of its falloff, and the store's
        weight falls with dose and tilt, as in tomoDRGN.
        """
        if not damage:
            return cls(batch.plain_ctf(), batch.weight)
        return cls(batch.ctf * batch.damage, batch.noise_precision())
