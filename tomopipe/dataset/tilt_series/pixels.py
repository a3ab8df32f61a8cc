"""The images of a tilt series, one at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomopipe.dataset.tilt_series.geometry import TiltSeries
from tomopipe.errors import InputError
from tomopipe.io.mrc import open_stack


def tilt_pixels(series: TiltSeries, tilt: int) -> tuple[NDArray[np.float32], float]:
    """Image of one tilt, `(ny, nx)`, and the pixel size in Å that its header states.

    Raises
    ------
    InputError
        If the stack is missing, unreadable or too short, or the image holds what is no number.
    """
    image = series.images[tilt]
    with open_stack(image.path) as stack:
        if image.section >= stack.shape[0]:
            raise InputError(
                f"{image.path} holds {stack.shape[0]} images, but tilt {tilt + 1} of "
                f"{series.name} is image {image.section + 1}: give the stack that the series was "
                "aligned on"
            )
        pixels, stated = stack.read([image.section])[0], stack.pixel_size
    if not np.isfinite(pixels).all():
        raise InputError(
            f"{image.path} image {image.section + 1} has values that are not finite numbers: "
            "make it again, or leave the tilt out"
        )
    return pixels, stated
