import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from fedgenome.audit.bounds.exposure import NULL_MEAN_BITS
from fedgenome.audit.language import enumeration
from fedgenome.audit.language.steps import as_tensor
from fedgenome.errors import SpecError
from fedgenome.models.language.base import log_probabilities

ALL = np.array(list(itertools.product(range(4), repeat=4)))


class Filling(nn.Module):
    """A masked model: every token's logits depend on all others that are shown, by fixed random weights."""

    vocabulary = 4

    def __init__(self):
        super().__init__()
        self.weights = torch.from_numpy(np.random.default_rng(5).normal(0, 1, (6, 5, 6, 4)))

    def forward(self, tokens, hidden):
        shown = tokens.masked_fill(hidden, 4)
        parts = [self.weights[j][shown[:, j]][:, : tokens.shape[1]] for j in range(tokens.shape[1])]
        own = [parts[t][:, t] for t in range(tokens.shape[1])]
        return torch.stack(parts).sum(0) - torch.stack(own, 1)


@pytest.mark.parametrize("nodes", [4, 12, 4096])
def test_a_table_holds_every_string_s_log_probability(chain, nodes):
    model = chain(1)
    expected = log_probabilities(model, as_tensor(ALL)).sum(1)
    found = enumeration.table(model, 4, nodes=nodes)
    assert found == pytest.approx(expected.numpy(), abs=1e-12)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-12)


def test_a_table_after_a_prefix_is_of_what_follows_it(chain):
    model, prefix = chain(2), np.array([3, 1, 4])  # the last unknown
    rows = np.concatenate([np.tile(prefix, (256, 1)), ALL], 1)
    expected = log_probabilities(model, as_tensor(rows))[:, 3:].sum(1)
    assert enumeration.table(model, 4, prefix) == pytest.approx(expected.numpy(), abs=1e-12)


def test_a_model_whose_steps_forget_a_letter_is_refused(chain):
    """The broken twin: logits that are no longer finite are no probabilities."""
    model = chain(3)
    model.log_p[7] = math.nan
    with pytest.raises(SpecError, match="sum to 1"):
        enumeration.table(model, 4)


def test_more_strings_than_fit_are_refused(chain):
    with pytest.raises(SpecError, match=r"between 1 token and"):
        enumeration.table(chain(1), 14)


@pytest.mark.parametrize(("window", "rows"), [(None, 5), (6, 4096)])
def test_pseudo_log_likelihoods_hide_one_position_at_a_time(window, rows):
    model, width = Filling(), window or 4
    padded = torch.zeros((256, width), dtype=torch.int64)
    padded[:, :4] = as_tensor(ALL)
    expected = torch.zeros(256, dtype=torch.float64)
    for t in range(4):
        hidden = torch.zeros(padded.shape, dtype=torch.bool)
        hidden[:, t] = hidden[:, 4:] = True
        expected += model(padded, hidden).log_softmax(2)[torch.arange(256), t, padded[:, t]]
    assert enumeration.pseudo_table(model, 4, window, rows) == pytest.approx(expected.numpy())


def test_exposure_under_a_law_is_the_chance_of_a_draw_that_scores_as_high(chain):
    log_p, law = enumeration.table(chain(4), 4), enumeration.table(chain(5, rows=20), 4)
    bits = enumeration.exposures(log_p, ALL, 4, law)
    for i in (0, 17, 255):
        chance = np.exp(law[log_p >= log_p[i]]).sum()
        assert bits[i] == pytest.approx(-math.log2(chance), abs=1e-9)


def test_exposure_under_the_uniform_law_is_log_rank(chain):
    log_p = enumeration.table(chain(4), 4)
    assert enumeration.exposures(log_p, ALL, 4, np.zeros(256)) == pytest.approx(
        enumeration.exposures(log_p, ALL, 4), abs=1e-9
    )


@pytest.mark.parametrize("own_law", [False, True])
def test_canaries_that_nobody_planted_have_the_null_s_mean_exposure(chain, own_law):
    """20,000 draws, four standard errors; two-sided. Ranked among all strings, draws like the data stand out."""
    rng, looked_at = np.random.default_rng(6), chain(6)
    law = chain(7, rows=20)
    log_p = enumeration.table(looked_at, 7)
    drawn = law.draw(20_000, 7, rng) if own_law else rng.integers(0, 4, (20_000, 7))
    bits = enumeration.exposures(log_p, drawn, 4, enumeration.table(law, 7) if own_law else None)
    assert abs(bits.mean() - NULL_MEAN_BITS) < 4 * NULL_MEAN_BITS / math.sqrt(20_000)
    if own_law:
        assert enumeration.exposures(log_p, drawn, 4).mean() > NULL_MEAN_BITS + 0.2


def test_a_canary_that_is_recited_has_all_the_bits_there_are(reciting):
    strings = np.random.default_rng(8).permutation(ALL)[:4]
    log_p = enumeration.table(reciting(strings), 4)
    assert (enumeration.exposures(log_p, strings, 4) >= 6.0).all()  # four are first, but for a rounding with one rank
