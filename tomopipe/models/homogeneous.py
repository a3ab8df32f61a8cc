"""The homogeneous model: one volume as a network over frequencies."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tomopipe.config.training import HomogeneousSettings
from tomopipe.dataset.batch import Batch
from tomopipe.models.decoder import FourierDecoder
from tomopipe.models.error import goal_of, squared_error_sum
from tomopipe.models.files import load_weights, read_config
from tomopipe.models.image import ImageModel
from tomopipe.models.mean import FixedVolumes
from tomopipe.models.precision import products
from tomopipe.models.volumes import decode_volumes, upper_half


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
        with products(self.settings, points.device) as dtype:
            one = points.new_zeros(len(points), dtype=torch.long)
            change = self.decoder(points, one, points.new_zeros(1, 0), dtype)
        total: Tensor = self.fixed(points) + self.fixed.scale(points) * change
        return total

    def squared_error(self, batch: Batch) -> Tensor:
        """Sum of w |transfer · V - F|^2 / 2 over a batch; differentiable.

        The same as from `predict`, faster.
        """
        goal = goal_of(batch, self.fixed, ImageModel.of(batch, damage=self.settings.damage))
        goal = replace(goal, particle=torch.zeros_like(goal.particle))  # one volume for all
        none = goal.data.new_zeros(1, 0)
        with products(self.settings, none.device) as dtype:
            return squared_error_sum(self.decoder, goal, none, dtype, self.settings.compile)

    def predict(self, batch: Batch) -> Tensor:
        """Transform `(C, 2)` of the volume at the batch's coefficients."""
        return self.transform(batch.points())

    def volume(self, *, box: int | None = None) -> Tensor:
        """The map, real `(box, box, box)`, in data units, protein bright."""
        return self.volumes(torch.zeros(1, 0), box=box)[0]

    @torch.no_grad()
    def volumes(self, z: Tensor, *, box: int | None = None) -> Tensor:
        """The same map for each of `n` latents `(n, 0)`: `(n, box, box, box)`."""
        device = self.decoder.features.device
        one = torch.zeros(1, 0, device=device)
        with products(self.settings, device) as dtype:
            decode = partial(upper_half, self.decoder, self.fixed, dtype=dtype)
            volume = self.scale * decode_volumes(decode, one, self.box, box or self.box)
        return volume.expand(len(z), -1, -1, -1)

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
