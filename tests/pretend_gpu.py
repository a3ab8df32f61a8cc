"""A GPU that is none: tensors that say `cuda:0`, keep apart from the CPU's, and are computed there.

Two things that fail on a GPU and work on a CPU fail here, too: an operation on tensors of two
devices, and a tensor of the GPU given to numpy. Speed, precision, sums by atomics, memory and the
thread that makes batches ahead are not pretended.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only

GPU = torch.device("cuda", 0)
aten = torch.ops.aten
_operations = [0]
_MOVES = {aten._to_copy.default, aten.copy_.default}
# their indices may lie on the CPU beside values on a GPU, as torch allows
_INDEXED = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}


# take no numbers of the CPU either
_OF_TENSORS = {aten.cat.default, aten.stack.default}


class OnGpu(torch.Tensor):
    """A tensor that says it is on the GPU; `raw` has its values."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> OnGpu:
        assert type(raw) is torch.Tensor, type(raw)
        made: OnGpu = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            layout=raw.layout,
            device="cpu",  # which torch itself believes, where a GPU has to be there
        )
        made.raw = raw
        return made

    @staticmethod
    def raw_of(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, OnGpu):
            raise RuntimeError("product of a sparse matrix on cuda:0 with a tensor on cpu")
        return tensor.raw

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            moved = _moved(func, args, kwargs or {})
            return func(*args, **(kwargs or {})) if moved is None else moved

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({self.raw!r})"

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu() first")

    __array__ = numpy

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class SparseOnGpu:
    """A sparse matrix that says it is on the GPU, for products."""

    device = GPU

    def __init__(self, raw: torch.Tensor) -> None:
        self.raw, self.shape = raw, raw.shape

    def t(self) -> SparseOnGpu:
        return SparseOnGpu(self.raw.t())

    def __matmul__(self, dense: torch.Tensor) -> torch.Tensor:
        return OnGpu(self.raw @ OnGpu.raw_of(dense))

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return NotImplemented  # torch takes it for a tensor, and leaves it to those


class PretendGpu(TorchDispatchMode):
    """Sees what is made on the GPU from nothing or from the CPU's."""

    def operations(self) -> int:
        """How many operations on tensors of the GPU there were."""
        return _operations[0] - self._before

    def __enter__(self) -> PretendGpu:
        self._before = _operations[0]
        return super().__enter__()  # type: ignore[no-any-return]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def _moved(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What torch decides by the device that it believes in; None for all else."""
    if func is torch.Tensor.cpu:
        return aten._to_copy.default(args[0], device=torch.device("cpu"))
    if func is torch.Tensor.addmm_ and isinstance(args[1], SparseOnGpu):
        total, matrix, dense = args
        total.raw.addmm_(matrix.raw, OnGpu.raw_of(dense), **kwargs)
        return total
    if func is torch._C._nn.one_hot:
        return OnGpu(func(args[0].raw, *args[1:], **kwargs))
    if func is torch.Tensor.tolist:
        return args[0].raw.tolist()
    if func is torch.Tensor.new_tensor:
        made = torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype))
        return made.to(kwargs.get("device", GPU))
    if func is not torch.Tensor.to:
        return None
    value, *wanted = args
    wanted += [kwargs[name] for name in ("device", "dtype", "other") if name in kwargs]
    device, dtype = value.device, value.dtype
    for one in wanted:
        if isinstance(one, torch.Tensor):
            device, dtype = one.device, one.dtype
        elif isinstance(one, torch.dtype):
            dtype = one
        elif isinstance(one, str | torch.device):
            device = torch.device(one)
    if device.type == value.device.type and dtype == value.dtype and not kwargs.get("copy"):
        return value
    return aten._to_copy.default(
        value, dtype=dtype, device=GPU if device.type == "cuda" else device
    )


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute on the CPU, and say on which device the result lies."""
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    mine = [x for x in tensors if isinstance(x, OnGpu)]
    device = kwargs.get("device")
    _operations[0] += bool(mine)
    if mine and func not in _MOVES:
        _refuse_mixture(func, args, tensors)
    there = bool(mine) if device is None else torch.device(device).type == "cuda"
    if not tensors and torch._C._current_graph_task_id() != -1:
        there = True  # zeros that autograd makes, where it believes its values are
    if func is aten.copy_.default:
        there = isinstance(args[0], OnGpu)
    generator = kwargs.get("generator")
    if there and isinstance(generator, torch.Generator):
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    if device is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    known = {id(x.raw): x for x in mine}
    plain = tree_map_only(OnGpu, lambda x: x.raw, (args, kwargs))
    found = func(*plain[0], **plain[1])
    if func is aten._to_copy.default and isinstance(found, torch.Tensor):
        # of another device it is a copy, also where the type is the same
        found = found.clone() if any(found is x for x in tree_flatten(plain)[0]) else found

    def placed(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not there:
            return value
        if id(value) in known:
            return known[id(value)]
        # torch does not see on the outside that what is inside is to be conjugated
        return OnGpu(value.resolve_conj().resolve_neg())

    return tree_map(placed, found)


def _refuse_mixture(func: Any, args: Any, tensors: list[torch.Tensor]) -> None:
    """As torch does; single numbers of the CPU may stand beside tensors of a GPU."""
    indices: list[Any] = []
    if func in _INDEXED and isinstance(args[0], OnGpu):
        indices = [x for x in tree_flatten(args[1])[0] if isinstance(x, torch.Tensor)]
    for tensor in tensors:
        number = tensor.dim() == 0 and func not in _OF_TENSORS
        if isinstance(tensor, OnGpu) or number or any(tensor is x for x in indices):
            continue
        raise RuntimeError(
            f"{func}: Expected all tensors to be on the same device, but found at least two "
            f"devices, cuda:0 and cpu (shape {tuple(tensor.shape)})"
        )


def pretend(monkeypatch: pytest.MonkeyPatch) -> PretendGpu:
    """torch says that there is a GPU; use the result as a context."""
    plain = torch.sparse_csr_tensor

    def sparse(*parts: torch.Tensor, **settings: Any) -> Any:
        if not any(isinstance(part, OnGpu) for part in parts):
            return plain(*parts, **settings)
        assert all(isinstance(part, OnGpu) for part in parts)
        return SparseOnGpu(plain(*(part.raw for part in parts), **settings))

    monkeypatch.setattr(torch, "sparse_csr_tensor", sparse)
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device=None: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: 1 << 20)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 << 30, 8 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "pretended")
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    # a module's parameters are put in the place of those on the CPU
    monkeypatch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
    # what is pretended holds in one thread
    monkeypatch.setattr("tomopipe.training.loop.ahead", map)
    return PretendGpu()
