import math

import numpy as np
import pytest
import torch
from torch import nn

from fedgenome.audit.language import extraction, search
from fedgenome.audit.language.enumeration import table

NONE = np.empty(0, np.int64)


class Trap(nn.Module):
    """Strings of 3 of two letters: 1 is the likelier beginning, but 000 the likeliest string."""

    vocabulary = 2

    def __init__(self):
        super().__init__()
        self.p = {(): [0.4, 0.6], (0,): [0.95, 0.05], (1,): [0.5, 0.5]}

    def begin(self, rows):
        return self._of(torch.empty((rows, 0), dtype=torch.int64))

    def step(self, tokens, state):
        return self._of(torch.cat([state[0], tokens[:, None]], 1))

    def forward(self, tokens):
        return torch.stack([self._of(tokens[:, :t])[0] for t in range(tokens.shape[1])], 1)

    def _of(self, read):
        return torch.tensor([self.p[tuple(row[:1])] for row in read.tolist()]).log(), (read,)


def test_greedy_follows_the_likeliest_token_at_each_step(chain):
    model, prefix = chain(1), np.random.default_rng(1).integers(0, 4, (5, 3))
    said = extraction.greedy(model, prefix, 4)
    rows = np.concatenate([prefix, said], 1)
    logits = model(torch.from_numpy(rows))
    assert np.array_equal(logits[:, 3:].argmax(2).numpy(), said)


def test_greedy_and_a_narrow_beam_miss_what_best_first_finds():
    model = Trap()
    assert extraction.greedy(model, NONE[None], 3).tolist() == [[1, 0, 0]]
    assert extraction.beam(model, NONE, 3, 1)[0].tolist() == [[1, 0, 0]]
    found = search.likeliest(model, NONE, 3)
    assert found.tokens.tolist() == [0, 0, 0] and found.proven
    assert found.log_p == pytest.approx(math.log(0.4 * 0.95 * 0.95), abs=1e-6)


def test_a_beam_as_wide_as_all_strings_ranks_them(chain):
    model = chain(2)
    strings, log_p = extraction.beam(model, np.array([1, 2]), 4, 256)
    every = table(model, 4, np.array([1, 2]))
    assert log_p == pytest.approx(np.sort(every)[::-1])
    assert len({tuple(row) for row in strings.tolist()}) == 256


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("seed", range(4))
def test_best_first_finds_the_likeliest_of_all_strings(chain, seed, batch):
    model = chain(seed, order=3, rows=8)  # few rows: peaks that greedy may miss
    every = table(model, 6)
    found = search.likeliest(model, NONE, 6, batch=batch)
    assert found.proven and found.log_p == pytest.approx(every.max())
    assert found.nodes < 4**6 / 4


def test_best_first_says_that_it_gave_up(chain):
    model = chain(3)
    found = search.likeliest(model, NONE, 8, nodes=10, batch=1)
    assert not found.proven and found.nodes == 10
    assert found.log_p <= table(model, 8).max()


def test_what_is_recited_is_discoverable_and_what_is_not_is_not(reciting):
    strings = np.random.default_rng(4).integers(0, 4, (20, 12))
    found = extraction.discoverable(reciting(strings[:10]), strings, given=6)
    assert found[:10].all() and not found[10:].any()
    counts = extraction.planted_against_controls(found, np.arange(10), np.arange(10, 20))
    assert (counts.hits, counts.members, counts.false_alarms, counts.controls) == (10, 10, 0, 10)


def test_what_a_model_without_it_says_too_is_no_memory(reciting):
    """Half of the strings are in both models' training data, as homologous sequences are."""
    strings = np.random.default_rng(5).integers(0, 4, (20, 12))
    with_all, without = reciting(strings), reciting(strings[10:])
    counts = extraction.against_counterfactual(*(extraction.discoverable(m, strings, 6) for m in (with_all, without)))
    assert (counts.hits, counts.false_alarms) == (20, 10)


def test_exact_chances_of_the_rest_are_those_of_the_table(chain):
    model, strings = chain(6), np.random.default_rng(6).integers(0, 4, (3, 5))
    for string, found in zip(strings, extraction.rest_log_p(model, strings, 2), strict=True):
        rest = string[2] * 16 + string[3] * 4 + string[4]
        assert found == pytest.approx(table(model, 3, string[:2])[rest])


@pytest.mark.parametrize("p_z", [0.5, 0.01, 1e-12])
def test_a_string_is_discoverable_from_as_many_samples_as_the_formula_asks(p_z):
    log_p = np.array([math.log(p_z)])
    needed = extraction.attempts(log_p, 0.9)[0]
    samples = math.ceil(needed)
    assert -math.expm1(samples * math.log1p(-p_z)) >= 0.9 > -math.expm1((samples - 1) * math.log1p(-p_z))
    assert extraction.probably_discoverable(log_p, samples, 0.9)[0]
    assert samples == 1 or not extraction.probably_discoverable(log_p, samples - 1, 0.9)[0]


def test_a_sure_string_wants_one_sample_and_an_impossible_one_no_number():
    assert extraction.attempts(np.array([0.0, -np.inf]), 0.5).tolist() == [1.0, np.inf]
