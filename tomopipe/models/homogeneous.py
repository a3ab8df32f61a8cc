"""The homogeneous model: one volume as a network over frequencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tomopipe.config.training import HomogeneousSettings
from tomopipe.dataset.batch import Batch
from tomopipe.models.decoder import FourierDecoder
from tomopipe.models.files import load_weights, read_config
from tomopipe.models.mean import FixedVolumes
from tomopipe.models.precision import half_precision
from tomopipe.models.volumes import decode_volume


class HomogeneousModel(nn.Module):
    """A decoder without a latent: the map that explains all particles best."""

    kind = "homogeneous"

    def __init__(
        self,
        settings: HomogeneousSettings,
        *,
        box: int,
        pixel_size: float,
        scale: float,
        fixed: FixedVolumes | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.box = box
        self.pixel_size = pixel_size
        self.scale = scale
        self.zdim = 0
        self.fixed = fixed or FixedVolumes.none(box)
        self.decoder = FourierDecoder(
            box, 0, settings.hidden, settings.layers, settings.feature_sigma
        )

    def transform(self, points: Tensor) -> Tensor:
        """Transform `(C, 2)` of the volume at `(C, 3)` points in cycles per pixel."""
        with half_precision(self.settings, points.device):
            one = points.new_zeros(len(points), dtype=torch.long)
            change = self.decoder(points, one, points.new_zeros(1, 0))
        total: Tensor = self.fixed(points) + self.fixed.scale(points) * change
        return total

    def predict(self, batch: Batch) -> Tensor:
        """Transform `(C, 2)` of the volume at the batch's coefficients."""
        return self.transform(batch.points())

    def volume(self, *, box: int | None = None) -> Tensor:
        """The map, real `(box, box, box)`, in data units, protein bright."""
        device = self.decoder.features.device
        return self.scale * decode_volume(self.transform, self.box, box or self.box, device).cpu()

    def volumes(self, z: Tensor, *, box: int | None = None) -> Tensor:
        """The same map for each of `n` latents `(n, 0)`: `(n, box, box, box)`."""
        return self.volume(box=box)[None].expand(len(z), -1, -1, -1)

    def describe(self) -> dict[str, Any]:
        """What `config.json` needs to build this model again."""
        return {
            "kind": self.kind,
            "box": self.box,
            "pixel_size_angstrom": self.pixel_size,
            "scale": self.scale,
            "settings": self.settings.model_dump(),
        }

    @classmethod
    def load(cls, directory: Path | str) -> HomogeneousModel:
        """Read a trained model.

        Raises
        ------
        StateError
            If files are missing, damaged, or of another kind.
        """
        directory = Path(directory)
        config = read_config(directory, cls.kind)
        model = cls(
            HomogeneousSettings.model_validate(config["settings"]),
            box=config["box"],
            pixel_size=config["pixel_size_angstrom"],
            scale=config["scale"],
        )
        load_weights(model, directory / "model.safetensors")
        model.fixed.refresh()
        return model.eval()
