import numpy as np
import pytest

from fedgenome.audit.linkage import leakage, matcher
from fedgenome.errors import SpecError


def test_bits_are_none_of_a_blind_attacker_and_all_of_a_sure_one():
    owner = np.arange(8)
    blind, sure = leakage.bits(np.zeros((8, 8)), owner), leakage.bits(99 * np.eye(8), owner)
    assert blind.prior == 3 and abs(blind.claimed) < 1e-12 and abs(blind.proven) < 1e-12
    assert sure.claimed == pytest.approx(3) and sure.proven == pytest.approx(3)


def test_who_is_surer_than_right_claims_bits_that_it_cannot_prove_until_it_is_cooled():
    rng, owner = np.random.default_rng(1), np.arange(200)
    truth = rng.normal(size=(200, 200)) + 3 * np.eye(200)  # log-likelihood ratios of N(3, 1) and N(0, 1), over 3
    over = leakage.bits(30 * truth, owner)
    assert over.claimed > 7 and over.proven < 0
    at = leakage.temperature(30 * truth[:100], owner[:100])
    assert at == pytest.approx(10, rel=0.2)
    cooled = leakage.bits(30 * truth[100:], owner[100:], at)
    assert cooled.proven == pytest.approx(cooled.claimed, abs=0.5) and 4 < cooled.proven < 6


def test_the_matcher_claims_what_it_can_prove(made):
    people = made(np.random.default_rng(2), linked=200, decoys=0, strangers=0, variants=12)
    scores = matcher.log_ratios(matcher.channel(people.base, people.pairs), people.probes, people.candidates)
    told = leakage.bits(scores, people.owner)
    assert told.proven == pytest.approx(told.claimed, abs=0.4) and 2 < told.proven < told.prior


def test_sigmas_are_those_of_a_loop_over_people():
    rng = np.random.default_rng(3)
    table, own = rng.normal(5, 2, (4, 6)), np.array([5, 0, 3, 1])
    weights = rng.integers(0, 3, (1, 6)).astype(float)
    rows = [(p, c) for p, c in enumerate(own) for _ in range(int(weights[0, c]))]
    columns = [c for c in range(6) for _ in range(int(weights[0, c]))]
    null = [table[p, c] for p, mine in rows for c in columns if c != mine]
    expected = (np.mean([table[p, c] for p, c in rows]) - np.mean(null)) / np.std(null)
    assert leakage._sigmas(table, own, weights)[0] == pytest.approx(expected)


def test_the_interval_of_sigmas_holds_the_truth_and_widens_with_fewer_people():
    rng = np.random.default_rng(4)
    many, few = (leakage.sigmas(rng.normal(size=(n, n)) + 3 * np.eye(n), np.arange(n), rng) for n in (200, 20))
    assert many.low < 3 < many.high and few.high - few.low > many.high - many.low > 0
    assert leakage.sigmas(np.zeros((5, 5)), np.arange(5), rng).estimate == 0


def test_epsilon_is_refuted_where_people_are_linked_and_not_where_nothing_is(made):
    people, rng = made(np.random.default_rng(5), linked=100, decoys=100, strangers=100), np.random.default_rng(0)
    scores = matcher.log_ratios(matcher.channel(people.base, people.pairs), people.probes, people.candidates)
    assert leakage.epsilon(scores, people.owner, rng).epsilon > 1.5
    assert leakage.epsilon(rng.normal(size=scores.shape), people.owner, rng).epsilon < 0.2


@pytest.mark.parametrize("measure", [leakage.epsilon, leakage.sigmas])
def test_two_probes_of_one_candidate_are_refused(measure):
    with pytest.raises(SpecError, match="expected one probe at most of a candidate"):
        measure(np.zeros((4, 4)), np.array([0, 0, 1, -1]), np.random.default_rng(0))


def test_epsilon_without_decoys_is_refused():
    with pytest.raises(SpecError, match="expected 2 linked probes, 2 decoys and 2 strangers, got linked=4, pairs=0"):
        leakage.epsilon(np.eye(4), np.arange(4), np.random.default_rng(0))
