"""The recurrence written out, against torch's LSTM and against finite differences."""

import pytest
import torch
from torch import nn

from fedgenome.privacy.recurrent import Recurrence

ROWS, STEPS, FEATURES = 3, 5, 4


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def inputs(steps=STEPS):
    gates, weight = drawn(ROWS, steps, 4 * FEATURES), drawn(4 * FEATURES, FEATURES)
    hidden, cell = drawn(ROWS, FEATURES), drawn(ROWS, FEATURES + 1)[:, 1:].contiguous()
    return gates.requires_grad_(), weight, hidden.requires_grad_(), cell.requires_grad_()


def through_torch(gates, weight, hidden, cell):
    lstm = nn.LSTM(4 * FEATURES, FEATURES, batch_first=True, bias=False)
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(torch.eye(4 * FEATURES))
        lstm.weight_hh_l0.copy_(weight)
    out, (_, last) = lstm(gates, (hidden[None], cell[None]))
    return out, last[0]


@pytest.mark.parametrize("steps", [1, STEPS])
def test_states_and_gradients_are_those_of_torch(steps):
    arguments = inputs(steps)
    out, before, last = Recurrence.apply(*arguments)
    right = through_torch(*arguments)
    torch.testing.assert_close((out, last), right)
    torch.testing.assert_close(before[:, 1:], right[0][:, :-1])
    torch.testing.assert_close(before[:, 0], arguments[2])
    wanted, kind = [arguments[i] for i in (0, 2, 3)], [drawn(*t.shape) for t in right]
    torch.testing.assert_close(torch.autograd.grad((out, last), wanted, kind), torch.autograd.grad(right, wanted, kind))


def test_gates_are_left_as_they_were():
    gates, *others = inputs(1)
    kept = gates.detach().clone()
    Recurrence.apply(gates, *others)
    assert torch.equal(gates, kept)
