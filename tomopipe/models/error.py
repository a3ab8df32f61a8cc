"""The squared error of the decoder's prediction and its gradients, piece by piece.

An error that is a sum over coefficients needs no graph: each piece of the coefficients goes
through the decoder, meets its data and comes back at once. Hidden layers never leave the cache of
a CPU (or fill the memory of a GPU), however large the batch, and little is done beside the matrix
products. Gradients are those of automatic differentiation, which the tests compare them with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tomopipe.dataset.batch import Batch
from tomopipe.errors import ConfigError
from tomopipe.models.decoder import FourierDecoder, half_space_sign, joined_inputs
from tomopipe.models.image import ImageModel
from tomopipe.models.mean import FixedVolumes

_PIECE = {"cpu": 1 << 13, "cuda": 1 << 18}  # coefficients
_MULTIPLE = 1 << 13  # compiled pieces have few lengths, so that little is compiled and recorded
_GRAPHS = 64  # for 16 lengths and the two or three numbers of particles that batches have

Piece = Callable[..., list[Tensor]]


@dataclass(frozen=True)
class Goal:
    """What the decoder should give: error = sum of |factor · out + basis · z - data|^2.

    Weights, CTF, gain and the mean volume are in `factor`, `basis` and `data` already, and so is
    the sign of the half space that `points` lie in.

    Attributes
    ----------
    points
        `(C, 3)` (x, y, z) in cycles per pixel, z >= 0.
    particle
        `(C,)` row of z.
    factor
        `(C,)`.
    data
        `(C, 2)`.
    basis
        `(C, K, 2)`; K may be 0.
    """

    points: Tensor
    particle: Tensor
    factor: Tensor
    data: Tensor
    basis: Tensor

    def pieces(self, length: int, multiple: int = 1) -> Sequence[tuple[Tensor, ...]]:
        """Even pieces of at most about `length`; given a `multiple`, of one of few lengths."""
        count = max(1, -(-len(self.points) // length))
        size = -(-len(self.points) // count)
        if multiple > 1:
            size = _few_lengths(size, multiple)
        parts = (self.points, self.particle, self.factor, self.data, self.basis)
        split = zip(*(torch.split(p, size) for p in parts), strict=True)
        return [tuple(_filled(p, size) if multiple > 1 else p for p in piece) for piece in split]


def _few_lengths(size: int, multiple: int) -> int:
    """`size` rounded up to a multiple, and to one of four lengths from a power of two to the next.

    To compile and record another length takes longer than to work on some zeros.
    """
    step = max(multiple, (1 << (size - 1).bit_length()) // 8)
    return -(-size // step) * step


def _filled(part: Tensor, size: int) -> Tensor:
    missing = size - len(part)
    return torch.cat([part, part.new_zeros(missing, *part.shape[1:])]) if missing else part


def goal_of(batch: Batch, fixed: FixedVolumes, image: ImageModel) -> Goal:
    """What the decoder should give for a batch, on top of the fixed volumes."""
    points = batch.points()
    sign = half_space_sign(points)
    points *= sign[:, None]
    root = (0.5 * image.weight).sqrt()
    gain = fixed.gain(batch.lattice.float().norm(dim=-1))[batch.coefficient_lattice]
    data = batch.data * torch.stack([root, root * sign], dim=1)
    root *= image.transfer
    if fixed.known or len(fixed.basis):
        known = fixed.sample(points) * root[:, None, None]
        data -= known[:, 0]
        basis = known[:, 1:]
    else:
        basis = data.new_zeros(len(data), 0, 2)
    return Goal(points, batch.coefficient_particle(), root * gain, data, basis)


def squared_error_sum(
    decoder: FourierDecoder, goal: Goal, z: Tensor, dtype: torch.dtype, compile_: str = "off"
) -> Tensor:
    """Sum of squared errors (scalar float32), differentiable in z and the decoder's parameters.

    Parameters
    ----------
    z
        `(P, zdim)` latents.
    dtype
        Of the matrix products.
    compile_
        The setting: `off`, `on`, or `auto` (on a GPU, and not where it fails).
    """
    error: Tensor = _Error.apply(  # type: ignore[no-untyped-call]
        decoder, goal, dtype, compile_, z, *_parameters(decoder)
    )
    return error


def _parameters(decoder: FourierDecoder) -> list[Tensor]:
    """In the order in which their gradients are made."""
    ends = [decoder.first.weight, decoder.first.bias, decoder.last.weight, decoder.last.bias]
    return ends + [p for layer in decoder.residual_layers() for p in (layer.weight, layer.bias)]


class _Error(torch.autograd.Function):
    """Works the gradients out together with the error."""

    @staticmethod
    def forward(
        ctx: Any,
        decoder: FourierDecoder,
        goal: Goal,
        dtype: torch.dtype,
        compile_: str,
        z: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        weights = decoder.weights(z, dtype)
        work, multiple = _work(compile_, z.device)
        totals: list[Tensor] = []
        for piece in goal.pieces(_PIECE.get(z.device.type, 1 << 16), multiple):
            found = work(piece, decoder.features, z, weights)
            if totals:
                torch._foreach_add_(totals, found)
            else:
                totals = [t.clone() for t in found]  # a recorded graph writes over its own results
        error, of_z, joined, *others = totals
        width = 2 * len(decoder.features)
        of_first, of_hidden = torch.split(
            joined, [width, len(z)]
        )  # (features, hidden), (P, hidden)
        of_z = of_z + of_hidden @ parameters[0][:, width:]
        first = torch.cat([of_first.T, of_hidden.T @ z], dim=1)
        ctx.gradients = [of_z, first, of_hidden.sum(0), *others]
        return error

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, None, None, *torch._foreach_mul(ctx.gradients, upstream))


def _work(compile_: str, device: torch.device) -> tuple[Piece, int]:
    """The work on a piece as the setting `compile` wants it, and a factor of the pieces' length."""
    if compile_ == "on" or (compile_ == "auto" and device.type == "cuda" and not _FAILED):
        return partial(_compiled_piece, required=compile_ == "on"), _MULTIPLE
    return _piece, 1


_FAILED: list[str] = []  # why compiling does not work here, once tried


def _compiled_piece(*parts: Any, required: bool) -> list[Tensor]:
    """Work on a piece by compiled code; by the plain one where that is no requirement and fails.

    Raises
    ------
    ConfigError
        If it is required and fails.
    torch.cuda.OutOfMemoryError
        If it is required and the piece does not fit.
    """
    if _FAILED and not required:
        return _piece(*parts)
    try:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return _compiler()(*parts)
    except Exception as error:
        if required and isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if required:
            raise ConfigError(
                f"compile is 'on', but torch cannot compile the step here ({reason}): set it to off"
            ) from error
        _FAILED.append(reason)
    return _piece(*parts)  # not above, where the error would keep what was made in memory


@cache
def _compiler() -> Piece:
    from torch._dynamo import config  # takes seconds

    # torch compiles a function for 8 shapes, and then only says in its log that it no longer does;
    # the name is that of torch 2.3, which later ones know, too
    config.cache_size_limit = max(config.cache_size_limit, _GRAPHS)
    mode = "reduce-overhead" if torch.cuda.is_available() else "default"
    compiled: Piece = torch.compile(_piece, dynamic=False, mode=mode)
    return compiled


def _piece(
    piece: tuple[Tensor, ...], features: Tensor, z: Tensor, weights: list[Tensor]
) -> list[Tensor]:
    """Error of a piece and gradients: z, first layer's matrix, last layer, body layers."""
    points, particle, factor, data, basis = piece
    first, last, last_bias, *body = weights
    x = joined_inputs(points, particle, len(z), features).to(first.dtype)
    hidden = [torch.relu_(x @ first.T)]
    for weight, bias in zip(body[::2], body[1::2], strict=True):
        hidden.append(torch.relu_(F.linear(hidden[-1], weight, bias)))
    out = F.linear(hidden[-1], last, last_bias).float()
    difference = torch.addcmul(-data, factor[:, None], out)
    k = basis.shape[1]
    if k:
        difference = difference + (basis * z[particle, :k, None]).sum(1)
    slope = 2 * difference
    g = (slope * factor[:, None]).to(first.dtype)
    ends = [(g.T @ hidden[-1]).float(), g.sum(0).float()]
    g = g @ last
    layers: list[Tensor] = []
    for i in reversed(range(len(body) // 2)):
        g = _through_relu(g, hidden[i + 1])
        layers = [(g.T @ hidden[i]).float(), g.sum(0).float(), *layers]
        g = torch.mm(g, body[2 * i], out=hidden[i + 1])  # which nothing needs any more
    g = _through_relu(g, hidden[0])
    of_z = torch.zeros_like(z)
    if k:
        owner = F.one_hot(particle, len(z)).to(slope.dtype)
        of_z[:, :k] = owner.T @ (basis * slope[:, None]).sum(-1)
    return [difference.square().sum(), of_z, (x.T @ g).float(), *ends, *layers]


def _through_relu(gradient: Tensor, output: Tensor) -> Tensor:
    """The gradient where relu's output is above 0, and 0 elsewhere; in place."""
    torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)
    return gradient
