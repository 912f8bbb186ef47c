"""Secure selection: the winner of plain arithmetic, the ε it is charged, and nothing else opened. Real processes."""

import functools
import itertools
import math
import os
import signal
import time
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedgenome.errors import RoleError, SpecError
from fedgenome.query import Mechanism, Query, Question, Terms
from fedgenome.secure import select
from fedgenome.secure.geometric import BITS, sampler
from fedgenome.secure.select import Selection, draw_noise
from fedgenome.streams import Stream
from tests.secure.crew import Crew, scene, wait_for


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
        ({"units": 2**62}, r"noised scores below 2\^62"),
    ],
)
def test_selection_keeps_its_rules(other, rule):
    with pytest.raises(SpecError, match=f"expected {rule}"):
        selection(**other)


def query(*, bound=1.0, scale=1024.0, epsilon=0.5, cap=1000, **other):
    mechanism = other.pop("mechanism", Mechanism(kind="exponential", level=epsilon))
    asked = {
        "payload": {},
        "length": 100,
        "reply_length": 2,
        "bound": bound,
        "mechanism": mechanism,
        "reduce": "select",
    }
    terms = Terms(caps=(("a", cap), ("b", cap)), colluders=1, quorum=1, roster="r", plan="p")
    when = {"study": "s", "run": "r", "method": "m", "step": 0, "attempt": 0, "scale": scale}
    return Query(question=Question(**asked | other), terms=terms, **when)


def test_selection_is_what_the_query_asks():
    assert Selection.of(query()) == Selection(scores=100, winners=2, epsilon=0.5, sensitivity=1024, units=2000)
    assert Selection.of(query(unit="site"), monotone=True) == Selection(
        scores=100, winners=2, epsilon=0.5, sensitivity=1024, units=2, monotone=True
    )


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({"reduce": "sum"}, "expected a selection, got reduce='sum'"),
        ({"mechanism": None}, "expected exponential noise by the parties"),
        ({"mechanism": Mechanism(kind="exponential", level=1.0, where="home")}, "exponential noise by the parties"),
        ({"mechanism": Mechanism(kind="gaussian", level=1.0)}, "exponential noise by the parties"),
        ({"bound": 1.0001}, "expected scores of whole ring units, got sensitivity=1024.1024"),
        ({"cap": 500_000, "epsilon": 0.005}, "expected a ring that holds scores and noise, got width=32"),
    ],
)
def test_query_that_cannot_be_selected_from_is_refused(asked, rule):
    with pytest.raises(SpecError, match=rule):
        Selection.of(query(**asked))


# ── on shares, with real processes ───────────────────────────────────────────────────────────────

# What the roles of every scene are given: shares of numbers that all could compute, and CrypTen on links.
COMMON = """
from pathlib import Path
import numpy as np
from fedgenome.secure import crypten_runtime, dealer, select
from fedgenome.secure.select import Selection
from tests.secure.crew import join

def share(values, rank, kind):
    rng = np.random.default_rng([int(value) % 2**32 for value in values[:20]])
    bits = 8 * np.dtype(kind).itemsize
    masks = [rng.integers(0, 2**bits, len(values), dtype=kind) for _ in range(2)]
    last = np.array(values, np.int64).view(np.uint64).astype(kind) - masks[0] - masks[1]
    return [*masks, last][rank]

def main(rank, told):
    with join(rank, told) as links:
        Path(told["folder"], f"{rank}.there").touch()
        if rank == 3:
            return dealer.serve(links)
        return play(links, crypten_runtime.bind(links), told)
"""
SELECT = (
    COMMON
    + """
def play(links, machine, told):
    found = []
    for job in told["jobs"]:
        selection = Selection(**job["asked"])
        words = share(job["scores"], links.rank, np.dtype(job["kind"]))
        found.append(select.run(selection, words, np.array(job["noise"][links.rank]), machine, job.get("set", "set")))
    return found
"""
)
COMPARE = (
    COMMON
    + """
def play(links, machine, told):
    rng = np.random.default_rng(told["seed"])
    left, right = (rng.integers(-(2**29), 2**29, told["n"]) for _ in range(2))
    right[::100] = left[::100]
    below = {}
    for name, lift in (("embedded", 32), ("zero-extended", 0)):
        mine, theirs = (share(v, links.rank, np.uint32).astype(np.uint64) << np.uint64(lift) for v in (left, right))
        below[name] = machine.reveal(machine.below(mine, theirs))
    return {name: [int((b != (left < right)).sum()), sorted(set(b.tolist()))] for name, b in below.items()}
"""
)
# How often each bit of what is opened on the way is 1, and whether torch's one generator moved.
WATCH = (
    COMMON
    + """
import torch

def play(links, machine, told):
    crypten = crypten_runtime._load()
    talk, opened = crypten.communicator.get(), []
    reduce = talk.all_reduce
    def watched(*args, **kwargs):
        result = reduce(*args, **kwargs)
        opened.extend(result if isinstance(result, list) else [result])
        return result
    talk.all_reduce = watched
    scores = np.array(told["scores"])
    asked = Selection(scores=len(scores), winners=1, epsilon=1.0, sensitivity=1, units=1000)
    states = [torch.default_generator.get_state()]
    words = share(scores, links.rank, np.uint64)
    winners = select.run(asked, words, np.zeros((1, len(scores)), np.int64), machine, "set")
    states.append(torch.default_generator.get_state())
    torch.ops.aten.rand([1])
    states.append(torch.default_generator.get_state())
    moved = [not torch.equal(before, after) for before, after in zip(states, states[1:])]
    words = np.concatenate([t.flatten().numpy().view(np.uint64) for t in opened if t.numel() >= 64 and t.max() > 1])
    bits = np.concatenate([t.flatten().numpy() for t in opened if t.numel() >= 64 and t.max() <= 1])
    ones = np.unpackbits(words.view(np.uint8), bitorder="little").reshape(-1, 64).sum(0).tolist()
    return {"winners": winners, "words": [words.size, ones], "bits": [bits.size, int(bits.sum())], "moved": moved}
"""
)
REST = (
    COMMON
    + """
import torch
from fedgenome.errors import SpecError

def refused(call, *args):
    try:
        call(*args)
    except SpecError as fault:
        return str(fault)
    return None

def play(links, machine, told):
    crypten = crypten_runtime._load()
    talk, rank = crypten.communicator.get(), links.rank
    mine = torch.tensor([[1, 2], [3, 1 << 40]]) * (rank + 1)
    all_ = [(torch.tensor([[1, 2], [3, 1 << 40]]) * (r + 1)).tolist() for r in range(3)]
    gathered = talk.gather(mine, 1)
    crypten.cfg.mpc.provider = "TFP"
    right = {
        "gather": gathered == [None] if rank != 1 else [t.tolist() for t in gathered] == all_,
        "all_gather": [t.tolist() for t in talk.all_gather(mine)] == all_,
        "broadcast": talk.broadcast(mine, 2).tolist() == all_[2],
        "sum": talk.all_reduce(mine).tolist() == np.sum(all_, 0).tolist(),
        "sums": [t.tolist() for t in talk.all_reduce([mine, mine[0]], batched=True)] ==
                [np.sum(all_, 0).tolist(), np.sum(all_, 0)[0].tolist()],
        "xor": talk.all_reduce(mine, op=torch.distributed.ReduceOp.BXOR).tolist() ==
               np.bitwise_xor.reduce(all_).tolist(),
        "transposed": talk.all_reduce(mine.T).tolist() == np.sum(all_, 0).T.tolist(),
        "barrier": talk.barrier() is None,
        "initialised": crypten.is_initialized() and talk.get_world_size() == 3,
        "threads": torch.get_num_threads() == 1,
    }
    tuples = crypten.mpc.primitives.ArithmeticSharedTensor.from_shares(mine, precision=0)
    return right, {
        "pickle": refused(talk.send_obj, {}, 0),
        "provider": refused(lambda: tuples * tuples),
        "operation": refused(talk.all_reduce, mine, torch.distributed.ReduceOp.MAX),
        "type": refused(talk.all_gather, mine.float()),
        "square": refused(lambda: tuples.square()),
    }
"""
)


@pytest.fixture(scope="module")
def crew():
    with Crew("fedgenome.secure.crypten_runtime:_load") as crew:
        yield crew
        assert psutil.Process(crew.process.pid).children(recursive=True) == []


def agreed(played):
    """Return what all three parties returned."""
    assert played[0] == played[1] == played[2]
    return played[0]


def job(scores, kind, winners=1, noise=None, **more):
    scores = [int(score) for score in scores]
    asked = {"scores": len(scores), "winners": winners, "epsilon": 1.0, "sensitivity": 1, "units": 1000}
    none = np.zeros((3, winners, len(scores)), int).tolist()
    return {"scores": scores, "kind": kind, "asked": asked, "noise": none if noise is None else noise.tolist()} | more


@pytest.mark.parametrize("kind", ["uint32", "uint64"])
def test_parties_open_the_plain_argmax(crew, tmp_path, kind):
    rng = np.random.default_rng(3)
    edge = 2**29 if kind == "uint32" else 2**61
    many = [rng.integers(-edge, edge, size) for size in (1, 2, 3, 5, 64, 1000, 1001)]
    tied = [rng.integers(0, 2, size) for size in (2, 3, 7, 100)] + [np.zeros(33, int)]
    jobs = [job(scores, kind) for scores in many + tied]
    found = agreed(crew.play(tmp_path, SELECT, scene(tmp_path, jobs=jobs)))
    assert found == [[int(np.argmax(scores))] for scores in many + tied]


@pytest.mark.parametrize("kind", ["uint32", "uint64"])
def test_every_party_s_noise_counts_and_each_winner_has_its_own(crew, tmp_path, kind):
    rng = np.random.default_rng(4)
    scores, noise = rng.integers(-9, 9, 20), rng.integers(0, 30, (3, 3, 20))
    expected, left = [], list(range(20))
    for row in noise.sum(0):
        expected.append(max(left, key=lambda i: (scores[i] + row[i], -i)))
        left.remove(expected[-1])
    again = [job(scores, kind, 3, noise)] * 2  # after a crash, with the stored noise
    found = agreed(crew.play(tmp_path, SELECT, scene(tmp_path, jobs=again)))
    assert found == [expected, expected]
    assert expected != list(ordered(scores, 3))


def test_comparisons_of_embedded_32_bit_shares_are_right_and_of_others_random(crew, tmp_path):
    n = 100_000
    found = agreed(crew.play(tmp_path, COMPARE, scene(tmp_path, n=n, seed=1)))
    assert found["embedded"] == [0, [0, 1]]
    assert found["zero-extended"][0] > n / 5


def test_nothing_but_the_index_is_opened_and_torch_draws_nothing(crew, tmp_path):
    # Two groups of equal scores: were anything unmasked opened, most bits would be constant. Each of 64 + 1
    # counts is within 5 standard deviations of half: false alarm 4e-5.
    scores = [0, 5] * 2000
    played = crew.play(tmp_path, WATCH, scene(tmp_path, scores=scores))
    for rank in range(3):
        seen = played[rank]
        assert seen["winners"] == [1]
        (n_words, ones), (n_bits, sum_) = seen["words"], seen["bits"]
        assert n_words > 28 * 3900
        assert n_bits > 3800
        assert max(abs(one - n_words / 2) for one in ones) < 5 * math.sqrt(n_words / 4)
        assert abs(sum_ - n_bits / 2) < 5 * math.sqrt(n_bits / 4)
        assert seen["moved"] == [False, True]  # the second is the probe's own draw, which shows that it looks


def test_communicator_does_what_crypten_asks_and_refuses_the_rest(crew, tmp_path):
    played = crew.play(tmp_path, REST, scene(tmp_path))
    for right, refused in [played[rank] for rank in range(3)]:
        assert right == dict.fromkeys(right, True)
        assert "pickle is refused" in refused["pickle"]
        assert "expected tuples of the dealer, a party of its own, got provider='TFP'" in refused["provider"]
        assert "expected tuples of the dealer" in refused["square"]
        assert "expected a sum or XOR" in refused["operation"]
        assert "expected int64 tensors" in refused["type"]


def test_parties_told_different_sets_compute_nothing(crew, tmp_path):
    told = scene(tmp_path, jobs=[job([1, 2], "uint64")])
    source = SELECT.replace('job.get("set", "set")', 'f"set {links.rank == 1}"')
    crew.start(tmp_path, source, told)
    ended = crew.finish()
    assert ended[0]["error"] == "Refused: other-set: party-0 and party-1 were told the same"
    assert "Refused: other-set" in ended[1]["error"]
    assert "Refused: other-set" in ended[2]["error"]


@pytest.mark.parametrize("victim", [1, 3])
@pytest.mark.parametrize(("how", "timeout"), [(signal.SIGKILL, 20.0), (signal.SIGSTOP, 1.0)])
def test_role_that_dies_or_stops_in_the_midst_ends_the_selection(crew, tmp_path, victim, how, timeout):
    jobs = [job(range(2000), "uint64")] * 200
    pids = crew.start(tmp_path, SELECT, scene(tmp_path, timeout, jobs=jobs))
    wait_for([tmp_path / f"{rank}.there" for rank in range(4)])
    time.sleep(0.5)
    others = [rank for rank in range(3) if rank != victim]
    os.kill(pids[victim], how)
    begun = time.monotonic()
    wait_for([tmp_path / f"{rank}.json" for rank in others])
    took = time.monotonic() - begun
    if how is signal.SIGSTOP:
        os.kill(pids[victim], signal.SIGKILL)
    ended = crew.finish()
    assert all(ended[rank]["error"].startswith("RoleError: ") for rank in others)
    assert took < (2.0 if how is signal.SIGKILL else timeout + 2.0)
