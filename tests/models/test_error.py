"""The fast step does what automatic differentiation of the prediction does."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from tomopipe.config.training import HeterogeneousSettings, HomogeneousSettings
from tomopipe.errors import ConfigError
from tomopipe.models import error
from tomopipe.models.homogeneous import HomogeneousModel
from tomopipe.models.image import ImageModel
from tomopipe.models.losses import squared_error
from tomopipe.models.mean import FixedVolumes
from tomopipe.models.vae import HeterogeneousModel


def make_model(store, basis: int, dtype: str = "float32", **changes) -> HeterogeneousModel:
    torch.manual_seed(1)
    box = store.box
    settings = HeterogeneousSettings(zdim=3, hidden=32, layers=2, dtype=dtype, **changes)
    fixed = FixedVolumes(torch.randn(box, box, box), torch.randn(basis, box, box, box))
    return HeterogeneousModel(
        settings, box=box, pixel_size=store.pixel_size, scale=store.scale, fixed=fixed
    )


def plain(model, batch, *z) -> torch.Tensor:
    """The error from what the model predicts, differentiated by torch."""
    image = ImageModel.of(batch, damage=model.settings.damage)
    return squared_error(model.predict(batch, *z), batch.data, image.transfer, image.weight).sum()


def gradients(value, model, *z) -> list[torch.Tensor]:
    return list(torch.autograd.grad(value, [*z, *model.decoder.parameters()]))


@pytest.mark.parametrize(("basis", "piece"), [(0, 4096), (2, 4096), (2, 700)])
@pytest.mark.parametrize("damage", [True, False])
def test_error_and_gradients_are_those_of_the_prediction(
    make_store, monkeypatch, basis, piece, damage
):
    monkeypatch.setitem(error._PIECE, "cpu", piece)
    store = make_store(["body", "whole", "body"], [3, 5, 4], noise=30.0)
    model, batch = make_model(store, basis, damage=damage), store.batch([2, 0, 1])
    z = torch.randn(3, 3, requires_grad=True)
    expected, found = plain(model, batch, z), model.squared_error(batch, z)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    for one, other in zip(gradients(found, model, z), gradients(expected, model, z), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max()))


def test_homogeneous_model_too(make_store):
    store = make_store(["body", "whole"], [3, 5], noise=30.0)
    settings = HomogeneousSettings(hidden=32, layers=1, dtype="float32")
    model = HomogeneousModel(settings, box=store.box, pixel_size=10.0, scale=1.0)
    batch = store.batch([1, 0])
    expected, found = plain(model, batch), model.squared_error(batch)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    for one, other in zip(gradients(found, model), gradients(expected, model), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max()))


def test_half_precision_is_close(make_store):
    """bfloat16 keeps 8 bits: gradients within some percent, the error within a thousandth."""
    store = make_store(["body", "whole"], [6, 6], noise=30.0)
    batch, z = store.batch([0, 1]), torch.randn(2, 3, requires_grad=True)
    exact, half = (make_model(store, 2, d) for d in ("float32", "bfloat16"))
    a, b = exact.squared_error(batch, z), half.squared_error(batch, z)
    assert b.item() == pytest.approx(a.item(), rel=1e-3)
    for one, other in zip(gradients(b, half, z), gradients(a, exact, z), strict=True):
        assert float((one - other).norm() / other.norm()) < 0.1
    with torch.no_grad():
        one, other = half.predict(batch, z), exact.predict(batch, z)
    assert float((one - other).norm() / other.norm()) < 0.02


def test_padding_to_a_fixed_length_changes_nothing(make_store, monkeypatch):
    """What compiled steps do, without the compiler."""
    store = make_store(["body", "whole"], [3, 5], noise=30.0)
    model, batch = make_model(store, 2), store.batch([0, 1])
    z = torch.randn(2, 3)
    expected = model.squared_error(batch, z)
    monkeypatch.setattr(error, "_work", lambda *_: (error._piece, 512))
    torch.testing.assert_close(model.squared_error(batch, z), expected)


def test_tf32_is_float32_on_a_cpu(make_store):
    store = make_store(["body"], [4], noise=30.0)
    batch, z = store.batch([0]), torch.randn(1, 3)
    values = [make_model(store, 1, d).squared_error(batch, z) for d in ("float32", "tf32")]
    assert torch.equal(*values)


def test_what_cannot_be_compiled(make_store, monkeypatch):
    """`on` says so in one sentence; `auto` goes on without."""
    store = make_store(["body", "whole"], [3, 5], noise=30.0)
    batch, z = store.batch([0, 1]), torch.randn(2, 3)

    def no_compiler(*parts):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(error, "_compiler", lambda: no_compiler)
    monkeypatch.setattr(error, "_FAILED", [])
    model = make_model(store, 1, compile="on")
    with pytest.raises(ConfigError, match=r"compile is 'on'.*no C\+\+ compiler.*set it to off"):
        model.squared_error(batch, z)
    expected = make_model(store, 1).squared_error(batch, z)
    work = partial(error._compiled_piece, required=False)
    monkeypatch.setattr(error, "_work", lambda *_: (work, 64))  # as on a GPU
    torch.testing.assert_close(
        make_model(store, 1, compile="auto").squared_error(batch, z), expected
    )
    assert error._FAILED == ["RuntimeError: no C++ compiler"]
