"""What matters on a GPU, looked at without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.engine.measure import Bench
from tomopipe.config.training import HeterogeneousSettings
from tomopipe.dataset import memory, reader
from tomopipe.dataset.reader import Reader, open_reader
from tomopipe.models import error
from tomopipe.models.vae import HeterogeneousModel
from tomopipe.training.objective import HeterogeneousObjective
from tomopipe.training.sparse import memory_budget
from tomopipe.training.splits import hold_out, numpy_rng
from tomopipe.training.warmstart import fit_subspace

SMALL = {"zdim": 2, "hidden": 16, "layers": 1, "encoder_hidden": 8, "encoder_radius": 3}
SMALL |= {"dtype": "float32", "device": "cpu"}


def forbidden(*_):
    raise AssertionError("a step has sent something to its device")


@pytest.mark.parametrize("encoder", ["volume", "tilts"])
def test_a_step_sends_nothing(make_store, monkeypatch, encoder):
    """What it reads lies on the device when it begins: a copy would wait for the step before."""
    store = make_store(["body", "whole", "body"], [5, 7, 4], noise=30.0)
    torch.manual_seed(0)
    settings = HeterogeneousSettings(encoder=encoder, **SMALL)
    model = HeterogeneousModel(settings, box=store.box, pixel_size=10.0, scale=1.0)
    split = hold_out(list(store.uids), store.images_per_particle, 0.2, 0)
    fit_subspace(model, Reader(store), split)
    objective = HeterogeneousObjective(model, Reader(store), split)
    particles = np.array([2, 0])
    step = objective.prepare(particles, (0, 1))
    expected = objective(step)  # makes the table of all images, too
    encode, _ = objective.draw(particles, [numpy_rng(0, 1, 2), numpy_rng(0, 1, 0)])
    pairs = zip(
        objective.encoding.encode(step.encode), objective.encoding(particles, encode), strict=True
    )
    assert all(torch.equal(found, other) for found, other in pairs)

    monkeypatch.setattr(torch, "from_numpy", forbidden)
    monkeypatch.setattr(Reader, "sent", forbidden)
    monkeypatch.setattr(Reader, "batch", forbidden)
    terms = objective(step)
    assert torch.equal(terms.error, expected.error)
    assert torch.equal(terms.kl, expected.kl)


def test_compiled_pieces_have_few_lengths():
    largest, multiple = error._PIECE["cuda"], error._MULTIPLE
    sizes = np.arange(1, largest + 1, 37)
    lengths = np.array([error._few_lengths(int(n), multiple) for n in sizes])
    assert (lengths >= sizes).all()
    assert lengths.max() == largest
    assert (lengths - sizes < np.maximum(multiple, sizes / 4)).all()
    assert len(set(lengths)) == 16
    assert {error._few_lengths(n, multiple) for n in (1, 5000, error._PIECE["cpu"])} == {multiple}


def test_more_than_eight_lengths_are_compiled(monkeypatch):
    """torch's own limit, beyond which it goes on without a word."""
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    plain = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **_: plain(f, dynamic=False, backend=backend))
    monkeypatch.setattr(error, "_piece", lambda values: [2 * values])
    error._compiler.cache_clear()
    torch.compiler.reset()
    try:
        for length in range(2, 22):
            error._compiled_piece(torch.ones(length), required=True)
    finally:
        error._compiler.cache_clear()
        torch.compiler.reset()
    assert len(compiled) == 20


def test_no_memory_is_not_called_no_compiler(monkeypatch):
    def too_large(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(error, "_compiler", lambda: too_large)
    monkeypatch.setattr(error, "_FAILED", [])
    monkeypatch.setattr(error, "_piece", lambda: [])
    with pytest.raises(torch.cuda.OutOfMemoryError):
        error._compiled_piece(required=True)
    assert error._FAILED == []
    assert error._compiled_piece(required=False) == []  # auto: plain work may need less
    assert error._FAILED == ["OutOfMemoryError: CUDA out of memory"]


@pytest.fixture
def gpu(monkeypatch):
    """A GPU with 1 MB free, and 2 MB when torch has given back what it keeps."""
    free = [1_000_000]
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: free.__setitem__(0, 2_000_000))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 8_000_000))
    return torch.device("cuda:0")


def test_what_torch_keeps_counts_as_free(gpu, make_store, monkeypatch):
    assert memory.free_memory(gpu) == 2_000_000
    assert memory_budget(None, "cuda:0") == pytest.approx(1.2e6)
    assert memory_budget(0.5, gpu) == 5e8
    assert memory_budget(None, "cpu") == 4e9
    store = make_store(["body"], [4])
    monkeypatch.setattr(reader, "Reader", lambda store, device, resident: resident)
    for images, fits in ((1, True), (3, False)):  # half of 2 MB holds 250,000 coefficients
        monkeypatch.setattr(store, "counts", np.full(images, 100_000))
        assert open_reader(store, gpu) is fits


def test_a_benchmark_runs_the_steps_of_the_loop(make_store):
    store = make_store(["body", "whole", "body"], [5, 7, 4], noise=30.0)
    settings = HeterogeneousSettings(batch=2, **SMALL)
    one, other = (Bench(store, settings, torch.device("cpu"), basis=1) for _ in range(2))
    one.run(2)
    for number in range(2):
        other.step(number)
    assert one.coefficients == other.coefficients
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)
