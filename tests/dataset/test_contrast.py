import numpy as np
import pandas as pd
import pytest
import torch

from tomopipe.config.simulate import SimulateSettings
from tomopipe.dataset.contrast import measure_contrast
from tomopipe.dataset.importer import import_star
from tomopipe.io.atomic import read_json
from tomopipe.io.mrc import write_stack
from tomopipe.physics.fourier import ifft2c
from tomopipe.physics.pose import view_matrix
from tomopipe.simulate.particles import simulate_particles
from tomopipe.simulate.phantom import complex_in_state


def _without_ctf(folder, sign):
    """60 noisy projections without CTF, protein of the given sign, off centre by known shifts."""
    rng = np.random.default_rng(0)
    views = torch.from_numpy(view_matrix(*rng.uniform(0, 180, size=(3, 60))))
    k = (torch.arange(24) - 12).double() / (24 * 13.0)
    images = ifft2c(complex_in_state("whole").projections(views, k)).real.numpy()
    images = sign * (images + rng.normal(size=images.shape) * 3 * images.std())
    images = np.roll(images, (2, -3), axis=(1, 2))  # y, x
    write_stack(folder / "s.mrcs", images.astype(np.float32) + 5, 13.0)
    blank = dict.fromkeys(
        ["defocus_u_angstrom", "defocus_v_angstrom", "astigmatism_degrees"], np.nan
    )
    known = {"voltage_kv": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.07}
    return pd.DataFrame(
        {"slot": np.arange(60), "stack": str(folder / "s.mrcs"), "pixel_size_angstrom": 13.0}
        | {"shift_x_angstrom": 39.0, "shift_y_angstrom": -26.0, "premultiplied": False}
        | {"phase_shift_degrees": 0.0, "bfactor_A2": 0.0, **blank, **known}
    )


@pytest.mark.parametrize(("name", "sign"), [("bright", 3.0), ("dark", -0.2)])
def test_sign_is_found(tmp_path, name, sign):
    found = measure_contrast(_without_ctf(tmp_path, sign), 24)
    assert found.sign == name
    assert found.standard_errors > 5
    assert np.sign(found.difference) == np.sign(sign)


def test_images_without_a_particle_are_taken_for_bright(tmp_path):
    table = _without_ctf(tmp_path, -1.0)
    write_stack(tmp_path / "s.mrcs", np.ones((60, 24, 24), np.float32), 13.0)
    assert measure_contrast(table, 24).sign == "bright"


def test_dark_test_data_is_found_dark_and_real_data_bright(shared_data, tmp_path):
    stars = {
        "dark": shared_data / "sim_ribosome_32" / "10076_both_32_sim.star",
        "bright": next((shared_data / "warptools_ribosome_32").glob("*optimisation_set.star")),
    }
    for sign, star in stars.items():
        import_star(star, tmp_path / sign)
        assert read_json(tmp_path / sign / "import.json")["contrast"] == sign


@pytest.mark.parametrize("seed", range(4))
def test_fringes_of_defocus_are_not_taken_for_dark_protein(tmp_path, seed):
    """Bright particles that fill the box, at little noise: a ring may be darker than the rim."""
    settings = SimulateSettings(particles=24, box=24, snr=3.0, junk_fraction=0, seed=seed)
    simulate_particles(settings.model_copy(update={"pixel_size_angstrom": 11.0}), tmp_path / "raw")
    import_star(tmp_path / "raw" / "particles.star", tmp_path / "set")
    assert read_json(tmp_path / "set" / "import.json")["contrast"] == "bright"
