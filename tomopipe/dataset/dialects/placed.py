"""What the row of a particle in a tomogram says of it: name, orientation, origin."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.dialects.columns import Columns, Floats
from tomopipe.dataset.dialects.draft import OpticsColumns, pixel_size
from tomopipe.physics.pose import view_matrix


def particle_uids(rows: Columns, tomograms: NDArray[np.object_]) -> NDArray[np.object_]:
    """RlnTomoParticleName (`tomogram/particle`), else the running number in the tomogram."""
    if "rlnTomoParticleName" in rows:
        names = rows.text("rlnTomoParticleName")
    elif "rlnTomoParticleId" in rows:
        names = rows.integers("rlnTomoParticleId").astype(str).astype(object)
    else:
        count = pd.Series(tomograms).groupby(tomograms).cumcount().add(1)
        names = count.astype(str).to_numpy(dtype=object)
    return np.array(
        [n if "/" in n else f"{t}/{n}" for n, t in zip(names, tomograms, strict=True)], dtype=object
    )


def centred_coordinates(rows: Columns) -> Floats | None:
    """`(n, 3)` Å from the tomogram's centre; None if the table has no such columns."""
    if "rlnCenteredCoordinateXAngst" not in rows:
        return None
    return np.stack([rows.floats(f"rlnCenteredCoordinate{a}Angst") for a in "XYZ"], axis=1)


def subtomogram_rotation(rows: Columns) -> Floats:
    """Orientation of the subtomogram in the tomogram, `(n, 3, 3)`; identity if not given."""
    names = [f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi")]
    if names[0] not in rows:
        return np.broadcast_to(np.eye(3), (len(rows), 3, 3))
    return view_matrix(*(rows.floats(name) for name in names))


def particle_origin(rows: Columns, optics: OpticsColumns, settings: ImportSettings) -> Floats:
    """`(n, 3)` Å in the frame of the subtomogram: the shift that centres the particle."""
    if not any(f"rlnOrigin{axis}Angst" in rows for axis in "XYZ") and "rlnOriginX" in rows:
        pixels = np.stack([rows.floats(f"rlnOrigin{axis}", 0.0) for axis in "XYZ"], axis=1)
        return pixels * pixel_size(optics, settings)[:, None]
    return np.stack([rows.floats(f"rlnOrigin{axis}Angst", 0.0) for axis in "XYZ"], axis=1)
