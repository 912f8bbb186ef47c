import itertools

import numpy as np
import pytest
import torch

from fedgenome.audit.language import canaries, enumeration
from fedgenome.audit.language.copying import Copying
from fedgenome.audit.language.perplexity import log_likelihood
from fedgenome.errors import SpecError
from fedgenome.models.language.base import Causal

PANEL = np.random.default_rng(1).integers(0, 4, (3, 5))


def naive(panel, row, switch, error):
    """Return log p of a row, summed over all paths of copied haplotypes."""
    total = 0.0
    for path in itertools.product(range(len(panel)), repeat=len(row)):
        p = 1.0
        for t, (j, token) in enumerate(zip(path, row, strict=True)):
            p *= (switch if t else 1) / len(panel) + (1 - switch) * (t > 0 and path[t - 1] == j)
            p *= error / 4 + (1 - error) * (panel[j][t] == token)
        total += p
    return np.log(total)


def test_a_copying_model_sums_over_all_mosaics():
    rows = np.random.default_rng(2).integers(0, 4, (6, 5))
    found = log_likelihood(Copying(PANEL, 4, 0.2, 0.1), rows)
    assert found == pytest.approx([naive(PANEL, row, 0.2, 0.1) for row in rows])


def test_whoever_is_left_out_is_copied_by_nobody():
    rows, left_out = np.random.default_rng(3).integers(0, 4, (6, 5)), np.array([False, True, False])
    whole = Copying(PANEL, 4)
    assert log_likelihood(whole.without(left_out), rows) == pytest.approx(
        log_likelihood(Copying(PANEL[[0, 2]], 4), rows)
    )
    assert log_likelihood(whole, rows) == pytest.approx(log_likelihood(Copying(PANEL, 4), rows))  # as it was


def test_a_panel_of_nobody_else_is_refused():
    with pytest.raises(SpecError, match="a panel of other people"):
        Copying(PANEL, 4).without(np.ones(3, np.bool_))


def test_chances_of_all_tokens_sum_to_1_with_unknown_ones_about():
    model = Copying(np.random.default_rng(4).integers(0, 5, (6, 8)), 4)
    logits = model(torch.from_numpy(np.random.default_rng(5).integers(0, 5, (6, 8))))
    assert isinstance(model, Causal)
    assert logits.exp().sum(2).numpy() == pytest.approx(np.ones((6, 8)))


def test_without_errors_it_is_the_law_of_mosaics():
    """Every string of 5 within five standard deviations of its number among 40,000 mosaics; at another rate some are
    not, and what no mosaic has is impossible."""
    drawn = canaries.mosaic(PANEL, 5, 0.3)(40_000, np.random.default_rng(6))
    seen = np.bincount(enumeration.codes(drawn, 4), minlength=4**5)

    def far(switch):
        p = np.exp(enumeration.table(Copying(PANEL, 4, switch, 0.0), 5))
        assert (seen[p == 0] == 0).all()
        likely = p > 1e-4
        return (np.abs(seen - 40_000 * p)[likely] / np.sqrt(40_000 * p * (1 - p))[likely]).max()

    assert far(0.3) < 5 < far(0.4)


def test_rows_longer_than_the_panel_are_refused():
    with pytest.raises(SpecError, match="no longer than the panel"):
        Copying(PANEL, 4)(torch.zeros((1, 6), dtype=torch.int64))
