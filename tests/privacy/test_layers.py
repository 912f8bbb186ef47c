"""Clipped sums of models of every layer with a rule: right, independent of neighbours, and without a loop."""

import functools
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fedgenome.addition import MICRO_BATCH
from fedgenome.errors import SpecError
from fedgenome.privacy.gradients import sum_gradients
from tests.privacy.test_gradients import by_loop, error

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Opacus warns when imported
    from opacus import GradSampleModule
    from opacus.layers import DPLSTM

CLOSE = 1e-5
LENGTH, WIDTH, WORDS = 6, 8, 5
CHARGED = 2 * MICRO_BATCH**2 * 2.0**-24  # of the bound, for adding 16 donors in float32
DONORS = [[0], [0, 1, 2], [2, 0, 2, 1, 0, 2, 5, 5, 5, 5, 5], list(range(40))]


class Tokens(nn.Module):
    """Words looked up, a body over (rows, positions, width), and the same numbers for every position."""

    def __init__(self, body, padding=None):
        super().__init__()
        self.words, self.body = nn.Embedding(WORDS, WIDTH, padding), body

    def forward(self, words):
        return self.body(self.words(words))


class Attentive(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention, self.options = nn.MultiheadAttention(WIDTH, 2, batch_first=True), options

    def forward(self, x):
        return x + self.attention(x, x, x, **self.options)[0]


class States(nn.Module):
    """All that an LSTM returns."""

    def __init__(self, **options):
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, 3, **options)
        self.first = options.get("batch_first", False)

    def forward(self, x):
        out, (hidden, cell) = self.lstm(x if self.first else x.transpose(0, 1))
        out = out if self.first else out.transpose(0, 1)
        return torch.cat([out.flatten(1), hidden.transpose(0, 1).flatten(1), cell.transpose(0, 1).flatten(1)], dim=1)


def mask():
    return nn.Transformer.generate_square_subsequent_mask(LENGTH)


def encoder():
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 12, dropout=0.0, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def convolutions():
    first = nn.Conv1d(WIDTH, 6, 3, stride=2, padding=2, padding_mode="circular")
    return nn.Sequential(first, nn.GroupNorm(3, 6), nn.ReLU(), nn.Conv1d(6, 4, 2, dilation=2, padding="same"))


SEQUENCES = {
    "linear": lambda: nn.Sequential(nn.Linear(WIDTH, 40), nn.LayerNorm(40), nn.SiLU(), nn.Linear(40, 3, bias=False)),
    "conv": convolutions,
    "lstm": lambda: States(batch_first=True),
    "lstm time first": lambda: States(bias=False),
    "lstm deep": lambda: States(num_layers=2, bidirectional=True, batch_first=True),
    "attention": lambda: Attentive(need_weights=False, attn_mask=mask(), is_causal=True),
    "attention with weights": lambda: Attentive(attn_mask=mask() < 0, key_padding_mask=None),
    "transformer": encoder,
    "tokens": lambda: Tokens(nn.Linear(WIDTH, 4), padding=1),
}
COMMON = {  # what Opacus gets right: neither circular padding nor a padding word
    "linear": SEQUENCES["linear"],
    "conv": lambda: nn.Sequential(nn.Conv1d(WIDTH, 6, 3, stride=2, padding=2), nn.GroupNorm(3, 6), nn.Conv1d(6, 4, 2)),
    "tokens": lambda: Tokens(nn.Linear(WIDTH, 4)),
}


@functools.cache
def flat():
    """Return a model of rows without positions, with seeded weights."""
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(5)
        return nn.Sequential(nn.Linear(WIDTH, 40), nn.SiLU(), nn.Linear(40, 3))


def squares(model, inputs):
    """Return the mean square of the outputs of each row, (rows,)."""
    return model(inputs[0]).flatten(1).square().mean(1)


@functools.cache
def built(kind):
    """Return a model with seeded weights."""
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(5)
        return SEQUENCES[kind]()


def case(kind, donors, seed=0):
    """Return (inputs, donor, mask) with one row for each entry of ``donors``."""
    rng, shape = torch.Generator().manual_seed(seed), (len(donors), WIDTH if kind == "conv" else LENGTH, WIDTH)
    x = torch.randint(0, WORDS, shape[:2], generator=rng) if kind == "tokens" else torch.randn(shape, generator=rng)
    return (x,), torch.tensor(donors), torch.ones(len(donors), dtype=torch.bool)


def ours(model, loss, inputs, donor, mask, bound):
    return sum_gradients(model, loss, inputs, donor, mask, bound).value


def test_donor_has_the_same_bits_wherever_it_sits_in_a_float32_sum_of_128():
    found, (row,) = set(), torch.randn(1, 1, WIDTH, generator=torch.Generator().manual_seed(1))
    for count, place in [(1, 0), (40, 17), (300, 128), (300, 299)]:
        x = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(count))
        x[place] = row
        donor = torch.arange(count)
        found.add(sum_gradients(flat(), squares, (x,), donor, donor == place, 1e6, "float32x128").value.tobytes())
    assert len(found) == 1


class Counted:
    """A loss that counts how often it is asked."""

    def __init__(self, loss):
        self.loss, self.calls = loss, 0

    def __call__(self, model, inputs):
        self.calls += 1
        return self.loss(model, inputs)


@pytest.mark.parametrize("donors", DONORS)
@pytest.mark.parametrize("kind", SEQUENCES)
def test_sum_is_that_of_a_loop_over_donors_without_looping(kind, donors):
    model, arguments, loss = built(kind), case(kind, donors), Counted(squares)
    for bound in (0.01, 1e6):
        assert error(ours(model, loss, *arguments, bound), by_loop(model, squares, *arguments, bound)) < CLOSE
    assert loss.calls <= 2 * 4  # blocks of 1, 2, 4 and 8 rows a donor at most, and as few of 16 rows


def samples(model, loss, inputs):
    """Return Opacus' gradients by parameter, (rows, numbers)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its backward hooks warn about inputs without gradients
        wrapped = GradSampleModule(model, loss_reduction="sum", strict=False)
        loss(wrapped, inputs).sum().backward()
    found = {name: p.grad_sample.flatten(1).double() for name, p in model.named_parameters()}
    wrapped.to_standard_module()
    return found


def clipped(rows, bound):
    rows = torch.cat(list(rows), dim=1)
    return (rows * (bound / rows.norm(dim=1, keepdim=True)).clamp(max=1)).sum(0).numpy()


@pytest.mark.parametrize("kind", COMMON)
def test_sum_agrees_with_opacus_per_sample_gradients(kind):
    model, (inputs, donor, mask) = COMMON[kind](), case(kind, range(20))
    found = ours(model, squares, inputs, donor, mask, 0.1)
    assert error(found, clipped(samples(model, squares, inputs).values(), 0.1)) < CLOSE


def test_lstm_agrees_with_opacus_per_sample_gradients():
    lstm, theirs = nn.LSTM(WIDTH, 3, batch_first=True), DPLSTM(WIDTH, 3, batch_first=True)
    theirs.load_state_dict(lstm.state_dict())
    inputs, donor, mask = case("lstm", range(20))

    def loss(model, inputs):
        return model(inputs[0])[0].flatten(1).square().sum(1)

    found = samples(theirs, loss, inputs)
    rows = [found[name] for name, _ in lstm.named_parameters()]
    assert error(ours(lstm, loss, inputs, donor, mask, 0.1), clipped(rows, 0.1)) < CLOSE


@pytest.mark.parametrize("kind", SEQUENCES)
def test_donor_contributes_the_same_bits_wherever_it_sits(kind):
    """Else removing one donor, which moves the others along, would move their gradients too."""
    model, found = built(kind), set()
    (row,), _, _ = case(kind, [0])
    for count in (1, 16, 17, 40, 70):
        (x,), donor, _ = case(kind, range(count), seed=count)
        for place in {0, count // 2, count - 1}:
            x[place] = row[0]
            alone = donor == place
            found.add(ours(model, squares, (x,), donor, alone, 1e6).tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("kind", [kind for kind in SEQUENCES if kind != "tokens"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_donor_without_a_finite_gradient_contributes_exactly_nothing(kind, bad):
    (x,), donor, mask = case(kind, [0, 1, 1, 2, 3])
    without = ours(built(kind), squares, (x,), donor, donor != 1, 0.1)
    spoiled = x.clone()
    spoiled[2, 0, 0] = bad
    assert np.array_equal(ours(built(kind), squares, (spoiled,), donor, mask, 0.1), without)


@pytest.mark.parametrize("kind", SEQUENCES)
def test_masked_slot_contributes_exactly_nothing(kind):
    (x,), donor, _ = case(kind, [0, 0, 1, 2, 3])
    mask = torch.tensor([True, False, True, False, True])
    first = ours(built(kind), squares, (x,), donor, mask, 0.1)
    other = torch.where(mask[:, None, None][..., : x.dim()].reshape(-1, *[1] * (x.dim() - 1)), x, x.flip(0) * 2 % WORDS)
    assert np.array_equal(ours(built(kind), squares, (other,), donor, mask, 0.1), first)
    assert error(first, by_loop(built(kind), squares, (x,), donor, mask, 0.1)) < CLOSE


@pytest.mark.parametrize("kind", SEQUENCES)
def test_removing_a_donor_moves_the_sum_by_at_most_the_bound_and_the_charge(kind):
    (x,), donor, mask = case(kind, [i // 2 for i in range(40)])
    whole = ours(built(kind), squares, (x,), donor, mask, 0.01)
    for removed in range(0, 20, 3):
        rest = donor != removed
        absent = ours(built(kind), squares, (x[rest],), donor[rest], mask[rest], 0.01)
        assert np.linalg.norm(whole - absent) <= 0.01 * (1 + 3 * CHARGED)


class TimeFirst(nn.Module):
    """Positions before rows, without telling any layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, 3)

    def forward(self, x):
        return self.layer(x.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize("length", [16, 32, 48])
@pytest.mark.parametrize("count", [16, 30])
def test_positions_as_many_as_rows_are_not_taken_for_rows(length, count):
    x = torch.randn(count, length, WIDTH, generator=torch.Generator().manual_seed(1))
    arguments = ((x,), torch.arange(count), torch.ones(count, dtype=torch.bool))
    model = TimeFirst()
    assert error(ours(model, squares, *arguments, 0.1), by_loop(model, squares, *arguments, 0.1)) < CLOSE


class Tied(nn.Module):
    """One matrix that looks words up and scores them, and a layer used twice."""

    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WORDS)
        self.out.weight, self.again = self.words.weight, nn.Linear(WIDTH, WIDTH)

    def forward(self, words):
        return self.out(self.again(torch.tanh(self.again(self.words(words)))))


@pytest.mark.parametrize("donors", DONORS)
def test_shared_parameters_are_added_before_they_are_clipped(donors):
    model, arguments, loss = Tied(), case("tokens", donors), Counted(squares)
    assert error(ours(model, loss, *arguments, 0.01), by_loop(model, squares, *arguments, 0.01)) < CLOSE
    assert loss.calls <= 4


class Placed(nn.Module):
    def __init__(self):
        super().__init__()
        self.places, self.layer = nn.Parameter(torch.ones(LENGTH, WIDTH)), nn.Linear(WIDTH, 3)

    def forward(self, x):
        return self.layer(x * self.places)


class Crossed(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x.flip(1), x)[0]


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(WIDTH, 3, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0]


@pytest.mark.parametrize("make", [Placed, Crossed, Gated, lambda: nn.Conv1d(LENGTH, 4, 3, groups=2)])
@pytest.mark.parametrize("donors", DONORS)
def test_parameter_without_a_rule_costs_one_backward_a_donor(make, donors):
    model, arguments, loss = make(), case("linear", donors), Counted(squares)
    found = ours(model, loss, *arguments, 0.01)
    assert error(found, by_loop(model, squares, *arguments, 0.01)) < CLOSE
    assert loss.calls == len(set(donors)) + 1


def dropped(model, inputs):
    return squares(lambda x: functional.dropout(model(x), 0.5), inputs)


def normed(model, inputs):
    return functional.batch_norm(squares(model, inputs)[:, None], None, None, training=True)[:, 0]


@pytest.mark.parametrize(
    ("model", "loss", "rule"),
    [
        (nn.Linear(WIDTH, 2), dropped, "Dropout draws by position in the batch; take draws as an input"),
        (nn.Linear(WIDTH, 2), normed, "BatchNorm mixes donors"),
        (States(num_layers=2, dropout=0.1, batch_first=True), squares, "Dropout draws by position"),
        (nn.TransformerEncoderLayer(WIDTH, 2, 4, batch_first=True), squares, "layer 'dropout': Dropout draws"),
    ],
)
def test_what_mixes_donors_or_draws_by_position_is_refused(model, loss, rule):
    with pytest.raises(SpecError, match=rule):
        ours(model, loss, *case("linear", range(3)), 1.0)


def test_attention_that_drops_weights_is_refused():
    model = Attentive()
    model.attention.dropout = 0.1
    with pytest.raises(SpecError, match="Dropout draws by position"):
        ours(model, squares, *case("linear", range(3)), 1.0)
