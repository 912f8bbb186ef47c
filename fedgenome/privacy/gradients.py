"""Per-donor clipped gradient sums at about the cost of plain ones: book-keeping (Bu et al. 2022).

One forward and one backward to the pre-activations give, for a Linear layer with inputs a and
pre-activation gradients g, row i's weight gradient g_i a_iᵀ without writing it down: inner products of
row gradients are (g_i·g_j)(a_i·a_j + 1), from which come the donors' norms, and the clipped sum is
(c∘g)ᵀa. Rows run in blocks of 16, 32 or 64: a matrix product of few rows may round a row differently
(seen at heights 1 and 2, not from 5 to 64), so that removing a donor would move the others' answers. Sums over
rows are in float64, so that what DESIGN §6 charges for adding micro-batches in float32 is not used up.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from fedgenome.errors import SpecError, require
from fedgenome.privacy.clipping import _TOKEN, ClippedSum, check_slots
from fedgenome.query import MICRO_BATCH

Inputs = tuple[Tensor, ...]
Model = TypeVar("Model", bound=nn.Module)
Loss = Callable[[Model, Inputs], Tensor]

_BLOCK = 4 * MICRO_BATCH  # rows of every matrix product; a few tens of rows cost hardly less than 64
_CANCELLED = 2.0**-40  # share of the rows' own norms added to a donor's: what rounding can hide in a sum of them


def sum_gradients(
    model: Model, loss: Loss[Model], inputs: Inputs, donor: Tensor, mask: Tensor, bound: float
) -> ClippedSum:
    """Return the sum over donors of the gradient of a donor's mean loss, clipped to ``bound`` in L2.

    The value is the flattened gradient in the order of ``model.parameters()``, (P,) float64. A donor
    whose gradient holds NaN or infinity contributes zero and never raises; no rows give zeros.

    Args:
        model: Its parameters all belong to Linear layers, each used once in ``loss``, on (rows, features).
        loss: Gives one loss a row, (rows,), entry i of which depends on row i alone.
        inputs: Tensors of (slots, ...) each.
        donor: (slots,) int64, whose row it is; at most 64 slots a donor.
        mask: (slots,) bool; a False slot contributes exactly nothing, whatever it holds.
        bound: C.

    Raises:
        SpecError: a layer without a rule, a donor of too many rows, or shapes that do not agree.
    """
    check_slots(len(donor), tuple(donor.shape), tuple(mask.shape), bound)
    require(mask.dtype == torch.bool, "a mask of bool", dtype=mask.dtype)
    shapes = [tuple(tensor.shape) for tensor in inputs]
    require(all(shape[:1] == donor.shape for shape in shapes), "inputs of (slots, ...)", shapes=shapes)
    layers = _linear_layers(model)
    total = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    views = _views(model, total)
    with torch.enable_grad(), _tapped(layers) as taps:
        for slots in _blocks(donor):
            live = mask[slots.clamp(min=0)] & (slots >= 0)
            owner = torch.where(slots >= 0, donor[slots.clamp(min=0)], -1)
            losses = _losses(model, loss, tuple(_rows(t, slots, live) for t in inputs), taps)
            rows = _kept(losses, layers, taps)
            _add_clipped(rows, owner, live, bound, [views[name] for name in layers])
    return ClippedSum(value=total.numpy(), bound=bound, token=_TOKEN)


_View = tuple[Tensor, Tensor | None]  # a layer's weight and bias within the flat sum
_Rows = tuple[Tensor, Tensor, float]  # a layer's inputs a (m, in), pre-activation gradients g (m, out); 1: biased
_Tap = tuple[Tensor, int, GradientEdge]  # a layer's input, its version then, and where its gradient comes by


def _linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the Linear layers by name; refuse whatever mixes donors or has no rule."""
    layers: dict[str, nn.Linear] = {}
    seen: set[nn.Parameter] = set()
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            raise SpecError(f"layer {name!r}: BatchNorm mixes donors; use GroupNorm(affine=False) or none")
        if isinstance(module, _DropoutNd) and module.training and module.p > 0:
            raise SpecError(f"layer {name!r}: Dropout draws by position in the batch; take draws as an input instead")
        own = list(module.parameters(recurse=False))
        if own and type(module) is not nn.Linear:
            kind = type(module).__name__
            raise SpecError(f"layer {name!r}: no clipping rule for the parameters of {kind}; use nn.Linear")
        if not seen.isdisjoint(own) or not all(p.requires_grad for p in own):
            raise SpecError(f"layer {name!r}: expected parameters of its own, none shared, all trained")
        if isinstance(module, nn.Linear):
            layers[name] = module
            seen.update(own)
    require(bool(layers), "a model with a Linear layer", model=type(model).__name__)
    return layers


def _views(model: nn.Module, total: Tensor) -> dict[str, _View]:
    """Return each Linear's weight and bias as views into ``total``, by layer name."""
    parts: dict[str, Tensor] = {}
    start = 0
    for name, parameter in model.named_parameters():
        parts[name] = total[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()
    layers = [name.removesuffix("weight") for name in parts if name.endswith("weight")]
    return {layer.removesuffix("."): (parts[f"{layer}weight"], parts.get(f"{layer}bias")) for layer in layers}


@contextlib.contextmanager
def _tapped(layers: dict[str, nn.Linear]) -> Iterator[dict[str, list[_Tap]]]:
    """Note every use of each layer while the context lasts."""
    taps: dict[str, list[_Tap]] = {name: [] for name in layers}
    with contextlib.ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(functools.partial(_note, taps[name])).remove)
        yield taps


def _note(taps: list[_Tap], _: nn.Module, inputs: Inputs, output: Tensor) -> None:
    # The edge, not the output: an in-place activation after the layer would put its own gradient there.
    taps.append((inputs[0].detach(), inputs[0]._version, get_gradient_edge(output)))


def _blocks(donor: Tensor) -> Iterator[Tensor]:
    """Yield slots in blocks of whole donors, filled up with -1.

    The layout depends on ``donor`` alone, so that masking a slot moves no other.
    """
    order = np.argsort(donor.numpy(), kind="stable")
    sizes = np.unique(donor.numpy(), return_counts=True)[1]
    # Raised on how rows are dealt to donors: check it where a shard is made, not where questions are answered.
    if sizes.size and sizes.max() > _BLOCK:
        raise SpecError(f"expected at most {_BLOCK} rows a donor, as a block holds whole donors; keep fewer")
    start = stop = 0
    for size in sizes.tolist():
        if stop + size - start > _BLOCK:
            yield _filled(order[start:stop])
            start = stop
        stop += size
    if stop > start:
        yield _filled(order[start:stop])


def _filled(slots: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
    """Fill up to 16, 32 or 64 rows: heights at which a row's own results were seen to stay the same."""
    height = next(h for h in (MICRO_BATCH, 2 * MICRO_BATCH, _BLOCK) if h >= len(slots))
    return torch.from_numpy(np.pad(slots, (0, height - len(slots)), constant_values=-1))


def _rows(tensor: Tensor, slots: Tensor, live: Tensor) -> Tensor:
    """Return the rows of ``slots``, zeros where a slot is not live: what it holds is never computed with."""
    picked = tensor.detach()[slots.clamp(min=0)]
    picked[~live] = 0
    return picked


def _losses(model: Model, loss: Loss[Model], inputs: Inputs, taps: dict[str, list[_Tap]]) -> Tensor:
    """Return one block's losses, (m,), with every layer's use noted in ``taps``."""
    for used in taps.values():
        used.clear()
    losses = loss(model, inputs)
    rows = len(inputs[0])
    require(losses.shape == (rows,), "one loss a row", shape=tuple(losses.shape), rows=rows)
    for name, used in taps.items():
        if len(used) != 1 or used[0][0].shape[:-1] != (rows,) or used[0][0]._version != used[0][1]:
            raise SpecError(
                f"layer {name!r}: expected one use, on (rows, features) that stay unchanged, got {len(used)} uses on "
                f"{[tuple(a.shape) for a, _, _ in used]}; split the layer or flatten its input"
            )
    return losses


def _kept(losses: Tensor, layers: dict[str, nn.Linear], taps: dict[str, list[_Tap]]) -> list[_Rows]:
    """Return each layer's inputs and pre-activation gradients: the books."""
    edges = [used[0][2] for used in taps.values()]
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(losses.sum(), edges, allow_unused=True)
    rows: list[_Rows] = []
    for layer, used, g in zip(layers.values(), taps.values(), gradients, strict=True):
        if g is None:  # the loss does not use the layer's output
            g = torch.zeros(len(losses), layer.out_features)
        rows.append((used[0][0], g, float(layer.bias is not None)))
    return rows


def _add_clipped(rows: list[_Rows], owner: Tensor, live: Tensor, bound: float, views: list[_View]) -> None:
    """Add a block's clipped donors to the views."""
    same = (owner[:, None] == owner) & live
    squared = _squared_norms(rows)
    finite = squared.isfinite()
    if not finite.all():
        live = live & ~(same & ~finite).any(1)
        dead = ~live[:, None]
        rows = [(a.masked_fill(dead, 0), g.masked_fill(dead, 0), one) for a, g, one in rows]
        squared = squared.masked_fill(~live, 0)
    share = live.double() / same.sum(1).clamp(min=1)  # of a row in its donor's mean
    weight = share * _factors(rows, squared, same * share, bound)
    for (a, g, _), (matrix, bias) in zip(rows, views, strict=True):
        scaled = g * weight[:, None]
        matrix.addmm_(scaled.T, a.double())
        if bias is not None:
            bias.add_(scaled.sum(0))


def _squared_norms(rows: list[_Rows]) -> Tensor:
    """Return the squared norm of each row's gradient, (m,) float64: it cannot overflow, so NaN or inf tell all."""
    a = torch.stack([_norms(a) for a, _, _ in rows])
    g = torch.stack([_norms(g) for _, g, _ in rows])
    ones = torch.tensor([[one] for _, _, one in rows])
    return (g.square() * (a.square() + ones)).sum(0)


def _norms(rows: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return norms


def _factors(rows: list[_Rows], squared: Tensor, shares: Tensor, bound: float) -> Tensor:
    """Return by how much each row's donor is scaled, (m,).

    Args:
        squared: Squared norms of the rows' gradients, (m,).
        shares: Entry ij: the share of row j in the mean of row i's donor, (m, m).
    """
    norms2 = (shares @ squared.sqrt()).square()  # that of a donor with one row; of several, if they agreed
    hidden = norms2 * _CANCELLED
    if bool(((shares > 0).sum(1) > 1).any()):
        products = sum((_products(*layer) for layer in rows), torch.zeros_like(shares))
        norms2 = ((shares @ products) * shares).sum(1).clamp(min=0)
    return bound / (norms2 + hidden).sqrt().clamp(min=bound)


def _products(a: Tensor, g: Tensor, one: float) -> Tensor:
    """Return the inner products of the rows' gradients in one layer, (m, m) float64."""
    a, g = a.double(), g.double()
    return (g @ g.T) * (a @ a.T + one)
