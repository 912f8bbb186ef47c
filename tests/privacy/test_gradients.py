"""Clipped gradient sums, against a loop over donors with autograd and against Opacus."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedgenome.addition import LARGE_BATCH, MICRO_BATCH
from fedgenome.errors import SpecError
from fedgenome.privacy.gradients import sum_gradients

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Opacus warns when imported
    from opacus import GradSampleModule

WIDTH, CLOSE = 6, 1e-5


def network(*extra):
    """Return a small network with seeded weights, and nothing drawn from torch's global generator."""
    layers = [nn.Linear(WIDTH, 9, device="meta"), nn.SiLU(), nn.Linear(9, 5, bias=False, device="meta"), *extra]
    model = nn.Sequential(*layers, nn.Linear(5, 2, device="meta")).to_empty(device="cpu")
    rng = np.random.default_rng(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.standard_normal(tuple(parameter.shape))))
    return model


def loss(model, inputs):
    x, target = inputs
    return (model(x) - target).square().sum(1)


def case(donors, seed=0, mask=None):
    """Return (inputs, donor, mask) with one row for each entry of ``donors``."""
    rng = np.random.default_rng(seed)
    inputs = tuple(torch.from_numpy(rng.standard_normal((len(donors), n)).astype(np.float32)) for n in (WIDTH, 2))
    return inputs, torch.tensor(donors, dtype=torch.int64), torch.tensor([True] * len(donors) if mask is None else mask)


def flat(model, mean):
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(mean, list(model.parameters()))]).double().numpy()


def by_loop(model, loss, inputs, donor, mask, bound):
    """Return what :func:`sum_gradients` should, one donor and one backward at a time."""
    total = np.zeros(sum(p.numel() for p in model.parameters()))
    for d in donor[mask].unique():
        rows = (donor == d) & mask
        gradient = flat(model, loss(model, tuple(t[rows] for t in inputs)).mean())
        if np.isfinite(gradient).all():
            total += gradient * min(1, bound / np.linalg.norm(gradient))
    return total


def clip_the_batch(model, loss, inputs, donor, mask, bound):
    """The broken twin: clips the gradient of everybody."""
    gradient = flat(model, loss(model, tuple(t[mask] for t in inputs)).sum())
    n = len(donor[mask].unique())
    return gradient * min(1, n * bound / np.linalg.norm(gradient))


def ours(*arguments):
    return sum_gradients(*arguments).value


def error(found, right):
    return np.linalg.norm(found - right) / np.linalg.norm(right)


@pytest.mark.parametrize("bound", [0.5, 20.0, 1e6])
@pytest.mark.parametrize(
    "donors", [[0], [0, 1, 2], [0, 0], [2, 0, 2, 1, 0, 2], list(range(100)), [i // 3 for i in range(200)], [5] * 64]
)
def test_sum_is_that_of_a_loop_over_donors(donors, bound):
    model, arguments = network(), case(donors)
    found = sum_gradients(model, loss, *arguments, bound)
    assert error(found.value, by_loop(model, loss, *arguments, bound)) < CLOSE
    assert (found.bound, found.value.dtype) == (bound, np.float64)


@pytest.mark.parametrize("bound", [0.5, 20.0])
def test_sum_agrees_with_opacus_per_sample_gradients(bound):
    model, (inputs, donor, mask) = network(), case(range(40))
    found = ours(model, loss, inputs, donor, mask, bound)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus' backward hooks warn about inputs without gradients
        wrapped = GradSampleModule(model, loss_reduction="sum")
        loss(wrapped, inputs).sum().backward()
    rows = torch.cat([p.grad_sample.reshape(40, -1) for p in model.parameters()], dim=1).double()
    clipped = rows * (bound / rows.norm(dim=1, keepdim=True)).clamp(max=1)
    assert error(found, clipped.sum(0).numpy()) < CLOSE


def test_masked_slot_contributes_exactly_nothing():
    inputs, donor, mask = case([0, 0, 1, 2, 3], mask=[True, False, True, False, True])
    first = ours(network(), loss, inputs, donor, mask, 1.0)
    for junk in (math.nan, math.inf, 9.0):
        spoiled = tuple(torch.where(mask[:, None], t, junk) for t in inputs)
        assert ours(network(), loss, spoiled, donor, mask, 1.0).tobytes() == first.tobytes()
    assert error(first, by_loop(network(), loss, inputs, donor, mask, 1.0)) < CLOSE


def test_masked_slot_never_reaches_the_model():
    seen = []

    def watched(model, inputs):
        seen.append(inputs[0].clone())
        return loss(model, inputs)

    inputs, donor, mask = case([0, 0, 1, 2, 3], mask=[True, False, True, False, True])
    ours(network(), watched, inputs, donor, mask, 1.0)
    reached = [row for row in torch.cat(seen).tolist() if any(row)]
    assert sorted(reached) == sorted(inputs[0][mask].tolist())


@pytest.mark.parametrize("bad", [math.nan, math.inf, 3e38])
def test_donor_without_a_finite_gradient_contributes_zero(bad):
    inputs, donor, mask = case([0, 1, 1, 2])
    inputs[0][2, 3] = bad
    rest = donor != 1
    right = by_loop(network(), loss, tuple(t[rest] for t in inputs), donor[rest], mask[rest], 1.0)
    assert error(ours(network(), loss, inputs, donor, mask, 1.0), right) < CLOSE


def test_loss_without_a_gradient_at_zero_spoils_no_other_row():
    inputs, donor, mask = case([0, 1, 2], mask=[True, False, True])

    def rooted(model, inputs):  # NaN for the empty slots, whose rows are zeros
        x, target = inputs
        out = model(x)
        return (out - target).square().sum(1) + (x * out.sum(1, keepdim=True)).square().sum(1).sqrt()

    found = ours(network(), rooted, inputs, donor, mask, 1.0)
    assert error(found, by_loop(network(), rooted, inputs, donor, mask, 1.0)) < CLOSE


def moved(function, inputs, donor, mask, removed, bound):
    model = network()
    without = mask & (donor != removed)
    return np.linalg.norm(
        function(model, loss, inputs, donor, mask, bound) - function(model, loss, inputs, donor, without, bound)
    )


@settings(max_examples=25)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(0, 5), st.integers(0, 9))
def test_removing_a_donor_moves_the_sum_by_at_most_the_bound(donors, removed, seed):
    inputs, donor, mask = case(donors, seed)
    for bound in (0.1, 30.0):
        assert moved(ours, inputs, donor, mask, removed, bound) <= bound * (1 + 1e-9)


def test_clipping_the_batch_fails_the_same_check():
    inputs, donor, mask = case(range(6))
    assert moved(clip_the_batch, inputs, donor, mask, 0, 1.0) > 1.001


def test_rows_that_cancel_are_still_clipped():
    """Two rows of one donor whose gradients are huge and opposite: their mean is what is clipped."""
    layer = nn.Linear(1, 1, bias=False, device="meta").to_empty(device="cpu")
    nn.init.zeros_(layer.weight)
    x, sign = torch.tensor([[3e4], [3.0001e4]]), torch.tensor([[1.0], [-1.0]])
    one = torch.zeros(2, dtype=torch.int64)
    found = ours(layer, lambda m, i: (m(i[0]) * i[1]).sum(1), (x, sign), one, torch.ones(2, dtype=torch.bool), 0.01)
    assert 0.0099 < abs(found[0]) <= 0.01


def test_compacting_the_slots_moves_less_than_is_charged():
    inputs, donor, mask = case(range(100), mask=[i % 7 > 0 for i in range(100)])
    kept = ours(network(), loss, inputs, donor, mask, 1.0)
    compact = ours(network(), loss, tuple(t[mask] for t in inputs), donor[mask], mask[mask], 1.0)
    assert np.linalg.norm(kept - compact) < 2 * MICRO_BATCH**2 * 2.0**-24


LARGE = LARGE_BATCH * (LARGE_BATCH + 3) * 2.0**-24  # of the bound, for adding 128 donors in float32


@pytest.mark.parametrize("donors", [[0], [2, 0, 2, 1, 0, 2], list(range(300)), [i // 3 for i in range(200)]])
def test_sum_of_128_donors_in_float32_is_that_of_a_loop_within_the_charge(donors):
    model, arguments = network(), case(donors)
    found = sum_gradients(model, loss, *arguments, 0.5, "float32x128")
    assert np.linalg.norm(found.value - by_loop(model, loss, *arguments, 0.5)) < 0.5 * 3 * LARGE
    assert found.precision == "float32x128"


def alike(count):
    """Return one layer and ``count`` donors of one and the same gradient, longer than 1."""
    layer = nn.Linear(WIDTH, 1, bias=False, device="meta").to_empty(device="cpu")
    nn.init.ones_(layer.weight)
    x = torch.full((count, WIDTH), 1.1)
    return layer, (x, x[:, :1]), torch.arange(count), torch.ones(count, dtype=torch.bool)


def last_moves(precision, bound=0.3):
    """Return by how much more than the bound the last of 256 donors of one gradient moves the sum, of the bound."""
    layer, inputs, donor, mask = alike(256)
    whole, rest = (
        sum_gradients(layer, loss, inputs, donor, mask & (donor < n), bound, precision).value for n in (256, 255)
    )
    return abs(np.linalg.norm(whole - rest) / bound - 1)


def in_one_product(count):
    """The broken twin: all donors in one chain of float32 sums; returns its error, of the bound."""
    one = np.float32(0.3) / np.sqrt(np.float32(WIDTH))
    chain = np.zeros(WIDTH, np.float32)
    for _ in range(count):
        chain += one
    return np.linalg.norm(chain - count * np.float64(one)) / 0.3


def test_donors_of_one_gradient_move_the_sum_by_the_bound_and_less_than_the_charge():
    assert last_moves("float32x128") <= 2 * LARGE
    assert last_moves("float32") <= 2 * LARGE / 4


def test_adding_without_micro_batches_errs_by_more_than_they_are_charged():
    count = 1 << 14
    assert in_one_product(count) > count / LARGE_BATCH * LARGE
    assert in_one_product(LARGE_BATCH) < LARGE


def test_order_of_slots_does_not_matter():
    inputs, donor, mask = case([0, 1, 0, 2, 1, 3])
    order = torch.tensor([5, 2, 0, 4, 1, 3])
    shuffled = ours(network(), loss, tuple(t[order] for t in inputs), donor[order], mask[order], 1.0)
    assert error(shuffled, ours(network(), loss, inputs, donor, mask, 1.0)) < CLOSE


def test_no_rows_or_none_unmasked_give_zeros():
    for arguments in (case([]), case([0, 1], mask=[False, False])):
        inputs, donor, mask = arguments
        assert not ours(network(), loss, inputs, donor, mask.bool(), 1.0).any()


def test_activation_in_place_does_not_change_the_sum():
    model, arguments = network(nn.ReLU(inplace=True)), case(range(5))
    assert error(ours(model, loss, *arguments, 1.0), by_loop(model, loss, *arguments, 1.0)) < CLOSE


def test_layer_that_the_loss_ignores_gets_zeros():
    class Ignored(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = network(), network()

        def forward(self, x):
            self.idle(x)
            return self.used(x)

    found = ours(Ignored(), loss, *case(range(5)), 1.0)
    alone = ours(network(), loss, *case(range(5)), 1.0)
    assert np.array_equal(found, np.concatenate([alone, np.zeros_like(alone)]))


def frozen():
    model = network()
    model[0].weight.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (network(nn.BatchNorm1d(5)), "layer '3': BatchNorm mixes donors; use GroupNorm or none"),
        (network(nn.Dropout(0.5)), "layer '3': Dropout draws by position"),
        (frozen(), r"parameters that are all trained, in float32, got others=\['0.weight'\]"),
        (network().double(), r"parameters that are all trained, in float32, got others=\['0.weight', "),
        (nn.Tanh(), "expected a model with parameters, got model='Tanh'"),
    ],
)
def test_model_that_cannot_be_clipped_by_donor_is_refused_by_name(model, rule):
    with pytest.raises(SpecError, match=rule):
        ours(model, loss, *case(range(3)), 1.0)


@pytest.mark.parametrize(
    ("other", "rule"),
    [
        (lambda model, inputs: loss(model, inputs).mean(), r"expected one loss a row, got shape=\(\)"),
        (
            lambda model, inputs: loss(model, inputs) + inputs[0].add_(1).sum(1),
            "layer '0': expected an input that stays unchanged",
        ),
    ],
)
def test_loss_without_a_rule_is_refused(other, rule):
    with pytest.raises(SpecError, match=rule):
        ours(network(), other, *case(range(3)), 1.0)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"inputs": (torch.zeros(2, WIDTH),)}, r"inputs of \(slots, ...\), got shapes=\[\(2, 6\)\]"),
        ({"donor": torch.zeros(3, 1, dtype=torch.int64)}, "one donor a slot, got slots=3"),
        ({"mask": torch.ones(4, dtype=torch.bool)}, "one mask entry a slot, got slots=3"),
        ({"mask": torch.ones(3)}, "a mask of bool, got dtype=torch.float32"),
        ({"bound": math.nan}, "0 < bound < inf, got bound=nan"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, rule):
    inputs, donor, mask = case(range(3))
    with pytest.raises(SpecError, match=rule):
        sum_gradients(network(), loss, **{"inputs": inputs, "donor": donor, "mask": mask, "bound": 1.0} | change)


def test_donor_of_too_many_rows_is_refused():
    with pytest.raises(SpecError, match="expected at most 64 rows a donor, as a block holds whole donors"):
        ours(network(), loss, *case([0] * 65), 1.0)


def test_sum_lies_in_the_memory_that_was_given_whatever_was_in_it():
    arguments = network(), loss, *case([0, 0, 1]), 1.0
    memory = np.full(sum(p.numel() for p in network().parameters()), np.nan)
    found = sum_gradients(*arguments, into=memory)
    assert found.value is memory and not memory.flags.writeable
    assert found.value.tobytes() == ours(*arguments).tobytes()


@pytest.mark.parametrize("memory", [np.zeros(3), np.zeros(120, np.float32)])
def test_memory_that_does_not_fit_is_refused(memory):
    with pytest.raises(SpecError, match="memory for 120 float64"):
        sum_gradients(network(), loss, *case(range(3)), 1.0, into=memory)


def test_call_leaves_model_inputs_and_generator_as_they_were():
    model, (inputs, donor, mask) = network(), case(range(3), mask=[True, False, True])
    before = [t.clone() for t in (*model.parameters(), *inputs)]
    generator = torch.get_rng_state()
    ours(model, loss, inputs, donor, mask, 1.0)
    assert all(map(torch.equal, (*model.parameters(), *inputs), before))
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), generator)
