"""Whatever sign protein has in a stack, and whatever was done to it, its map comes out bright."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from tests.dataset.importing.conftest import euler, table_of, write_blocks
from tomopipe.config.importing import ImportSettings
from tomopipe.config.prepare import PrepareSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare
from tomopipe.dataset.store import Store
from tomopipe.io.mrc import write_stack
from tomopipe.physics.fourier import ifft2c
from tomopipe.physics.fsc import correlation
from tomopipe.reconstruct.half_maps import half_maps
from tomopipe.simulate.phantom import complex_in_state

BOX, PIXEL, COUNT = 24, 13.0, 60
DEFOCUS, CS, AMPLITUDE = 2e4, 2.7e7, 0.1  # Å
WAVELENGTH = 0.0196875  # Å, at 300 kV
CTF = {
    "rlnDefocusU": DEFOCUS,
    "rlnDefocusV": DEFOCUS,
    "rlnDefocusAngle": 0.0,
    "rlnVoltage": 300.0,
    "rlnSphericalAberration": CS * 1e-7,
    "rlnAmplitudeContrast": AMPLITUDE,
}
COLUMNS = {"none": {}, "ctf": CTF, "premultiplied": CTF | {"rlnCtfDataAreCtfPremultiplied": 1}}


def contrast(s2: torch.Tensor) -> torch.Tensor:
    """What a microscope at underfocus makes of bright protein, positive at low frequency."""
    phase = math.pi * WAVELENGTH * DEFOCUS * s2 - math.pi / 2 * CS * WAVELENGTH**3 * s2**2
    return torch.sin(phase + math.asin(AMPLITUDE))


@pytest.fixture(scope="module")
def seen() -> tuple[pd.DataFrame, torch.Tensor]:
    """Angles of views from everywhere, and transforms of what is seen from there."""
    rng = np.random.default_rng(0)
    angles = pd.DataFrame(
        {
            "rlnAngleRot": rng.uniform(-180, 180, COUNT),
            "rlnAngleTilt": np.degrees(np.arccos(rng.uniform(-1, 1, COUNT))),
            "rlnAnglePsi": rng.uniform(-180, 180, COUNT),
        }
    )
    views = torch.from_numpy(np.stack([euler(*row) for row in angles.to_numpy()]))
    frequency = (torch.arange(BOX) - BOX // 2).double() / (BOX * PIXEL)
    return angles, complex_in_state("whole").projections(views, frequency)


@pytest.mark.parametrize("done", COLUMNS)
@pytest.mark.parametrize(("name", "sign"), [("bright", 1), ("dark", -1)])
def test_protein_is_bright_in_the_map(seen, tmp_path, done, name, sign):
    angles, transforms = seen
    axis = (torch.arange(BOX) - BOX // 2).double() / (BOX * PIXEL)
    power = {"none": 0, "ctf": 1, "premultiplied": 2}[done]
    factor = contrast(axis[:, None] ** 2 + axis**2) ** power
    images = sign * ifft2c(transforms * factor).real
    write_stack(tmp_path / "s.mrcs", images.float().numpy(), PIXEL)
    rows = [
        {"rlnImageName": f"{i + 1}@s.mrcs", "rlnImagePixelSize": PIXEL, **row, **COLUMNS[done]}
        for i, row in enumerate(angles.to_dict("records"))
    ]
    write_blocks(tmp_path / "s.star", {"": table_of(rows)})
    import_star(tmp_path / "s.star", tmp_path / "set", ImportSettings(contrast=name))
    prepare(tmp_path / "set", tmp_path / "store", PrepareSettings(workers=1))
    found = half_maps(Store.open(tmp_path / "store")).map
    assert correlation(found, complex_in_state("whole").volume(BOX, PIXEL)) > 0.7
