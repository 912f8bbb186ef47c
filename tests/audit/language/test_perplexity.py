import numpy as np
import pytest

from fedgenome.audit.language import perplexity
from fedgenome.cohort.tokens import Tokens
from fedgenome.errors import SpecError

BASES = Tokens()
ROWS = np.random.default_rng(1).integers(0, 4, (12, 10))


def test_bits_a_base_of_a_chain_are_its_log_probabilities(chain):
    model = chain(1)
    logits = model(perplexity.as_tensor(ROWS)).numpy()
    expected = -np.take_along_axis(logits, ROWS[..., None], 2).mean((1, 2)) / np.log(2)
    assert perplexity.bits_per_base(model, ROWS, BASES) == pytest.approx(expected)


def test_a_donor_s_bits_are_over_all_of_its_known_bases(chain):
    """Rows of 10 and of 2 known bases weigh 5 : 1, not alike."""
    model, rows = chain(2), ROWS[:2].copy()
    rows[1, 2:] = 4
    one, other = perplexity.bits_per_base(model, rows, BASES)
    both = perplexity.bits_per_base(model, rows, BASES, np.array([7, 7]))
    assert both == pytest.approx([(10 * one + 2 * other) / 12])


def test_both_strands_of_a_row_are_those_of_its_reverse_complement(chain):
    model, turned = chain(3), BASES.reverse_complement(ROWS)
    here, there = (perplexity.bits_per_base(model, rows, BASES, both_strands=True) for rows in (ROWS, turned))
    assert here == pytest.approx(there)
    assert here == pytest.approx(
        (perplexity.bits_per_base(model, ROWS, BASES) + perplexity.bits_per_base(model, turned, BASES)) / 2
    )


def test_bits_are_per_base_whatever_a_token_is():
    """A model of no opinion needs two bits a base, of single bases and of pairs."""
    from fedgenome.audit.language.markov import fit

    for k in (1, 2):
        even = fit(np.empty((0, 5), np.int64), 4**k, 0)
        assert perplexity.bits_per_base(even, ROWS, Tokens(k=k)) == pytest.approx([2.0] * 12)


def test_a_donor_without_a_known_base_is_refused(chain):
    with pytest.raises(SpecError, match="a known token for every donor"):
        perplexity.bits_per_base(chain(1), np.full((1, 5), 4), BASES)


def test_a_gap_is_found_where_members_are_recited_and_not_where_none_are(chain, reciting):
    members, controls = ROWS[:6], ROWS[6:]
    found = perplexity.gap(*(perplexity.bits_per_base(reciting(members), rows, BASES) for rows in (members, controls)))
    assert found.auc.estimate == 1 and found.bits.low > 1 and found.p_value < 0.01
    none = perplexity.gap(*(perplexity.bits_per_base(chain(4), rows, BASES) for rows in (members, controls)))
    assert none.auc.low < 0.5 < none.auc.high and none.bits.low < 0 < none.bits.high


def test_a_reference_takes_off_what_is_easy_for_everyone(chain):
    """Controls that any model finds easy hide members from the bare bits, not from calibrated ones."""
    easy = np.zeros((6, 10), np.int64)
    model, reference = (np.array([1.0, 0.3]), np.array([1.8, 0.3]))  # a member, then an easy control
    assert model[1] < model[0]
    assert perplexity.calibrated(model, reference) == pytest.approx([0.8, 0.0])
    assert (
        perplexity.bits_per_base(chain(5), easy, BASES).mean() < perplexity.bits_per_base(chain(5), ROWS, BASES).mean()
    )
