import itertools

import numpy as np
import pytest
import torch

from fedgenome.audit.language import markov
from fedgenome.errors import SpecError
from fedgenome.models.language.base import Causal


def naive(row, tables, order):
    """Return log p of each token by looking its context up in dictionaries of counts."""
    out = []
    for t, token in enumerate(row):
        context = ()
        for j in range(1, min(order, t) + 1):
            if row[t - j] == 4:
                break
            context = (row[t - j], *context)
        counts = tables[context]
        out.append(np.log(counts[token] / sum(counts)) if token < 4 else 0.0)
    return out


def counted(rows, order):
    tables = {c: [0.5] * 4 for j in range(order + 1) for c in itertools.product(range(4), repeat=j)}
    for row, j in itertools.product(rows.tolist(), range(order + 1)):
        for t in range(j, len(row)):
            if max(row[t - j : t + 1]) < 4:
                tables[tuple(row[t - j : t])][row[t]] += 1
    return tables


@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_chain_says_what_counts_of_contexts_say(order):
    rng = np.random.default_rng(order)
    public, rows = rng.integers(0, 5, (30, 12)), rng.integers(0, 5, (20, 9))  # 4 is unknown
    chain, tables = markov.fit(public, 4, order), counted(public, order)
    logs = chain(torch.from_numpy(rows)).numpy()
    for row, found in zip(rows, logs, strict=True):
        known = row < 4
        assert found[known, row[known]] == pytest.approx(np.array(naive(row.tolist(), tables, order))[known])


def test_a_chain_is_a_causal_model_whose_steps_are_its_forward(chain):
    model, rows = chain(1), torch.from_numpy(np.random.default_rng(1).integers(0, 5, (6, 8)))
    assert isinstance(model, Causal)
    logits, state = model.begin(6)
    for t in range(8):
        assert torch.equal(logits, model(rows)[:, t])
        logits, state = model.step(rows[:, t], state)


def test_what_is_drawn_of_a_chain_has_its_frequencies(chain):
    """Each of 16 pairs within five standard deviations of its expected number; of another chain some are not."""
    model, drawn = chain(2), chain(2).draw(20_000, 2, np.random.default_rng(3))
    seen = np.bincount(drawn[:, 0] * 4 + drawn[:, 1], minlength=16)

    def far(of):
        first, second = of.log_p[0].exp(), of.log_p[1:5].exp()
        p = (first[:, None] * second).flatten().numpy()
        return np.abs(seen - 20_000 * p).max() / np.sqrt(20_000 * p * (1 - p)).min()

    assert far(model) < 5 < far(chain(7, rows=20))


def test_too_long_a_memory_is_refused():
    with pytest.raises(SpecError, match=r"contexts"):
        markov.fit(np.zeros((1, 30), np.int64), 4, 12)
