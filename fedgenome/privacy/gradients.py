"""Per-donor clipped gradient sums at about the cost of plain ones: book-keeping (Bu et al. 2022).

One forward and one backward to the layers' outputs; what donors' gradients are, and how large, then follows
from every layer's inputs and output gradients (:mod:`fedgenome.privacy.rules`). A model with a parameter
that no rule covers is differentiated once a donor instead: slower where rows are small, right for everything.

Rows run in blocks whose height is a multiple of 16: a matrix product of few rows may round a row differently
(seen at heights 1 and 2, at no multiple of 16 up to 4096), so that removing a donor would move the others'
gradients. Donors' own gradients may be in float32, and so may the sum of 16 of them, or of 128 where the question
says so, which the sensitivity charges (DESIGN §6); all other sums over donors are in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from fedgenome.addition import LARGE_BATCH, MICRO_BATCH, Precision
from fedgenome.errors import SpecError, require
from fedgenome.privacy.blocks import Block, blank, cut
from fedgenome.privacy.clipping import _TOKEN, Array, ClippedSum, check_slots
from fedgenome.privacy.compound import HANDLERS
from fedgenome.privacy.recording import Recorder
from fedgenome.privacy.rules import Ghost, Total, Use, squared_norms

Inputs = tuple[Tensor, ...]
Model = TypeVar("Model", bound=nn.Module)
_Use = TypeVar("_Use", bound=Use)
Loss = Callable[[Model, Inputs], Tensor]
Totals = dict[str, Total]
Page = list[tuple[Use, Tensor]]  # every layer's use and the gradients of its outputs

_INSIDE = 1 - 2.0**-22  # donors are clipped this far inside the bound, as factors of dense gradients are in float32
_WRITTEN = MICRO_BATCH  # donors whose gradients are held at a time
_HEIGHTS = {"flat": 16 * MICRO_BATCH, "recurrent": 4 * MICRO_BATCH, "other": MICRO_BATCH}


def sum_gradients(
    model: Model,
    loss: Loss[Model],
    inputs: Inputs,
    donor: Tensor,
    mask: Tensor,
    bound: float,
    precision: Precision = "float32",
    into: Array | None = None,
) -> ClippedSum:
    """Return the sum over donors of the gradient of a donor's mean loss, clipped to ``bound`` in L2.

    The value is the flattened gradient in the order of ``model.parameters()``, (P,) float64. A donor
    whose gradient holds NaN or infinity contributes zero and never raises; no rows give zeros. Up to 16 donors,
    or 128, are added in float32, so that a question it answers says so (``Question.precision``).

    There are rules for Linear, Conv1d of one group, Embedding, LayerNorm over the features, GroupNorm, LSTM and
    self-attention (``nn.MultiheadAttention``, ``nn.TransformerEncoderLayer``) whose inputs are (rows, ...),
    or batch-first as these layers call it. A parameter used in another way costs one backward a donor: for
    one that positions share, look up ``nn.Embedding`` with indices of (rows, positions) instead.

    Args:
        model: All of its parameters are trained, on the CPU, float32.
        loss: Gives one loss a row, (rows,), entry i of which depends on row i alone, by operations that do not
            depend on what rows hold.
        inputs: Tensors of (slots, ...) each.
        donor: (slots,) int64, whose row it is; at most 64 slots a donor.
        mask: (slots,) bool; a False slot contributes exactly nothing, whatever it holds.
        bound: C.
        precision: ``float32x128`` allows sums of 128 donors in float32, anything else of 16.
        into: (P,) float64, whatever is in it, which becomes the value, read-only; new if None.

    Raises:
        SpecError: a layer that mixes donors, a donor of too many rows, or shapes that do not agree.
    """
    check_slots(len(donor), tuple(donor.shape), tuple(mask.shape), bound)
    require(mask.dtype == torch.bool, "a mask of bool", dtype=mask.dtype)
    shapes = [tuple(tensor.shape) for tensor in inputs]
    require(all(shape[:1] == donor.shape for shape in shapes), "inputs of (slots, ...)", shapes=shapes)
    named = _parameters(model)
    memory = _memory(sum(p.numel() for p in named.values()), into)
    parts = torch.split(torch.from_numpy(memory), [p.numel() for p in named.values()])
    totals = {name: Total(part) for name, part in zip(named, parts, strict=True)}
    alone = {name: p.detach().requires_grad_() for name, p in named.items()}
    task = _Task(model=model, loss=loss, inputs=inputs, named=named, alone=alone)
    together = LARGE_BATCH if precision == "float32x128" else 0
    blocks = list(cut(donor, mask, _height(model, inputs)))
    with torch.enable_grad():
        for k, block in enumerate(blocks):
            page = _page(task, block, sure=k > 0)
            if page is None:
                for total in totals.values():
                    total.empty = True
                _add_each(task, blocks, bound, totals)
                break
            _add_clipped(page, block.donors, bound, totals, together)
    for total in totals.values():
        total.end()
    done: Precision = "float32x128" if together else "float32"
    return ClippedSum(value=memory, bound=bound, token=_TOKEN, precision=done)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Task:
    """What is differentiated, and by what."""

    model: Any
    loss: Loss[Any]
    inputs: Inputs
    named: dict[str, nn.Parameter]
    alone: dict[str, Tensor]

    def recorder(self, rows: int, donors: int) -> Recorder:
        """Return what notes the layers' uses."""
        return Recorder(HANDLERS, self.named, self.alone, rows, donors)

    def losses(self, inputs: Inputs) -> Tensor:
        """Return one loss a row of ``inputs``."""
        losses, rows = self.loss(self.model, inputs), len(inputs[0])
        require(losses.shape == (rows,), "one loss a row", shape=tuple(losses.shape), rows=rows)
        return losses


def _memory(length: int, into: Array | None) -> Array:
    """Return memory for the sum, (length,) float64."""
    if into is None:
        into = np.empty(length)  # by NumPy, which asks for huge pages: faults of small ones cost as much as a product
    told = {"shape": into.shape, "dtype": into.dtype}
    require(into.shape == (length,) and into.dtype == np.float64, f"memory for {length} float64", **told)
    return into


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters by name; refuse what mixes donors or draws by position, and what is not trained."""
    named = dict(model.named_parameters())
    require(bool(named), "a model with parameters", model=type(model).__name__)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            raise SpecError(f"layer {name!r}: BatchNorm mixes donors; use GroupNorm or none")
        if isinstance(module, _DropoutNd) and module.training and module.p > 0:
            raise SpecError(f"layer {name!r}: Dropout draws by position in the batch; take draws as an input instead")
    others = [name for name, p in named.items() if not p.requires_grad or p.dtype != torch.float32]
    require(not others, "parameters that are all trained, in float32", others=others)
    return named


def _height(model: nn.Module, inputs: Inputs) -> int:
    """Return how many rows a block has at most: fewer where a row takes more memory."""
    kinds = {type(module) for module in model.modules() if module._parameters}
    if nn.Linear in kinds <= {nn.Linear, nn.Embedding} and all(tensor.dim() <= 2 for tensor in inputs):
        return _HEIGHTS["flat"]
    return _HEIGHTS["recurrent" if nn.LSTM in kinds else "other"]


def _page(task: _Task, block: Block, *, sure: bool) -> Page | None:
    """Return the layers' inputs and output gradients, or None if a parameter is used without a rule.

    Args:
        sure: Rows are known to come first in every layer's input.
    """
    recorder = task.recorder(block.live.numel(), block.donors)
    with recorder:
        losses = task.losses(tuple(map(block.rows, task.inputs)))
    if not losses.requires_grad:
        return []
    uses = [noted.use for noted in recorder.uses]
    for noted in recorder.uses:
        if noted.use.a._version != noted.version:
            layer = noted.use.names[0].rpartition(".")[0]
            raise SpecError(f"layer {layer!r}: expected an input that stays unchanged; do not write over it")
    if not sure and not _rows_first(task, recorder):
        return None
    shares = block.shares
    wanted: list[Any] = [*(noted.edge for noted in recorder.uses), *task.named.values()]
    # One number to go back from: for gradients of a vector torch imports sympy first, half a second in every process.
    found: Sequence[Tensor | None] = torch.autograd.grad(losses.dot(shares), wanted, allow_unused=True)
    if any(g is not None for g in found[len(uses) :]):
        return None
    page = [(use, g) for use, g in zip(uses, found, strict=False) if g is not None]
    if block.whole:
        return page
    idle = shares == 0
    return [(_blanked(use, idle), blank(g, idle)) for use, g in page]


def _rows_first(task: _Task, recorder: Recorder) -> bool:
    """Return whether rows come first wherever a rule takes them to.

    Where inputs happen to be as long as the block is high, zeros of another height tell.
    """
    if recorder.rows not in recorder.lengths:
        return True
    rows = next(h for h in range(MICRO_BATCH, 1 << 30, MICRO_BATCH) if h not in recorder.lengths)
    other = task.recorder(rows, rows)
    with other:
        task.losses(tuple(t.new_zeros(rows, *t.shape[1:]) for t in task.inputs))
    here, there = ([noted.use.names for noted in r.uses] for r in (recorder, other))
    return here == there


def _blanked(use: _Use, idle: Tensor) -> _Use:
    """Return ``use`` without what rows of zeros made of themselves, if that is not finite."""
    odd = use.a.is_floating_point() and not use.a[idle].isfinite().all()
    return replace(use, a=blank(use.a, idle)) if odd else use


def _add_clipped(page: Page, donors: int, bound: float, totals: Totals, together: int) -> None:
    """Add a block's clipped donors to the totals, and empty its page."""
    names = [name for use, _ in page for name in use.names]
    ghosts: list[tuple[Ghost, Tensor]] = []
    dense: Page = []
    for use, g in page:
        if isinstance(use, Ghost) and use.ghost and all(names.count(name) == 1 for name in use.names):
            ghosts.append((use, g))
        else:
            dense.append((use, g))
    page.clear()  # so that what is done with is given back
    squared = torch.zeros(donors, dtype=torch.float64)
    for ghost, g in ghosts:
        squared += ghost.squared_norms(g)
    for first in range(0, donors if dense else 0, _WRITTEN):
        some = slice(first, min(first + _WRITTEN, donors))
        written = _written(dense, some)
        for gradients in written.values():
            squared[some] += squared_norms(gradients)
        factors = _factors(squared[some], bound)
        for name, gradients in written.items():
            if not factors.all():
                gradients = gradients.masked_fill(factors[:, None] == 0, 0)
            totals[name].add(factors.float() @ gradients)
    factors = _factors(squared, bound)
    lost = factors == 0
    while ghosts:
        ghost, g = ghosts.pop(0)
        if lost.any():
            rows = lost.repeat_interleave(g.shape[0] // donors)
            ghost, g = _blanked(ghost, rows), blank(g, rows)
        ghost.add(g, factors, [totals[name] for name in ghost.names], together)


def _written(dense: Page, some: slice) -> dict[str, Tensor]:
    """Return some donors' gradients by parameter, (donors, numbers): over all uses of each."""
    written: dict[str, Tensor] = {}
    for use, g in dense:
        for name, gradients in zip(use.names, use.dense(g, some.start, some.stop), strict=True):
            written[name] = written[name] + gradients if name in written else gradients
    return written


def _factors(squared: Tensor, bound: float) -> Tensor:
    """Return by how much donors are scaled, (donors,) float64: zero where their gradient is not finite."""
    factors = bound * _INSIDE / squared.sqrt().clamp(min=bound * _INSIDE)
    return factors.masked_fill(~squared.isfinite(), 0)


def _add_each(task: _Task, blocks: list[Block], bound: float, totals: Totals) -> None:
    """Add clipped donors to the totals, one backward each."""
    for slots in (slots[live] for block in blocks for slots, live in zip(block.slots, block.live, strict=True)):
        if not len(slots):
            continue
        losses = task.losses(tuple(tensor.detach()[slots] for tensor in task.inputs))
        wanted = list(task.named.values())
        found: Sequence[Tensor | None] = torch.autograd.grad(losses.mean(), wanted, allow_unused=True)
        gradients = {name: g.flatten() for name, g in zip(task.named, found, strict=True) if g is not None}
        squared = torch.stack([squared_norms(g) for g in gradients.values()]).sum()
        factor = float(_factors(squared, bound))
        if factor:
            for name, g in gradients.items():
                totals[name].end().add_(g, alpha=factor)
