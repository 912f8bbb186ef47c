"""One direction of one LSTM layer, written out so that the gradients of its gates can be had.

The gates of all steps are a sequence like any other: gₜ, the gradient at step t, belongs to the weights of
both the input xₜ and the state hₜ₋₁ (Hochreiter & Schmidhuber 1997, with forget gates). Neither product is
differentiated here: the book-keeping does that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_AT_ONCE = 32  # steps whose slopes are held at a time


class Recurrence(torch.autograd.Function):
    """Gates' inputs in, states out; steps run in Python, whole blocks of rows at a time.

    ``apply(gates, weight, hidden, cell)`` takes W x + b of all steps (rows, steps, 4 · features), in the
    order input, forget, candidate, output; the state's weight (4 · features, features), not differentiated;
    and the first state, (rows, features) each. It returns the states after each step and the states before,
    (rows, steps, features) each, of which only the first has a gradient, and the last cell.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        """Run the steps."""
        rows, steps, width = gates.shape
        features = width // 4
        active = gates.transpose(0, 1).clone(memory_format=torch.contiguous_format).view(steps, rows, 4, features)
        states = torch.empty(steps + 1, rows, features)
        cells = torch.empty(steps + 1, rows, features)
        states[0], cells[0], turned = hidden, cell, weight.t()
        for t in range(steps):
            now, after = active[t], cells[t + 1]
            now.view(rows, width).addmm_(states[t], turned)
            now[:, :2].sigmoid_()
            now[:, 2].tanh_()
            now[:, 3].sigmoid_()
            torch.mul(now[:, 1], cells[t], out=after).addcmul_(now[:, 0], now[:, 2])
            torch.mul(now[:, 3], after.tanh(), out=states[t + 1])
        ctx.save_for_backward(active, cells, weight)
        before = states[:-1].transpose(0, 1).contiguous()
        ctx.mark_non_differentiable(before)
        return states[1:].transpose(0, 1), before, cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, after: Tensor, _: Tensor, cell: Tensor) -> tuple[Tensor | None, ...]:
        """Run the steps backwards: what does not depend on later steps is computed for many at once."""
        active, cells, weight = ctx.saved_tensors
        steps, rows, _, features = active.shape
        # Rows first, as their products with the inputs want it: strides of all rows would share cache lines.
        grads, now = torch.empty(rows, steps, 4, features), torch.empty(rows, 4, features)
        hidden, cell = torch.zeros(rows, features), cell.clone()
        outer = after.transpose(0, 1)
        for first in reversed(range(0, steps, _AT_ONCE)):
            some = slice(first, min(first + _AT_ONCE, steps))
            squashed = cells[1:][some].tanh()
            into_cell, of_output = _slopes(active[some], cells[:-1][some], squashed)
            through = torch.addcmul(torch.ones(()), squashed, squashed, value=-1).mul_(active[some, :, 3])
            for t in reversed(range(some.start, some.stop)):
                hidden += outer[t]
                cell.addcmul_(hidden, through[t - first])
                torch.mul(into_cell[t - first], cell[:, None], out=now[:, :3])
                torch.mul(of_output[t - first], hidden, out=now[:, 3])
                grads[:, t] = now
                cell *= active[t, :, 1]
                torch.mm(now.view(rows, -1), weight, out=hidden)
        return grads.view(rows, steps, -1), None, hidden, cell


def _slopes(active: Tensor, before: Tensor, squashed: Tensor) -> tuple[Tensor, Tensor]:
    """Return by what a cell's gradient reaches the first three gates, and an output's the last."""
    enter, forget, candidate, leave = active.unbind(2)
    into_cell, one = torch.empty_like(active[:, :, :3]), torch.ones(())
    torch.addcmul(enter, enter, enter, value=-1, out=into_cell[:, :, 0]).mul_(candidate)
    torch.addcmul(forget, forget, forget, value=-1, out=into_cell[:, :, 1]).mul_(before)
    torch.addcmul(one, candidate, candidate, value=-1, out=into_cell[:, :, 2]).mul_(enter)
    return into_cell, torch.addcmul(leave, leave, leave, value=-1).mul_(squashed)
