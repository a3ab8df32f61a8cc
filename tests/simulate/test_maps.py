import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tomopipe.config.simulate import SimulateSettings
from tomopipe.errors import InputError
from tomopipe.io.atomic import read_parquet
from tomopipe.io.mrc import open_stack, write_volume
from tomopipe.physics.fourier import ifft2c
from tomopipe.physics.fsc import correlation
from tomopipe.simulate.keep import keep_tensors
from tomopipe.simulate.maps import Trajectory
from tomopipe.simulate.particles import simulate_particles, true_volume
from tomopipe.simulate.phantom import complex_in_state


@pytest.fixture
def rendered(tmp_path):
    """The phantom as MRC files at 5 Å, whole and without its lobe."""
    paths = {}
    for state in ("whole", "no_lobe"):
        paths[state] = str(tmp_path / f"{state}.mrc")
        write_volume(paths[state], complex_in_state(state).volume(72, 5.0).numpy(), 5.0)
    return paths


def test_projections_of_a_map_are_those_of_the_blobs_it_was_made_from(rendered):
    views = torch.from_numpy(Rotation.random(6, rng=np.random.default_rng(0)).as_matrix())
    frequency = (torch.arange(32) - 16).double() / 320
    ours = Trajectory((rendered["whole"],), 0.0, 32, 10.0).projections(views, frequency)
    exact = complex_in_state("whole").projections(views, frequency)
    images, truth = ifft2c(ours).real, ifft2c(exact).real
    for image, wanted in zip(images, truth, strict=True):
        assert np.corrcoef(image.ravel(), wanted.ravel())[0, 1] > 0.999
    # density is kept: 2 x 2 x 2 voxels of 5 Å make one of 10 Å
    assert float(8 * images.norm() / truth.norm()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("pixel", [10.0, 8.7, 3.9])
def test_resampled_map_is_the_blobs_at_that_pixel_size(rendered, pixel):
    box = 2 * round(160 / pixel)
    volume = Trajectory((rendered["whole"],), 0.0, box, pixel).volume()
    exact = complex_in_state("whole").volume(box, pixel)
    assert volume.shape == (box, box, box)
    assert correlation(volume, exact) > 0.999


def test_between_two_maps_lies_their_mixture(rendered):
    paths = (rendered["whole"], rendered["no_lobe"], rendered["whole"])
    at = [Trajectory(paths, c, 32, 10.0) for c in (0.0, 0.125, 0.5, 1.0)]
    start, quarter, middle, end = (a.volume() for a in at)
    assert torch.allclose(quarter, 0.75 * start + 0.25 * middle, atol=1e-6)
    assert torch.equal(start, end)
    view, frequency = torch.eye(3)[None].double(), (torch.arange(32) - 16).double() / 320
    slices = [a.projections(view, frequency) for a in at]
    assert torch.allclose(slices[1], 0.75 * slices[0] + 0.25 * slices[2], atol=1e-3)


def test_particles_from_a_map_of_the_phantom_are_those_of_the_phantom(rendered, tmp_path):
    common = {"particles": 6, "tilts": 5, "min_tilts": 5, "tomograms": 1, "junk_fraction": 0}
    common |= {"motion_degrees": 0, "snr": 1e6}
    mapped = {"whole": {"population": 1, "maps": [rendered["whole"]]}}
    stacks = []
    for name, states in {"phantom": {"whole": 1}, "map": mapped}.items():
        simulate_particles(SimulateSettings(**common, states=states), tmp_path / name)
        with open_stack(tmp_path / name / "tomo_001.mrcs") as stack:
            stacks.append(stack.read(range(stack.shape[0])))
    for wanted, image in zip(*stacks, strict=True):
        assert np.corrcoef(wanted.ravel(), image.ravel())[0, 1] > 0.99


def test_truth_of_a_trajectory_and_of_junk_maps(rendered, tmp_path):
    settings = SimulateSettings(
        particles=20,
        tilts=3,
        min_tilts=2,
        tomograms=2,
        junk_fraction=0.5,
        junk_kinds=["other", "misaligned"],
        junk_maps=[rendered["no_lobe"]],
        states={"turning": {"population": 2, "maps": list(rendered.values())}},
    )
    simulate_particles(settings, tmp_path / "a")
    truth = read_parquet(tmp_path / "a" / "truth.parquet")
    assert truth["coordinate"].notna().equals(~truth["junk"])
    assert truth["kind"].value_counts().to_dict() == {"": 10, "other": 5, "misaligned": 5}
    assert (tmp_path / "a" / "truth" / "turning.mrc").is_file()
    end = true_volume(settings, "turning", 1.0)
    assert correlation(end, complex_in_state("no_lobe").volume(32, 10.0)) > 0.999


def test_kept_tensors_are_bounded_by_their_bytes():
    made = []

    @keep_tensors(2 * 4 * 10)
    def tensor(number):
        made.append(number)
        return torch.full((10,), float(number))

    for number in (1, 2, 1, 3, 1, 2):  # the third puts out the second, the longest unused
        assert tensor(number)[0] == number
    assert made == [1, 2, 3, 2]


def test_maps_that_cannot_be_used_are_refused_with_their_name(tmp_path):
    flat, unsized = tmp_path / "flat.mrc", tmp_path / "unsized.mrc"
    write_volume(flat, np.zeros((4, 8, 8), np.float32), 5.0)
    write_volume(unsized, np.zeros((8, 8, 8), np.float32), 0.0)
    for path in (tmp_path / "none.mrc", flat, unsized):
        with pytest.raises(InputError, match=path.name):
            Trajectory((str(path),), 0.0, 8, 5.0).volume()
