"""Some images that stand for all."""

from __future__ import annotations

import numpy as np
import pandas as pd


def sample(images: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` rows of a table of images in their order, drawn at random, always the same.

    Even strides would see a single tilt where they are a multiple of the number of tilts.
    """
    if len(images) <= count:
        return images
    rows = np.random.default_rng(0).permutation(len(images))[:count]
    return images.iloc[np.sort(rows)]
