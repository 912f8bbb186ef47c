"""What each mechanism promises, tested from both sides, and the broken twin that each test must reject.

Seeds are fixed; a sound mechanism would fail a statistical test here once in a thousand seeds, a twin pass it
less than once in a million.
"""

import math

import numpy as np
import pytest
from scipy import stats

from fedgenome.methods.fedsgd import FedSgd
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.privacy.coins import chosen
from fedgenome.query import PARTIES, Mechanism, Query, Question, Terms, choose_scale
from fedgenome.secure import ring
from fedgenome.secure.noise import sampler
from fedgenome.streams import Root
from tests.conformance.cases import KINDS, SHARDS, build, draws, walk
from tests.conformance.test_sensitivity import twin_of

ALPHA, FIRM = 1e-3, 1e-6
N = 20_000
TERMS = Terms(caps=(("a", 100), ("b", 100)), colluders=1, quorum=2, roster="", plan="")


def query_of(length=N, level=2.0, **when):
    question = Question(
        payload={}, length=length, reply_length=length, bound=1.0, mechanism=Mechanism(kind="gaussian", level=level)
    )
    named = {"study": "", "run": "", "method": "m", "step": 0, "attempt": 0} | when
    return Query(question=question, scale=choose_scale(question, TERMS), terms=TERMS, **named)


def two_sided(statistic, freedom):
    """p-value of a χ² statistic that may be neither too large nor too small."""
    return 2 * min(stats.chi2.cdf(statistic, freedom), stats.chi2.sf(statistic, freedom))


# ---- Noise: of the stated scale, made by three who share nothing, fresh in every attempt


def noise_of(query, factor=1.0, roots=None):
    """Return what three parties add to a sum, (N,)."""
    roots = roots or [Root.simulation(11, "party", i) for i in range(PARTIES)]
    total = np.zeros(query.question.length, ring.dtype_of(query.width))
    for root in roots:
        sampler(factor * query.sigma_party).add_to(total, root.stream("noise", "m", query.step, query.attempt))
    return ring.signed(total).astype(float)


def of_variance(noise, variance):
    return two_sided((noise**2).sum() / variance, noise.size)


def test_noise_of_three_parties_has_the_charged_scale():
    query = query_of()
    assert of_variance(noise_of(query), 1.5 * query.sigma_ring**2) > ALPHA


@pytest.mark.parametrize("factor", [0.7, 1 / 0.7])
def test_noise_at_seven_tenths_or_its_inverse_is_rejected(factor):
    query = query_of()
    assert of_variance(noise_of(query, factor), 1.5 * query.sigma_ring**2) < FIRM


def test_noise_of_parties_that_share_a_seed_is_rejected():
    query, shared = query_of(), [Root.simulation(11, "party", 0)] * PARTIES
    assert of_variance(noise_of(query, roots=shared), 1.5 * query.sigma_ring**2) < FIRM


def test_noise_of_two_attempts_does_not_cancel():
    first, second = query_of(attempt=0), query_of(attempt=1)
    difference = noise_of(first) - noise_of(second)
    assert of_variance(difference, 3 * first.sigma_ring**2) > ALPHA


def test_noise_used_again_after_a_resume_is_rejected():
    query = query_of()
    assert of_variance(noise_of(query) - noise_of(query), 3 * query.sigma_ring**2) < FIRM


# ---- Sampling: a coin a donor, so that the size of a sample varies as a binomial does

DONORS = [f"donor-{i}" for i in range(500)]
ROUNDS, RATE = 400, 0.2


def by_coins(step):
    return chosen(Root.simulation(5, "site", "a"), ("m", step, 0), DONORS, RATE)


def by_shuffling(step):
    sample = np.zeros(len(DONORS), bool)
    sample[np.random.default_rng(step).permutation(len(DONORS))[: int(RATE * len(DONORS))]] = True
    return sample


def same_every_round(step):
    return by_coins(0)


def spread(draw):
    """p-value of sample sizes against Binomial(n, q)."""
    n = len(DONORS)
    sizes = np.array([draw(step).sum() for step in range(ROUNDS)])
    return two_sided(((sizes - n * RATE) ** 2).sum() / (n * RATE * (1 - RATE)), ROUNDS)


def overlap(draw):
    """p-value of the donors that neighbouring samples have in common."""
    common = sum(int((draw(step) & draw(step + 1)).sum()) for step in range(0, ROUNDS, 2))
    return stats.binomtest(common, ROUNDS // 2 * len(DONORS), RATE**2).pvalue


def test_samples_vary_as_poisson_sampling_does():
    assert spread(by_coins) > ALPHA and overlap(by_coins) > ALPHA


def test_shuffled_batches_that_are_priced_as_poisson_are_rejected():
    assert spread(by_shuffling) < FIRM


def test_the_same_sample_in_every_round_is_rejected():
    assert overlap(same_every_round) < FIRM


# ---- Sums: what two sites answer adds up to what one site of all their donors would


class DividesByTheBatch(FedSgd):
    def answer(self, question, sample, rng):
        whole = super().answer(question, sample, rng)
        n = max(1, sample.n_donors)
        return sum_rows(whole.value[None] / n, np.zeros(1, np.int64), np.ones(1, bool), question.bound)


def not_additive(method):
    """Return how far the answers of two halves are from that of the whole, at most, in units of the bound."""
    shard, worst = SHARDS["one row a donor"], 0.0
    first = np.arange(shard.n_donors) < 5
    for step, _, question in walk(method, shard):
        if question is not None:
            whole, a, b = (method.answer(question, s, draws(step)).value for s in halves(shard, first))
            worst = max(worst, float(np.linalg.norm(whole - a - b)) / question.bound)
    return worst


def halves(shard, first):
    return shard, shard.take(first), shard.take(~first)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_two_sites_add_up_to_that_of_one(kind):
    assert not_additive(build(kind)) < 1e-4


def test_answer_divided_by_the_realised_batch_is_rejected():
    assert not_additive(twin_of(DividesByTheBatch, "cvae")) > 0.1


# ---- Clipping: NaN and infinity


def clip_as_published(rows, donor, mask, bound):
    """Scale by min(1, C / norm): NaN passes through."""
    with np.errstate(invalid="ignore"):
        scale = np.minimum(1, bound / np.linalg.norm(rows, axis=1))
        return (rows * scale[:, None]).sum(0)


def ours(rows, donor, mask, bound):
    answer: ClippedSum = sum_rows(rows, donor, mask, bound)
    return answer.value


def within(clip, bad):
    rows, donor = np.array([[0.1, 0.2], [bad, 1e9]]), np.arange(2)
    total = clip(rows, donor, np.ones(2, bool), 1.0)
    return bool(np.linalg.norm(total - rows[0]) <= 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_row_that_is_not_finite_moves_a_sum_by_no_more_than_the_bound(bad):
    assert within(ours, bad)


def test_clipping_that_lets_nan_through_is_rejected():
    assert not within(clip_as_published, np.nan)


# ---- Rounding: a site's sum moves by more than s·C, and by no more than is charged


def rounded_move(query):
    """Return how far one donor moves the integers of a sum where every coordinate is about to round up."""
    n, s = query.question.length, query.scale
    base = np.full(n, (0.5 - 1e-6) / s)
    donor = np.full(n, query.question.bound / math.sqrt(n))
    with_donor, without = (ring.signed(ring.encode(v, s, query.width)) for v in (base + donor, base))
    return float(np.linalg.norm((with_donor - without).astype(float)))


@pytest.mark.parametrize("length", [100, 5_000, N])
def test_rounding_moves_a_sum_by_no_more_than_is_charged(length):
    query = query_of(length)
    assert rounded_move(query) <= query.sensitivity


def test_sensitivity_without_the_rounding_is_rejected():
    moved = [rounded_move(query) / (query.scale * query.question.bound) for query in map(query_of, range(300, 340))]
    assert max(moved) > 1
