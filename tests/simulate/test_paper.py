"""Image formation of the tomoDRGN paper, measured on the images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tomopipe.config.simulate import SimulateSettings
from tomopipe.simulate.draws import draw_particles, draw_tilts, draw_truth, paper_defoci
from tomopipe.simulate.formation import NoiseLevels, noise_levels, noisy_images
from tomopipe.simulate.phantom import complex_in_state
from tomopipe.simulate.scheme import dose_symmetric


def settings(**given) -> SimulateSettings:
    return SimulateSettings(particles=4, noise="paper", box=24, pixel_size_angstrom=13.0, **given)


def test_paper_sets_what_is_not_given():
    paper = settings()
    assert (paper.tilts, paper.min_tilts, paper.tilt_group) == (41, 41, 2)
    assert (paper.amplitude_contrast, paper.astigmatism_angstrom) == (0.1, 0.0)
    assert settings(tilts=11).min_tilts == 11
    assert settings(min_tilts=5).tilts == 41
    assert SimulateSettings(**paper.model_dump()) == paper


@pytest.mark.parametrize("group", [1, 2, 3])
def test_dose_symmetric_schemes_hold_every_tilt_once(group):
    steps = dose_symmetric(41, group)
    assert sorted(steps) == list(range(-20, 21))
    assert list(dose_symmetric(9, 2)) == [0, 1, 2, -1, -2, 3, 4, -3, -4]
    assert list(dose_symmetric(4, 1)) == [0, 1, -1, 2]


CIRCLE = np.hypot(*np.meshgrid(*[np.arange(24) - 12] * 2)) < 12


def test_structural_noise_has_the_ratio_of_the_paper_before_the_ctf():
    paper = settings(states={"whole": 1.0}, motion_degrees=0, dose_per_tilt=0, tilts=5)
    whole = complex_in_state("whole")
    views = Rotation.random(25, rng=np.random.default_rng(3))
    seen = [
        replace(whole, centres=view.apply(whole.centres)).volume(24, 13.0).sum(0).numpy()[CIRCLE]
        for view in views
    ]
    assert noise_levels(paper).structural == pytest.approx(np.std(seen) / 1.4**0.5, rel=0.03)


def test_shot_noise_has_the_ratio_of_the_paper_after_the_ctf():
    paper = settings(states={"whole": 1.0}, motion_degrees=0, junk_fraction=0, tilts=11)
    levels = noise_levels(paper)
    rng = np.random.default_rng(0)
    tilts = draw_tilts(paper, rng)
    particles = list(draw_particles(draw_truth(paper, rng), tilts, paper, rng))

    def images(structural, white):
        chosen = NoiseLevels(white, structural)
        made = [noisy_images(p, paper, chosen, np.random.default_rng(1)) for p in particles]
        return np.concatenate(made)[:, CIRCLE]

    grainy, noisy = images(levels.structural, 0), images(levels.structural, levels.white)
    assert grainy.var() / (noisy - grainy).var() == pytest.approx(0.1, rel=0.15)


def test_tilted_images_are_weaker_by_the_cosine():
    paper = settings(states={"whole": 1.0}, motion_degrees=0, dose_per_tilt=0, junk_fraction=0)
    rng = np.random.default_rng(0)
    particle = next(draw_particles(draw_truth(paper, rng), draw_tilts(paper, rng), paper, rng))
    images = noisy_images(particle, paper, NoiseLevels(0.0, 0.0), rng)
    mean = np.abs(np.fft.fft2(images)[:, 0, 0])  # the mass, which no view changes
    cosine = np.cos(np.deg2rad(particle.series.tilt))
    np.testing.assert_allclose(mean / mean[0], cosine, rtol=0.02)


def test_defoci_are_a_mixture_of_gaussians():
    defoci = paper_defoci(np.random.default_rng(0), 20000)
    assert defoci.mean() == pytest.approx(25000, abs=200)
    assert defoci.std() == pytest.approx(np.hypot(np.sqrt(2) * 5000, 3000), rel=0.02)
