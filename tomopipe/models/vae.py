"""The heterogeneous model: encoder, latent space, decoder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tomopipe.config.training import HeterogeneousSettings
from tomopipe.dataset.batch import Batch
from tomopipe.models.decoder import FourierDecoder
from tomopipe.models.encoder import TiltEncoder, VolumeEncoder
from tomopipe.models.error import goal_of, squared_error_sum
from tomopipe.models.files import load_tensors, load_weights, read_config
from tomopipe.models.image import ImageModel
from tomopipe.models.mean import FixedVolumes
from tomopipe.models.precision import products
from tomopipe.models.volumes import decode_volumes, upper_half


class HeterogeneousModel(nn.Module):
    """A variational autoencoder from the tilts of a particle to its volume.

    Attributes
    ----------
    box, pixel_size, scale
        Of the store it was trained on; volumes are multiplied by `scale` to be in data units.
    tilts
        Tilts that the encoder takes of each particle (concatenate pooling); 0 = any number.
    """

    kind = "heterogeneous"

    def __init__(
        self,
        settings: HeterogeneousSettings,
        *,
        box: int,
        pixel_size: float,
        scale: float,
        tilts: int = 0,
        fixed: FixedVolumes | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.box = box
        self.pixel_size = pixel_size
        self.scale = scale
        self.tilts = tilts
        self.zdim = settings.zdim
        self.fixed = fixed or FixedVolumes.none(box)
        self.encoder = _encoder(settings, box, tilts)
        self.decoder = FourierDecoder(
            box, settings.zdim, settings.hidden, settings.layers, settings.feature_sigma
        )

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents of a batch's particles, each `(P, zdim)`."""
        mean, log_variance = self.encoder(batch, self.fixed, damage=self.settings.damage)
        return mean, log_variance

    def transform(self, points: Tensor, particle: Tensor, z: Tensor) -> Tensor:
        """Transform `(C, 2)` of the volumes at latents `(P, zdim)`, at `(C, 3)` points of each."""
        with products(self.settings, points.device) as dtype:
            change = self.decoder(points, particle, z, dtype)
        known = self.fixed.at(points, particle, z)
        total: Tensor = known + self.fixed.scale(points) * change
        return total

    def squared_error(self, batch: Batch, z: Tensor) -> Tensor:
        """Sum of w |transfer · V - F|^2 / 2 over a batch, of latents `(P, zdim)`; differentiable.

        The same as from `predict`, faster.
        """
        goal = goal_of(batch, self.fixed, ImageModel.of(batch, damage=self.settings.damage))
        with products(self.settings, z.device) as dtype:
            return squared_error_sum(self.decoder, goal, z, dtype, self.settings.compile)

    def predict(self, batch: Batch, z: Tensor) -> Tensor:
        """Transform `(C, 2)` of each particle's volume at the batch's coefficients."""
        return self.transform(batch.points(), batch.coefficient_particle(), z)

    @torch.no_grad()
    def volumes(self, z: Tensor, *, box: int | None = None) -> Tensor:
        """Real volumes `(n, box, box, box)` at latents `(n, zdim)`: data units, protein bright."""
        device = self.decoder.features.device
        z = torch.as_tensor(z, dtype=torch.float32, device=device).reshape(-1, self.zdim)
        with products(self.settings, device) as dtype:
            decode = partial(upper_half, self.decoder, self.fixed, dtype=dtype)
            return self.scale * decode_volumes(decode, z, self.box, box or self.box)

    def describe(self) -> dict[str, Any]:
        """What `config.json` needs to build this model again."""
        return {
            "kind": self.kind,
            "box": self.box,
            "pixel_size_angstrom": self.pixel_size,
            "scale": self.scale,
            "zdim": self.zdim,
            "tilts": self.tilts,
            "basis": len(self.fixed.basis),
            "settings": self.settings.model_dump(),
        }

    @classmethod
    def load(cls, directory: Path | str, *, epoch: int | None = None) -> HeterogeneousModel:
        """Read a trained model; with `epoch`, its decoder as it was after that epoch (from 1).

        Raises
        ------
        StateError
            If files are missing, damaged, of another kind, or that epoch's decoder was not kept.
        """
        directory = Path(directory)
        config = read_config(directory, cls.kind)
        model = cls(
            HeterogeneousSettings.model_validate(config["settings"]),
            box=config["box"],
            pixel_size=config["pixel_size_angstrom"],
            scale=config["scale"],
            tilts=config["tilts"],
            fixed=FixedVolumes.none(config["box"], config["basis"]),
        )
        load_weights(model, directory / "model.safetensors")
        if epoch is not None:
            weights = load_tensors(directory / "snapshots" / f"decoder_{epoch:03d}.safetensors")
            model.decoder.load_state_dict(weights, strict=False)
        model.fixed.refresh()
        return model.eval()


def _encoder(settings: HeterogeneousSettings, box: int, tilts: int) -> TiltEncoder | VolumeEncoder:
    if settings.encoder == "volume":
        return VolumeEncoder(
            box,
            settings.zdim,
            radius=settings.encoder_radius,
            components=settings.encoder_components,
            hidden=settings.encoder_hidden,
            layers=settings.encoder_layers,
        )
    return TiltEncoder(
        box,
        settings.zdim,
        radius=settings.encoder_radius,
        hidden=settings.encoder_hidden,
        layers=settings.encoder_layers,
        features=settings.tilt_features,
        pooling=settings.pooling,
        tilts=tilts,
    )
