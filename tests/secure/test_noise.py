"""Discrete Gaussian noise: the exact distribution, on every integer, from any stream.

Statistical tests use fixed streams, so they do not flicker; each says at which level it would reject
a sound sampler, and rejects a sampler whose σ is 3 % off in either direction.
"""

import hashlib
import math
from collections.abc import Iterator
from fractions import Fraction

import mpmath
import numpy as np
import opendp.prelude as dp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedgenome.errors import SpecError
from fedgenome.query import PARTIES, Mechanism, Query, Question, Terms, choose_scale
from fedgenome.secure import noise
from fedgenome.secure.noise import Sampler, Table, sampler
from fedgenome.streams import Stream

ALPHA = 1e-3  # a sound sampler's chance to fail a statistical test
FIRM = 1e-9  # a broken one's chance to pass is about this
SIGMAS = (4.0, 31.7, 1000.1, 4104.0, 5e5, 3e6)  # one digit, two and three


def stream(*labels: object) -> Stream:
    return Stream(hashlib.sha256(repr(labels).encode()).digest())


def exact_pmf(sigma: float, reach: int) -> np.ndarray:
    """P(x) for x = -reach … reach, in float64."""
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return weights / weights.sum()


def exact_cdf(sigma: float, values: np.ndarray) -> np.ndarray:
    """P(X ≤ x): summed, or for large σ by the midpoint rule, whose error is below 1/(24σ²)."""
    if sigma > 2000:
        return stats.norm.cdf((values + 0.5) / sigma)
    reach = math.ceil(10 * sigma)
    return np.cumsum(exact_pmf(sigma, reach))[values + reach]


def fit(draws: np.ndarray, sigma: float, n_bins: int = 40) -> float:
    """p-value of a chi-square of ``draws`` against DG(σ²), in bins of about equal chance."""
    quantiles = stats.norm.ppf(np.linspace(0, 1, n_bins + 1)[1:-1])
    edges = np.unique(np.rint(quantiles * sigma).astype(np.int64))
    expected = np.diff(exact_cdf(sigma, edges), prepend=0.0, append=1.0) * draws.size
    seen = np.bincount(np.searchsorted(edges, draws), minlength=expected.size)
    return float(stats.chisquare(seen, expected).pvalue)


# ---- the distribution -------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", SIGMAS)
def test_draws_fit_the_exact_distribution_and_neither_neighbour(sigma):
    def drawn_at(other: float) -> np.ndarray:
        return noise._build(other, *noise._decompose(other)).draw(200_000, stream("fit", sigma))

    assert fit(sampler(sigma).draw(200_000, stream("fit", sigma)), sigma) > ALPHA
    assert fit(drawn_at(0.97 * sigma), sigma) < FIRM
    assert fit(drawn_at(1.03 * sigma), sigma) < FIRM


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0, 2.5])
def test_draws_of_a_small_table_fit_value_by_value(sigma):
    draws = noise._build(sigma, 1, 1).draw(300_000, stream("small", sigma))
    expected = exact_pmf(sigma, 40)[38:43] * draws.size
    seen = np.array([np.count_nonzero(draws == value) for value in range(-2, 3)])
    p_value = stats.chisquare([*seen, draws.size - seen.sum()], [*expected, draws.size - expected.sum()]).pvalue
    assert p_value > ALPHA


def test_neighbouring_draws_are_independent():
    draws = sampler(4104.0).draw(200_000, stream("independent")).astype(float)
    for lag in (1, 2, 3):
        correlation = np.corrcoef(draws[:-lag], draws[lag:])[0, 1]
        assert abs(correlation) * math.sqrt(draws.size) < 3.9  # fails with chance 1e-4
    assert abs(np.corrcoef(draws[:-1], draws[1:] + 0.02 * draws[:-1])[0, 1]) * math.sqrt(draws.size) > 3.9


@pytest.mark.parametrize("sigma", [31.7, 4104.0])
def test_draws_agree_with_opendps_sampler_and_its_neighbours_do_not(sigma):
    theirs = opendp_draws(sigma, 20_000)
    ours = {factor: sampler(sigma * factor).draw(200_000, stream("oracle", sigma)) for factor in (0.9, 1, 1.1)}
    assert two_sample(ours[1], theirs) > 1e-5  # OpenDP cannot be seeded: one run in 1e5 fails
    assert max(two_sample(ours[0.9], theirs), two_sample(ours[1.1], theirs)) < FIRM


def opendp_draws(sigma: float, n: int) -> np.ndarray:
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    return np.array((space >> dp.m.then_gaussian(sigma))([0] * n))


def two_sample(one: np.ndarray, other: np.ndarray) -> float:
    edges = np.quantile(other, np.linspace(0, 1, 21)[1:-1]) + 0.25  # between integers
    table = [np.bincount(np.searchsorted(edges, draws), minlength=edges.size + 1) for draws in (one, other)]
    return float(stats.chi2_contingency(table).pvalue)


# ---- no lattice -------------------------------------------------------------------------------------


def lattice_twin(sigma: float, n: int) -> np.ndarray:
    """The mistake: σ times a sample with 8 fractional bits lies on every 16th integer or so."""
    rng = np.random.default_rng(5)
    return np.rint(sigma * np.rint(rng.normal(size=n) * 256) / 256).astype(np.int64)


@pytest.mark.parametrize("sigma", [1000.1, 4104.0])
def test_neighbouring_count_is_reachable(sigma):
    def missed(draws: np.ndarray) -> int:
        return 401 - np.unique(draws[np.abs(draws) <= 200]).size

    # Some 97 draws a value at σ = 4104: a sound sampler misses one of 401 with chance e^-90.
    assert missed(sampler(sigma).draw(1_000_000, stream("lattice", sigma))) == 0
    assert missed(lattice_twin(sigma, 1_000_000)) > 200


@pytest.mark.parametrize("sigma", [4104.0, 5e5, 3e6])
def test_residues_of_a_convolution_are_even(sigma):
    draws, base = sampler(sigma).draw(400_000, stream("residue", sigma)), sampler(sigma).base

    def evenness(numbers: np.ndarray, modulus: int) -> float:
        return float(stats.chisquare(np.bincount(numbers % modulus, minlength=modulus)).pvalue)

    assert min(evenness(draws, m) for m in (2, 3, base)) > ALPHA / 3
    assert evenness(draws // base * base, base) < FIRM  # a last digit that is lost
    assert evenness(2 * draws, 2) < FIRM


# ---- the table, exactly -----------------------------------------------------------------------------


def masses_of(table: Table) -> list[int]:
    """What the table gives each value, in units of 2^-256: its short words, its own cell and others' aliases."""
    cell, half = 1 << (256 - table.bits), 1 << (table.bits - 1)
    left = list(table.exact)
    for i, bar in enumerate(table.exact):
        left[i + int(table.jump[i])] += cell - bar
    counts = np.bincount(table.value[table.low :].astype(int) + half, minlength=2 * half).tolist()
    return [(count << 240) + mass * table.low // 2**16 for count, mass in zip(counts, left, strict=True)]


@pytest.mark.parametrize(("sigma", "bits"), [(0.5, 3), (0.7, 5), (3.0, 4), (3.0, 7), (17.3, 9), (91.2, 12)])
def test_table_enumerated_is_the_distribution_to_256_bits(sigma, bits):
    half = 1 << (bits - 1)
    masses = masses_of(noise._table(Fraction(sigma) ** 2, bits))
    with mpmath.workdps(90):
        weights = [mpmath.exp(-(mpmath.mpf(x) ** 2) / (2 * mpmath.mpf(sigma) ** 2)) for x in range(-half + 1, half)]
        total = mpmath.fsum(weights)
        errors = [mpmath.mpf(m) - w / total * 2**256 for m, w in zip(masses[1:], weights, strict=True)]
        centre = errors.pop(half - 1)
    assert max(map(abs, errors)) < 2.001
    assert abs(centre) < 4 * half  # zero takes what the others were rounded down by
    assert sum(masses) == 2**256
    assert masses[0] == 0
    assert masses[1:] == masses[:0:-1]


@pytest.mark.parametrize("sigma", [0.5, 4.0, 143.0, 1219.0])
def test_short_words_stand_for_values_as_their_chances_fill_and_few_are_left(sigma):
    table = noise._build(sigma, 1, 1).table
    counts = np.bincount(table.value[table.low :].astype(int) + 2**14, minlength=2**15)
    expected = 2**16 * np.pad(exact_pmf(sigma, 2**14 - 1), (1, 0))
    assert table.value.size == 2**16
    assert table.low.bit_count() == 1
    assert (counts <= expected + 1e-9).all()
    assert table.low <= 2 * max(1, np.count_nonzero(expected > 1e-3))


def test_table_of_another_sigma_is_told_apart():
    one, other = (masses_of(noise._table(Fraction(sigma) ** 2, 7)) for sigma in (3.0, math.nextafter(3.0, 4)))
    assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2**256 > 1e-17


@pytest.mark.parametrize("bits", [4, 9])
def test_bars_in_words_are_the_top_of_the_exact_bars(bits):
    table = noise._table(Fraction(3), bits)
    for cell, (bar, exact) in enumerate(zip(table.bar.tolist(), table.exact, strict=True)):
        assert bar == (cell << (64 - bits)) + (exact >> 192)
        assert 0 <= exact < 1 << (256 - bits)


class Forged(Stream):
    """A stream of given words, short and long."""

    __slots__ = ("_left",)

    def __init__(self, short: list[int], long: list[int]) -> None:
        self._left = {2: list(short), 8: list(long)}

    def fill(self, buffer: np.ndarray) -> None:
        left = self._left[buffer.itemsize]
        buffer[:] = left[: buffer.size]
        del left[: buffer.size]

    @property
    def left(self) -> int:
        return len(self._left[8])


def by_hand(table: Table, short: list[int], long: list[int]) -> list[int]:
    """The oracle: big integers, one draw at a time; returns values."""
    source = iter(long)
    return [int(table.value[word]) if word >= table.low else anew(table, source) for word in short]


def anew(table: Table, source: Iterator[int]) -> int:
    cell, within = divmod(next(source), 1 << (64 - table.bits))
    exact = table.exact[cell]
    undecided = within == exact >> 192
    more = sum(next(source) << (64 * i) for i in range(3)) if undecided else 0
    own = (within << 192) + more < exact
    return cell + (0 if own else int(table.jump[cell])) - (1 << (table.bits - 1))


TINY = noise._build(0.7, 1, 1)
LOW = 0  # a short word that is drawn anew


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_every_word_around_every_bar_gives_its_value(offset):
    # An undecided word is followed by three of its 192 bits: here just below, at and above the bar.
    for cell, bar in enumerate(TINY.table.bar.tolist()):
        exact = TINY.table.exact[cell] % 2**192
        for more in {max(exact - 1, 0), exact, 2**192 - 1}:
            words = [(bar + offset) % 2**64, *(more >> 64 * i & (2**64 - 1) for i in range(3))]
            assert TINY.draw(1, Forged([LOW], words)).tolist() == by_hand(TINY.table, [LOW], words)


def test_undecided_word_takes_exactly_three_more_and_one_unit_decides():
    table, half = TINY.table, 1 << (TINY.table.bits - 1)
    cell = next(i for i, bar in enumerate(table.exact) if bar % 2**192 and table.jump[i])
    for more, value in [(-1, cell), (0, cell + int(table.jump[cell]))]:
        rest = table.exact[cell] % 2**192 + more
        source = Forged([LOW], [int(table.bar[cell]), *(rest >> 64 * i & (2**64 - 1) for i in range(3)), 7])
        assert TINY.draw(1, source).tolist() == [value - half]
        assert source.left == 1


def test_the_last_low_word_is_drawn_anew_and_the_first_above_is_not():
    source = Forged([TINY.table.low - 1, TINY.table.low], [12345678901234567890])
    drawn = TINY.draw(2, source).tolist()
    assert drawn == [by_hand(TINY.table, [LOW], [12345678901234567890])[0], int(TINY.table.value[TINY.table.low])]
    assert source.left == 0


some_short = st.one_of(st.integers(0, 2**16 - 1), st.integers(0, TINY.table.low))
some_words = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([*TINY.table.bar.tolist(), 0, 2**64 - 1]))
many_words = st.lists(some_words, min_size=8, max_size=8).map(lambda words: words * 60)  # more than can be used


@given(short=st.lists(some_short, min_size=1, max_size=40), long=many_words, block=st.integers(1, 9))
def test_low_and_undecided_words_anywhere_agree_with_drawing_by_hand(short, long, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "_BLOCK", block)
        drawn = TINY.draw(len(short), Forged(short, long)).tolist()
    assert drawn == by_hand(TINY.table, short, long)


@given(short=st.lists(some_short, min_size=6, max_size=30), long=many_words)
def test_convolution_is_base_times_the_earlier_digits_plus_the_last(short, long):
    three, n = Sampler(sigma=1.0, base=5, digits=3, table=TINY.table), len(short) // 3
    drawn = three.draw(n, Forged(short, long)).tolist()
    digits = by_hand(TINY.table, short[: 3 * n], long)
    columns = zip(digits[:n], digits[n : 2 * n], digits[2 * n :], strict=True)
    assert drawn == [25 * a + 5 * b + c for a, b, c in columns]


# ---- streams and words ------------------------------------------------------------------------------


def test_whole_blocks_are_the_same_however_many_draws_follow(monkeypatch):
    monkeypatch.setattr(noise, "_BLOCK", 1000)
    drawn = [sampler(4104.0).draw(n, stream("blocks")) for n in (2000, 2001, 5000)]
    assert all(np.array_equal(each[:2000], drawn[0]) for each in drawn)


def test_draws_of_two_calls_are_different_numbers():
    source = stream("calls")
    assert not np.array_equal(sampler(50.0).draw(100, source), sampler(50.0).draw(100, source))


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("sigma", [4.0, 4104.0, 2.0**40])
def test_noise_is_added_in_the_ring_and_wraps(dtype, sigma):
    start = np.array([0, 1, -1, -2, np.iinfo(dtype).max // 2] * 20).astype(dtype)
    words = start.copy()
    sampler(sigma).add_to(words, stream("wrap"))
    modulus = 2 ** (8 * words.itemsize)
    draws = sampler(sigma).draw(words.size, stream("wrap"))
    assert words.tolist() == [(int(a) + int(b)) % modulus for a, b in zip(start, draws, strict=True)]


def test_other_streams_give_other_noise():
    assert not np.array_equal(sampler(50.0).draw(100, stream(1)), sampler(50.0).draw(100, stream(2)))


# ---- σ: what is refused, how it is built, what it costs ----------------------------------------------


@pytest.mark.parametrize("sigma", [0.0, -5.0, 3.999, math.nan, math.inf, 2.0**59])
def test_sigma_out_of_range_is_refused(sigma):
    with pytest.raises(SpecError, match=r"^expected 4 <= sigma <= 2\^58, got sigma="):
        sampler(sigma)


@given(st.floats(4, 2.0**58))
def test_decomposition_keeps_its_rules(sigma):
    base, digits = noise._decompose(sigma)
    variance = Fraction(sigma) ** 2 / sum(base ** (2 * i) for i in range(digits))
    bits = noise._bits(variance)
    assert bits <= 15
    assert (2 ** (bits - 1) - 1) ** 2 >= 144 * variance  # the table reaches 12 σ₀
    assert digits == 1 or 4 * base**2 <= variance  # k ≤ σ₀/2
    assert Sampler(sigma=sigma, base=base, digits=digits, table=blank(bits)).total_variation < 1e-26


def blank(bits: int) -> Table:
    """A table of that size, for what does not look into it."""
    nothing = np.empty(0, np.uint64)
    return Table(value=np.empty(0, np.int16), low=1, bits=bits, bar=nothing, exact=(), jump=np.empty(0, np.int64))


def total_variation(base: int, sigma: float, reach: int) -> float:
    """Distance of k·X₁ + X₂, both DG(σ²), to DG((1 + k²)σ²), with 60 digits."""
    with mpmath.workdps(60):
        one = gaussian(sigma**2, reach)
        both = gaussian((1 + base**2) * sigma**2, reach)
        x1 = {x: p for x, p in one.items() if p > mpmath.mpf(10) ** -55}
        total = mpmath.mpf(0)
        for x, exact in both.items():
            total += abs(mpmath.fsum(p * one.get(x - base * y, 0) for y, p in x1.items()) - exact)
        return float(total / 2)


def gaussian(variance: float, reach: int) -> dict[int, mpmath.mpf]:
    weights = {x: mpmath.exp(-(mpmath.mpf(x) ** 2) / (2 * mpmath.mpf(variance))) for x in range(-reach, reach + 1)}
    total = mpmath.fsum(weights.values())
    return {x: weight / total for x, weight in weights.items()}


@pytest.mark.parametrize(("base", "sigma"), [(4, 4.0), (2, 4.0), (3, 4.5)])
def test_stated_total_variation_bounds_the_true_one_closely(base, sigma):
    true = total_variation(base, sigma, reach=16 * math.ceil(sigma * math.hypot(1, base)))
    stated = Sampler(sigma=sigma * math.hypot(1, base), base=base, digits=2, table=blank(10)).total_variation
    assert true <= stated <= 20 * true


def test_table_cut_short_is_stated():
    table = noise._table(Fraction(9), 5)  # reaches 5 σ
    with mpmath.workdps(30):
        outside = 1 - mpmath.fsum(p for x, p in gaussian(9.0, 60).items() if abs(x) < 16)
    assert float(outside) <= Sampler(sigma=3.0, base=1, digits=1, table=table).total_variation <= 20 * float(outside)


def test_sampler_is_built_once():
    assert sampler(77.0) is sampler(77.0)


# ---- the parties' noise -----------------------------------------------------------------------------


def asked(colluders: int) -> Query:
    terms = Terms(caps=(("a", 160), ("b", 160)), colluders=colluders, quorum=1, roster="", plan="")
    mechanism = Mechanism(kind="gaussian", level=0.8)
    question = Question(payload={}, length=100, reply_length=100, bound=1.0, mechanism=mechanism)
    names = {"study": "s", "run": "r", "method": "m", "step": 0, "attempt": 0}
    return Query(question=question, scale=choose_scale(question, terms), terms=terms, **names)


@pytest.mark.parametrize("colluders", [0, 1, 2])
def test_noise_without_the_colluders_has_the_charged_sigma(colluders):
    query = asked(colluders)
    parties = [sampler(query.sigma_party).draw(200_000, stream("party", i, colluders)) for i in range(PARTIES)]
    rest = sum(parties[colluders:])
    assert fit(rest, query.sigma_ring) > ALPHA
    assert max(fit(rest, 0.97 * query.sigma_ring), fit(rest, 1.03 * query.sigma_ring)) < FIRM
    assert fit(sum(parties), query.sigma_party * math.sqrt(PARTIES)) > ALPHA
