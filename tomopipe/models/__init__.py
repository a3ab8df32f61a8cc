"""Models of heterogeneity: linear subspace, homogeneous network, variational autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tomopipe.errors import StateError
from tomopipe.models.files import read_config

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Model", "load_model"]


class Model(Protocol):
    """What analysis needs of a trained model, whatever its kind."""

    @property
    def kind(self) -> str:
        """`linear`, `homogeneous` or `heterogeneous`."""

    @property
    def box(self) -> int:
        """Box in pixels."""

    @property
    def pixel_size(self) -> float:
        """Å per pixel."""

    @property
    def zdim(self) -> int:
        """Number of latents."""

    def volumes(self, z: Tensor, *, box: int | None = None) -> Tensor:
        """Real volumes `(n, box, box, box)` at latents `(n, zdim)`."""


def load_model(directory: Path | str) -> Model:
    """Load the model in a directory, of the kind that its `config.json` names.

    Raises
    ------
    StateError
        If files are missing or damaged, or the kind is unknown.
    """
    directory = Path(directory)
    kind = read_config(directory).get("kind")
    if kind == "heterogeneous":
        from tomopipe.models.vae import HeterogeneousModel

        return HeterogeneousModel.load(directory)
    if kind == "homogeneous":
        from tomopipe.models.homogeneous import HomogeneousModel

        return HomogeneousModel.load(directory)
    if kind == "linear":
        from tomopipe.models.linear import LinearModel

        model: Model = LinearModel.load(directory)
        return model
    raise StateError(f"{directory}/config.json names an unknown kind {kind!r}: train again")
