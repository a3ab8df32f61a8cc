"""The sign of defocus over height, told by the noise of premultiplied images."""

from __future__ import annotations

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch

from tests.dataset.importing.test_real import WARP
from tomopipe.config.importing import ImportSettings
from tomopipe.dataset.defocus_hand import OF_HEIGHT, measure_defocus_hand, turned_round
from tomopipe.dataset.images import ctf_parameters
from tomopipe.dataset.importer import checked_particles, read_draft
from tomopipe.errors import InputError
from tomopipe.physics.ctf import ctf
from tomopipe.physics.fourier import fft2c, full_plane, ifft2c

BOX, PIXEL, CUT = 32, 8.0, 96


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """White noise times the CTF of each image, cut to its box; height adds up to 4000 Å."""
    rng = np.random.default_rng(3)
    n = 120
    height = rng.uniform(-4000, 4000, n)
    tilt = rng.uniform(20000, 30000, n)
    stack = tmp_path_factory.mktemp("noise") / "noise.mrcs"
    images = pd.DataFrame(
        {
            "stack": str(stack),
            "slot": np.arange(n),
            "defocus_u_angstrom": tilt + height,
            "defocus_v_angstrom": tilt + height - 800,
            "astigmatism_degrees": rng.uniform(0, 180, n),
            "voltage_kv": 300.0,
            "cs_mm": 2.7,
            "amplitude_contrast": 0.07,
            "phase_shift_degrees": 0.0,
            "bfactor_A2": 0.0,
            "scale": rng.uniform(0.5, 1, n),
            "dose_e_per_A2": 0.0,
            "pixel_size_angstrom": PIXEL,
            "premultiplied": True,
            "dose_weighted": False,
            OF_HEIGHT: height,
        }
    )
    k = full_plane(CUT).double() / (CUT * PIXEL)
    factor = ctf(k[None], **ctf_parameters(images)).reshape(n, CUT, CUT)
    white = torch.from_numpy(rng.normal(size=(n, CUT, CUT)))
    low = (CUT - BOX) // 2
    cut = ifft2c(fft2c(white) * factor).real[:, low : low + BOX, low : low + BOX]
    with mrcfile.new(stack) as file:
        file.set_data((cut.numpy() * images["scale"].to_numpy()[:, None, None]).astype(np.float32))
    return images


def test_noise_tells_the_sign(noise):
    right, wrong = (measure_defocus_hand(table, BOX) for table in (noise, turned_round(noise)))
    assert right.standard_errors > 6
    assert wrong.standard_errors == pytest.approx(-right.standard_errors)
    assert right.images == (noise[OF_HEIGHT].abs() > 100).sum()


def test_noise_of_another_ctf_tells_nothing(noise):
    """Heights that have nothing to do with the images' CTF."""
    other = noise[OF_HEIGHT].to_numpy()[::-1]
    shift = other - noise[OF_HEIGHT].to_numpy()
    names = ["defocus_u_angstrom", "defocus_v_angstrom"]
    mixed = noise.assign(**{n: noise[n] + shift for n in names}, **{OF_HEIGHT: other})
    assert abs(measure_defocus_hand(mixed, BOX).standard_errors) < 5


def test_images_that_were_not_multiplied_or_are_few_are_not_asked(noise):
    assert measure_defocus_hand(noise.assign(premultiplied=False), BOX) is None
    assert measure_defocus_hand(noise.iloc[:40], BOX) is None
    assert measure_defocus_hand(noise.assign(**{OF_HEIGHT: np.nan}), BOX) is None


def test_warptools_stacks_fit_the_height_that_warp_adds(shared_data, capsys):
    """Of rlnTomoHand -1, which Warp writes, defocus grows along the beam."""
    star = shared_data / f"{WARP}_optimisation_set.star"
    found = read_draft(star, ImportSettings())
    measured = measure_defocus_hand(found.images, 32)
    assert measured.standard_errors > 10
    kept = checked_particles(found, ImportSettings(contrast="bright"))
    assert "warning" not in capsys.readouterr().err
    assert not kept.info["defocus_hand"]["turned"]
    turned = checked_particles(found, ImportSettings(contrast="bright", defocus_hand="turn"))
    assert turned.info["defocus_hand"] == {"turned": True, "measured": None}
    column = "defocus_u_angstrom"
    change = kept.images[column] - turned.images[column]
    np.testing.assert_allclose(change, 2 * found.images[OF_HEIGHT], atol=1e-6)


def test_a_file_that_states_the_other_sign_is_put_right(shared_data, capsys):
    found = read_draft(shared_data / f"{WARP}_optimisation_set.star", ImportSettings())
    right = checked_particles(found, ImportSettings(contrast="bright")).images
    object.__setattr__(found, "images", turned_round(found.images))
    mended = checked_particles(found, ImportSettings(contrast="bright"))
    assert mended.info["defocus_hand"]["turned"]
    assert "changes the other way with height" in capsys.readouterr().err
    pd.testing.assert_frame_equal(mended.images, right)


def test_tables_of_images_state_every_defocus_themselves(stars, tmp_path):
    star = stars.make("warp", tmp_path).write()
    with pytest.raises(InputError, match="defocus_hand can be turned"):
        settings = ImportSettings(defocus_hand="turn")
        checked_particles(read_draft(star, settings), settings)


@pytest.mark.parametrize("dialect", ["relion5", "warptools"])
@pytest.mark.parametrize("by", ["relion", "relion, not multiplied", "tomopipe"])
def test_premultiplied_stacks_hold_the_scale_of_the_ctf_but_those_of_tomopipe(
    stars, tmp_path, dialect, by
):
    made = stars.make(dialect, tmp_path)
    optics = next(blocks["optics"] for blocks in made.files.values() if "optics" in blocks)
    if by == "tomopipe":
        optics["tomopipeDataAreDoseWeighted"] = "1"
    settings = ImportSettings(premultiplied=False if "not" in by else "auto")
    images = read_draft(made.write(), settings).images
    expected = np.cos(np.radians(images["tilt_degrees"])) if by == "relion" else 1.0
    # the fixture's stage tilt is that about y, images' the whole angle: 5 degrees about x
    np.testing.assert_allclose(images["scale"], expected, atol=0.01)
