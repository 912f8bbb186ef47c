"""Secure selection: the winner of plain arithmetic, and the ε it is charged."""

import functools
import itertools
import math
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedgenome.errors import RoleError, SpecError
from fedgenome.query import Mechanism, Query, Question, Terms, choose_scale
from fedgenome.secure import select
from fedgenome.secure.geometric import BITS, sampler
from fedgenome.secure.select import draw_noise
from fedgenome.selection import Selection
from fedgenome.streams import Stream


def selection(**other):
    return Selection(**{"scores": 5, "winners": 1, "epsilon": 1.0, "sensitivity": 1, "units": 100} | other)


# ── the tournament, on plain numbers ─────────────────────────────────────────────────────────────


class Plain:
    """One party that holds everything: what the machine computes on shares, on the numbers themselves."""

    def __init__(self, add=0):
        self.rank, self.compared, self._add = 0, [], add

    def below(self, left, right):
        self.compared.append(left.size)
        return (left.view(np.int64) < right.view(np.int64)).astype(np.uint64)

    def product(self, left, right):
        return left * right

    def reveal(self, shares):
        return shares.view(np.int64) + self._add

    def agree(self, digest):
        self.digest = digest

    def tell(self, numbers):
        return [numbers]


def ordered(scores, winners):
    """Return the indices of the largest scores, ties in order of index: a sort of all."""
    return tuple(sorted(range(len(scores)), key=lambda i: (-int(scores[i]), i))[:winners])


@given(scores=hnp.arrays(np.int64, st.integers(1, 70), elements=st.integers(-3, 3)), data=st.data())
def test_winners_are_the_largest_and_ties_go_to_the_lowest_index(scores, data):
    m, k = scores.size, data.draw(st.integers(1, scores.size))
    for words in (scores.view(np.uint64), scores.astype(np.uint64).astype(np.uint32)):
        machine = Plain()
        asked = selection(scores=m, winners=k)
        assert select.run(asked, words, np.zeros((k, m), np.int64), machine, "set") == ordered(scores, k)
        assert sum(machine.compared) == sum(left - 1 for left in range(m - k + 1, m + 1))
        assert len(machine.compared) == sum(math.ceil(math.log2(left)) for left in range(m - k + 1, m + 1))


@given(scores=hnp.arrays(np.int64, 9, elements=st.integers(-50, 50)), data=st.data())
def test_each_winner_is_found_with_its_own_noise_among_those_left(scores, data):
    noise = data.draw(hnp.arrays(np.int64, (3, 9), elements=st.integers(0, 40)))
    expected, left = [], list(range(9))
    for row in noise:
        expected.append(max(left, key=lambda i: (scores[i] + row[i], -i)))
        left.remove(expected[-1])
    found = select.run(selection(scores=9, winners=3), scores.view(np.uint64), noise, Plain(), "set")
    assert found == tuple(expected)


@pytest.mark.parametrize("limit", [2**29, 2**29 - 1])
def test_scores_at_the_edge_of_32_bits_compare_right(limit):
    scores = np.array([-limit, limit, -limit, 0, limit])
    words = scores.astype(np.uint64).astype(np.uint32)
    assert select.run(selection(), words, np.zeros((1, 5), np.int64), Plain(), "set") == (1,)


def test_index_that_is_none_is_noticed():
    with pytest.raises(RoleError, match="opened index 7 of 5 scores; a party computed with something else"):
        select.run(selection(), np.zeros(5, np.uint64), np.zeros((1, 5), np.int64), Plain(add=7), "set")


def test_parties_agree_on_set_selection_and_ring():
    digests = set()
    for name, asked, kind in itertools.product("ab", (selection(), selection(epsilon=2.0)), (np.uint32, np.uint64)):
        machine = Plain()
        select.run(asked, np.zeros(5, kind), np.zeros((1, 5), np.int64), machine, name)
        digests.add(machine.digest)
    assert {len(digest) for digest in digests} == {32}
    assert len(digests) == 8


@pytest.mark.parametrize(
    ("asked", "words", "noise", "rule"),
    [
        ({}, np.zeros(4, np.uint64), (1, 5), r"expected 5 words, got shape=\(4,\)"),
        ({}, np.zeros(5, np.uint64), (1, 4), r"expected noise for every winner, got shape=\(1, 4\)"),
        ({"winners": 2}, np.zeros(5, np.uint64), (1, 5), r"expected noise for every winner"),
        ({"units": 2**40}, np.zeros(5, np.uint32), (1, 5), r"expected words of 64 bits, got dtype='uint32'"),
    ],
)
def test_share_and_noise_must_fit_the_selection(asked, words, noise, rule):
    with pytest.raises(SpecError, match=rule):
        select.run(selection(**asked), words, np.zeros(noise, np.int64), Plain(), "set")


# ── ε, by exact enumeration ──────────────────────────────────────────────────────────────────────


def masses(rate):
    """Return P(K = k) of the library's sampler for every k it can draw, in units of 2^-(320·digits), and the unit."""
    thresholds = sampler(rate).thresholds
    mass = [1]
    for threshold in thresholds:  # digit by digit, the lowest first
        mass = [m * (2**BITS - threshold) for m in mass] + [m * threshold for m in mass]
    return mass, 2 ** (BITS * len(thresholds))


def chances(scores, mass):
    """Return each index's chance to win, exactly, in powers of the unit: one party's noise on fixed scores."""
    below = [0, *itertools.accumulate(mass)]  # below[k] = P(K < k)

    def less(k):
        return below[min(max(k, 0), len(mass))]

    chance = []
    for i, mine in enumerate(scores):
        # An earlier rival loses only if it is strictly less, a later one also when it ties.
        bars = [other - (j > i) for j, other in enumerate(scores) if j != i]
        chance.append(sum(m * math.prod(less(mine + k - bar) for bar in bars) for k, m in enumerate(mass)))
    return chance


def worst(rate, moves, spread=2):
    """Return the greatest ratio of a winner's chances between neighbours, in units of 2^-128 and rounded down.

    Over all triples of scores that differ by at most ``spread``; chances below 2^-250 count as none.
    """
    mass, unit = masses(rate)

    @functools.cache
    def of(*relative):
        return chances(relative, mass)

    greatest = 0
    for rest, move in itertools.product(itertools.product(range(-spread, spread + 1), repeat=2), moves):
        here, there = (0, *rest), tuple(x + d for x, d in zip((0, *rest), move, strict=True))
        both = zip(of(*here), of(*(x - there[0] for x in there)), strict=True)
        greatest = max([greatest, *((a << 128) // b for a, b in both if a > unit**3 >> 250)])
    return greatest


ANY_WAY = list(itertools.product((-1, 0, 1), repeat=3))  # what one unit can do to three scores of Δs = 1
ONE_WAY = [move for move in ANY_WAY if len({d for d in move if d}) < 2]


def test_enumeration_counts_every_outcome_once():
    mass, unit = masses(Fraction(1, 2))
    assert sum(mass) == unit
    assert sum(chances((0, -1, 2), mass)) == unit**3
    drawn = np.argmax(
        np.array([[0], [-1], [2]]) + sampler(Fraction(1, 2)).draw(300_000, Stream(bytes(32))).reshape(3, -1), 0
    )
    share = [float(Fraction(chance, unit**3)) for chance in chances((0, -1, 2), mass)]
    # Three frequencies of 1e5 fixed draws, each within 5 standard deviations.
    assert np.abs(np.bincount(drawn, minlength=3) / 1e5 - share).max() < 5 * math.sqrt(0.25 / 1e5)


@pytest.mark.parametrize(("monotone", "moves"), [(False, ANY_WAY), (True, ONE_WAY)], ids=["any", "monotone"])
def test_one_party_s_noise_alone_keeps_the_winner_private(monotone, moves):
    # The others' draws only move the scores, the same way for both neighbours: the window holds them.
    ratio = worst(selection(epsilon=2.0, monotone=monotone).rate, moves)
    assert math.log(ratio) - 128 * math.log(2) > 1.8
    assert ratio <= int(Context(prec=60).multiply(Decimal(2).exp(Context(prec=60)), Decimal(2**128)))


def test_half_the_noise_is_too_little_where_scores_move_both_ways():
    ratio = worst(selection(epsilon=2.0, monotone=True).rate, ANY_WAY)
    assert math.log(ratio) - 128 * math.log(2) > 2.5


@given(epsilon=st.floats(1e-3, 20), sensitivity=st.integers(1, 1000), monotone=st.booleans())
def test_rate_is_exactly_epsilon_over_twice_the_sensitivity(epsilon, sensitivity, monotone):
    rate = selection(epsilon=epsilon, sensitivity=sensitivity, monotone=monotone).rate
    assert rate * sensitivity * (1 if monotone else 2) == Fraction(epsilon)


def test_noise_is_one_row_for_each_winner_and_the_stream_s_alone():
    asked = selection(scores=2000, winners=3, epsilon=0.5)
    noise = draw_noise(asked, Stream(bytes(32)))
    assert noise.shape == (3, 2000)
    assert (noise == draw_noise(asked, Stream(bytes(32)))).all()
    assert (noise == sampler(Fraction(1, 4)).draw(6000, Stream(bytes(32))).reshape(3, 2000)).all()
    assert not (noise[0] == noise[1]).all()


# ── rules ────────────────────────────────────────────────────────────────────────────────────────


@given(
    scores=st.integers(1, 10**5),
    epsilon=st.floats(0.01, 8),
    sensitivity=st.integers(1, 99),
    units=st.integers(1, 10**6),
)
def test_limit_is_the_design_s_formula(scores, epsilon, sensitivity, units):
    asked = selection(scores=scores, epsilon=epsilon, sensitivity=sensitivity, units=units)
    noise = 3 * (2 * sensitivity / epsilon) * (46 + math.log(3 * scores))
    assert asked.limit == pytest.approx(units * sensitivity + noise)
    assert asked.width == (32 if asked.limit < 2**30 else 64)


def test_width_changes_where_a_difference_could_wrap():
    noise = selection(scores=1).limit - 100
    below, at = (selection(scores=1, units=2**30 - math.ceil(noise) + more) for more in (-1, 1))
    assert (below.width, at.width) == (32, 64)


@pytest.mark.parametrize(
    ("other", "rule"),
    [
        ({"winners": 0}, "1 <= winners <= scores"),
        ({"winners": 6}, "1 <= winners <= scores"),
        ({"scores": 2**20 + 1}, "at most 1048576 scores"),
        ({"epsilon": 0.0}, "0 < epsilon < inf"),
        ({"epsilon": math.inf}, "0 < epsilon < inf"),
        ({"epsilon": math.nan}, "0 < epsilon < inf"),
        ({"sensitivity": 0}, "sensitivity and units of at least 1"),
        ({"units": 0}, "sensitivity and units of at least 1"),
        ({"units": 2**53 + 1}, r"sums of scores up to 2\^53"),
        ({"epsilon": 1e-17}, r"noised scores below 2\^62"),
        ({"scores": 2**20, "winners": 65}, "at most 67108864 scores times winners, got draws=68157440"),
    ],
)
def test_selection_keeps_its_rules(other, rule):
    with pytest.raises(SpecError, match=f"expected {rule}"):
        selection(**other)


def query(*, bound=1.0, scale=1024.0, epsilon=0.5, cap=1000, reply_length=2, **other):
    """Return a query; ``scale`` None for the one that question and terms give."""
    mechanism = Mechanism(kind="exponential", level=epsilon, winners=min(reply_length, 100))
    asked = {"length": 100, "bound": bound, "mechanism": mechanism, "reduce": "select"}
    question = Question(payload={}, **asked | {"reply_length": reply_length} | other)
    terms = Terms(caps=(("a", cap), ("b", cap)), colluders=1, quorum=1, roster="r", plan="p")
    when = {"study": "s", "run": "r", "method": "m", "step": 0, "attempt": 0}
    return Query(question=question, terms=terms, scale=scale or choose_scale(question, terms), **when)


def test_selection_is_what_the_query_asks():
    asked = {"scores": 100, "winners": 2, "epsilon": 0.5, "units": 2000}
    assert query().selection == Selection(**asked, sensitivity=1024)
    assert query(unit="site", monotone=True).selection == Selection(
        **asked | {"units": 2}, sensitivity=1024, monotone=True
    )
    assert query(mechanism=None).selection is None


@given(m=st.integers(1, 10**5), epsilon=st.floats(0.01, 8), eighths=st.integers(1, 80), cap=st.integers(1, 10**5))
def test_query_s_scale_width_and_limit_are_those_of_its_selection(m, epsilon, eighths, cap):
    asked = query(length=m, reply_length=1, bound=eighths / 8, scale=None, epsilon=epsilon, cap=cap)
    assert asked.sensitivity == asked.scale * asked.question.bound == asked.selection.sensitivity
    assert asked.scale == min(s for s in (1, 2, 4, 8) if (s * eighths) % 8 == 0)
    assert (asked.limit, asked.width, asked.sigma_ring) == (asked.selection.limit, asked.selection.width, 0)


def test_every_word_of_a_selection_is_in_the_digest():
    terms = {"bound": 2.0, "epsilon": 0.7, "scale": 2048.0, "monotone": True, "length": 101, "unit": "site"}
    digests = {query(**{name: value}).digest for name, value in terms.items()} | {query().digest}
    assert len(digests) == len(terms) + 1
    assert query(reply_length=3).digest not in digests


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({"reduce": "sum"}, "expected exponential noise for a selection, Gaussian for a sum, got reduce='sum'"),
        ({"mechanism": Mechanism(kind="gaussian", level=1.0)}, "expected exponential noise for a selection"),
        ({"mechanism": None, "reduce": "sum", "monotone": True}, "expected monotone for selections only"),
        ({"mechanism": Mechanism(kind="exponential", level=1.0, where="home", winners=2)}, "noised by the parties"),
        ({"mechanism": Mechanism(kind="exponential", level=1.0)}, "priced for all its winners, got winners=2"),
        ({"reply_length": 101}, "1 <= winners <= scores <= 1048576, got winners=101, scores=100"),
        ({"bound": 0.3, "scale": None}, r"a bound of scores that is a multiple of 2\^-20, got bound=0.3"),
        ({"bound": 1.0001}, "expected scores of whole ring units, got sensitivity=1024.1024"),
        ({"bound": 2.0**45}, r"expected sums of scores up to 2\^53"),
        ({"epsilon": 1e-15}, r"expected noised scores below 2\^62"),
    ],
)
def test_query_that_cannot_be_selected_from_is_refused(asked, rule):
    with pytest.raises(SpecError, match=rule):
        query(**asked)


@pytest.mark.parametrize(("kind", "winners"), [("gaussian", 2), ("exponential", 0), ("exponential", 1.0)])
def test_mechanism_has_winners_only_if_it_selects(kind, winners):
    with pytest.raises(SpecError, match="1 <= winners <= "):
        Mechanism(kind=kind, level=1.0, winners=winners)
