"""The linear model on the shared simulated ribosomes, against their labels."""

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from tomopipe.config.linear import LinearSettings
from tomopipe.dataset.importer import import_star
from tomopipe.dataset.prepare import prepare
from tomopipe.training.linear import fit_linear

ORACLE = 0.97  # accuracy of the likelihood under the true volumes


def test_classes_d_and_e_are_told_apart_as_well_as_by_the_oracle(shared_data, tmp_path):
    import_star(shared_data / "sim_ribosome_32" / "10076_both_32_sim.star", tmp_path / "set")
    prepare(tmp_path / "set", tmp_path / "store")
    fit_linear(tmp_path / "store", tmp_path / "linear", LinearSettings(components=2))
    table = pd.read_parquet(tmp_path / "linear" / "latents.parquet")
    truth = table["uid"].str.startswith("001/").to_numpy()  # class E
    assert np.bincount(truth).tolist() == [72, 72]
    labels = KMeans(2, n_init=10, random_state=0).fit_predict(table[["z0", "z1"]]) == 1
    accuracy = max((labels == truth).mean(), (labels != truth).mean())
    assert accuracy >= ORACLE
