"""The linear model: volumes on a flat subspace, V(z) = mean + sum_k z_k component_k."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from tomopipe.io.atomic import write_json
from tomopipe.models.files import STEP_FORMAT, load_tensors, read_config, save_tensors
from tomopipe.physics.fourier import resample


@dataclass(frozen=True)
class LinearModel:
    """Mean `(n, n, n)` and components `(K, n, n, n)` in units of the images, protein positive.

    Latents are standardised: z ~ N(0, 1) over the particles the model was fitted to.
    """

    kind: ClassVar[str] = "linear"
    mean: Tensor
    components: Tensor
    pixel_size: float

    @property
    def box(self) -> int:
        """Box in pixels."""
        return int(self.mean.shape[-1])

    @property
    def zdim(self) -> int:
        """Number of components."""
        return len(self.components)

    def volumes(self, z: Tensor, *, box: int | None = None) -> Tensor:
        """Volumes `(m, box, box, box)` at latents `(m, K)`, Fourier-cropped to a smaller box."""
        k = len(self.components)
        flat = z.to(self.mean) @ self.components.reshape(k, -1)
        volumes = self.mean + flat.reshape(-1, *self.mean.shape)
        if box is None or box == self.box:
            return volumes
        return torch.stack([resample(volume, box) for volume in volumes])

    def save(self, directory: Path, config: dict[str, Any]) -> None:
        """Write `model.safetensors` and `config.json`."""
        save_tensors(
            directory / "model.safetensors", {"mean": self.mean, "components": self.components}
        )
        record = {
            "step_format": STEP_FORMAT,
            "kind": self.kind,
            "box": self.box,
            "pixel_size_angstrom": self.pixel_size,
            "components": self.zdim,
        }
        write_json(directory / "config.json", record | config)

    @classmethod
    def load(cls, directory: Path | str) -> LinearModel:
        """Read a model.

        Raises
        ------
        StateError
            If files are missing, damaged, or of another kind.
        """
        directory = Path(directory)
        config = read_config(directory, cls.kind)
        tensors = load_tensors(directory / "model.safetensors")
        return cls(tensors["mean"], tensors["components"], config["pixel_size_angstrom"])
