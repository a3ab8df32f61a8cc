from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation

from tomopipe.config.training import HeterogeneousSettings, HomogeneousSettings
from tomopipe.models.decoder import FourierDecoder, half_space_sign
from tomopipe.models.homogeneous import HomogeneousModel
from tomopipe.models.mean import FixedVolumes
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.physics.fourier import crop_or_pad, fft3c, half_plane, ifft3c
from tomopipe.physics.project import slice_points

SMALL = {"hidden": 32, "layers": 2, "encoder_hidden": 16, "encoder_radius": 4, "dtype": "float32"}


def small_model(box: int = 12, **changes) -> HeterogeneousModel:
    torch.manual_seed(0)
    settings = HeterogeneousSettings(zdim=3, **(SMALL | changes))
    fixed = FixedVolumes(torch.randn(box, box, box), torch.randn(2, box, box, box))
    return HeterogeneousModel(settings, box=box, pixel_size=10.0, scale=2.0, fixed=fixed).eval()


def test_volume_is_real():
    decoder = FourierDecoder(12, 3, 32, 2)
    points = torch.rand(50, 3) - 0.5
    points[:5, 2] = 0
    points[:2, 1] = 0
    z = torch.randn(1, 3)
    owner = torch.zeros(50, dtype=torch.long)
    forward, backward = decoder(points, owner, z), decoder(-points, owner, z)
    torch.testing.assert_close(forward[:, 0], backward[:, 0])
    torch.testing.assert_close(forward[:, 1], -backward[:, 1])
    assert (half_space_sign(points) == -half_space_sign(-points)).all()


def test_z_enters_once_as_if_concatenated():
    decoder = FourierDecoder(12, 3, 32, 2)
    points = torch.rand(40, 3) * 0.3  # upper half of space
    owner = torch.arange(40) % 4
    z = torch.randn(4, 3)
    phase = points @ decoder.features.T
    plain = torch.cat([phase.sin(), phase.cos(), z[owner]], dim=-1)
    hidden = torch.relu(decoder.first(plain))
    for layer in decoder.body:
        hidden = torch.relu(hidden + hidden @ layer.weight.T + layer.bias)
    torch.testing.assert_close(decoder(points, owner, z), decoder.last(hidden))


def test_features_have_the_published_spread():
    torch.manual_seed(1)
    decoder = FourierDecoder(64, 0, 16, 1)
    assert decoder.features.shape == (96, 3)
    assert float(decoder.features.std()) == pytest.approx(0.5 * 32, rel=0.1)


@pytest.mark.parametrize("angles", [(0, 0, 0), (90, 0, 0), (0, 90, 0), (90, 90, 180)])
def test_slice_of_volume_is_what_is_predicted(angles):
    model, box = small_model(), 12
    z = torch.randn(1, 3)
    transform = fft3c(model.volumes(z)[0]) / model.scale
    view = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    lattice = half_plane(box).points
    # on the lattice exactly: a hair below z = 0 is another half of space
    points = (slice_points(lattice, torch.from_numpy(view), box) * box).round().float() / box
    with torch.no_grad():
        owner = torch.zeros(len(points), dtype=torch.long)
        predicted = torch.view_as_complex(model.transform(points, owner, z).contiguous())
    x, y, w = (points * box).round().long().T + box // 2
    torch.testing.assert_close(transform[w, y, x], predicted, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_volumes_decoded_together_are_those_decoded_alone(monkeypatch, dtype):
    """Against every point of the half space by the plain decoder, and Friedel's law."""
    model, box = small_model(dtype=dtype), 12
    z = torch.randn(5, 3)
    together = model.volumes(z)
    monkeypatch.setattr("tomopipe.models.volumes._VOXELS", 2 * box**3)  # two at once
    torch.testing.assert_close(model.volumes(z), together)
    for row, volume in zip(z, together, strict=True):
        torch.testing.assert_close(model.volumes(row)[0], volume, atol=1e-4, rtol=1e-4)
        k = torch.arange(box) - box // 2
        lattice = torch.stack(torch.meshgrid(k, k, k, indexing="ij")[::-1], -1).reshape(-1, 3)
        inside = (lattice.square().sum(-1) < (box // 2) ** 2) & (lattice != 0).any(-1)
        points = lattice[inside].float() / box
        with torch.no_grad():
            value = model.transform(points, torch.zeros(len(points), dtype=torch.long), row[None])
        whole = torch.zeros(box**3, 2)
        whole[inside] = value
        grid = torch.view_as_complex(whole).view(box, box, box)
        alone = model.scale * ifft3c(grid).real
        error = (alone - volume).norm() / volume.norm()
        assert float(error) < (1e-5 if dtype == "float32" else 0.02)


def test_small_box_is_a_fourier_crop():
    model = small_model()
    z = torch.randn(2, 3)
    full, small = model.volumes(z), model.volumes(z, box=8)
    crop = crop_or_pad(fft3c(full[1]), 8) * (8 / 12) ** 3
    k = torch.arange(8) - 4
    grid = torch.stack(torch.meshgrid(k, k, k, indexing="ij"))
    inside = grid.square().sum(0) < 16
    torch.testing.assert_close(small[1], ifft3c(crop * inside).real, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="box 12"):
        model.volumes(z, box=14)


def test_model_on_disk_is_the_same(tmp_path):
    from tomopipe.models import load_model
    from tomopipe.models.files import save_model

    z = torch.randn(2, 3)
    model = small_model()
    save_model(tmp_path / "a", model, model.describe())
    torch.testing.assert_close(load_model(tmp_path / "a").volumes(z), model.volumes(z))
    flat = HomogeneousModel(
        HomogeneousSettings(hidden=16, layers=1), box=12, pixel_size=10.0, scale=2.0
    )
    save_model(tmp_path / "b", flat, flat.describe())
    torch.testing.assert_close(load_model(tmp_path / "b").volumes(z[:, :0])[1], flat.volume())


def test_damaged_and_foreign_models_are_refused(tmp_path):
    from tomopipe.errors import StateError
    from tomopipe.models import load_model
    from tomopipe.models.files import save_model

    model = small_model()
    with pytest.raises(StateError, match="missing"):
        load_model(tmp_path)
    save_model(tmp_path, model, {**model.describe(), "kind": "guess"})
    with pytest.raises(StateError, match="guess"):
        load_model(tmp_path)
    save_model(tmp_path, model, model.describe())
    with (tmp_path / "model.safetensors").open("r+b") as stream:
        stream.truncate(1000)
    with pytest.raises(StateError, match=r"model\.safetensors"):
        load_model(tmp_path)
    other = small_model(hidden=40)
    save_model(tmp_path, other, model.describe())
    with pytest.raises(StateError, match="does not fit"):
        load_model(tmp_path)
