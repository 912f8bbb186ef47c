"""A party's part in a selection: which noise it keeps, what it repeats, where it stops; three in threads."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from fedgenome.errors import Refused, RoleError, WireError
from fedgenome.query import PARTIES
from fedgenome.secure import ring
from fedgenome.secure.once import Once
from fedgenome.secure.winners import Chooser, unmasked, unpack
from fedgenome.streams import Root
from tests.secure.roles import TERMS, a_selection

SET = "5" * 64


class Table:
    """Where the three parties of one life meet: what each says, all hear."""

    def __init__(self):
        self.barrier, self.said = threading.Barrier(PARTIES, timeout=10), [None] * PARTIES

    def exchange(self, rank, what):
        self.said[rank] = what
        self.barrier.wait()
        heard = list(self.said)
        self.barrier.wait()
        return heard


class Seat:
    """One party's machine: the arithmetic of shares, in the open, and a peer's death when it is told to."""

    def __init__(self, rank, table, dies=False):
        self.rank, self._table, self._dies = rank, table, dies

    def machine(self):
        return self

    def agree(self, digest):
        if len(set(self._table.exchange(self.rank, digest))) > 1:
            raise Refused("other-set", "told the same")

    def tell(self, numbers):
        return self._table.exchange(self.rank, numbers)

    def below(self, left, right):
        if self._dies:
            raise RoleError("dealer closed its connection")
        both = sum(self._table.exchange(self.rank, np.stack([left, right])))
        true = (both[0].view(np.int64) < both[1].view(np.int64)).astype(np.uint64)
        return true if self.rank == 0 else true * np.uint64(0)

    def product(self, left, right):
        whole = np.prod([sum(self._table.exchange(self.rank, each)) for each in (left, right)], axis=0)
        return whole if self.rank == 0 else whole * np.uint64(0)

    def reveal(self, shares):
        return sum(self._table.exchange(self.rank, shares)).view(np.int64)


class Trio:
    """Three parties over the same disks, life after life."""

    def __init__(self, folder, seed=None):
        self.folder, self.seed = folder, seed

    def live(self, act, dies=False):
        """Let each party ``act(chooser, once, rank)`` in a life of its own; return what they gave, or a code."""
        table = Table()
        with ThreadPoolExecutor(PARTIES) as pool:
            return list(pool.map(lambda rank: self._one(act, rank, table, dies), range(PARTIES)))

    def _one(self, act, rank, table, dies):
        with Once(self.folder / f"{rank}.answers") as once:
            root = Root.of(self.seed, "party", rank)
            try:
                return act(Chooser(root, once, Seat(rank, table, dies)), once, rank)
            except Refused as refusal:
                return refusal.code


@pytest.fixture
def trio(tmp_path):
    return Trio(tmp_path)


QUERY = a_selection(scores=200, winners=3, level=0.01)  # noise of 1 to 1,000 on scores from 0 to 9
SCORES = np.arange(200) % 10
OTHER = replace(TERMS, quorum=3)


def chosen(query=QUERY, attempt="attempt", told=SET):
    """Return what a party does that holds a share of the scores."""
    masks = np.random.default_rng(1).integers(0, 2**query.width, (2, 200), ring.dtype_of(query.width))
    shares = [*masks, SCORES.astype(masks.dtype) - masks[0] - masks[1]]
    return lambda chooser, once, rank: chooser.choose(query, attempt, told, shares[rank])


def again(chooser, once, rank):
    last, told = once.last
    return chooser.repeat(last, told.split(" ")[2], SET, TERMS)


def test_winners_are_the_same_in_every_later_life(trio):
    first = trio.live(chosen())
    assert first[0] == first[1] == first[2] and len(set(first[0])) == 3
    assert trio.live(again) == trio.live(again) == first


def test_winners_found_in_this_life_are_repeated_without_the_others(trio):
    def alone(chooser, once, rank):
        found = chosen()(chooser, once, rank)
        return found, [again(chooser, once, rank) for _ in range(rank)]

    assert all(set(repeated) <= {found} for found, repeated in trio.live(alone))


def test_selection_that_failed_is_finished_with_the_noise_it_began_with(trio, tmp_path):
    assert trio.live(chosen(), dies=True) == ["group-failed"] * PARTIES
    begun = [(tmp_path / f"{rank}.answers").read_bytes() for rank in range(PARTIES)]
    first = trio.live(again)
    for rank in range(PARTIES):
        (tmp_path / f"{rank}.answers").write_bytes(begun[rank])
    assert trio.live(again) == first
    fresh = [trio.live(chosen(attempt=str(k))) for k in range(3)]
    assert any(other != first for other in fresh)  # were the noise drawn anew, so would these


@pytest.mark.parametrize("done", range(PARTIES))
def test_party_that_had_finished_tells_those_that_had_not(trio, tmp_path, done):
    trio.live(chosen(), dies=True)
    begun = [(tmp_path / f"{rank}.answers").read_bytes() for rank in range(PARTIES)]
    first = trio.live(again)
    for rank in {0, 1, 2} - {done}:
        (tmp_path / f"{rank}.answers").write_bytes(begun[rank])
    # Nobody compares anything any more: whoever tried would find the dealer gone.
    assert trio.live(again, dies=True) == first


def test_neither_share_nor_key_outlast_the_winners(trio, tmp_path):
    trio.live(chosen(), dies=True)
    keys, shares = [], []
    for rank in range(PARTIES):
        with Once(tmp_path / f"{rank}.answers") as once:
            key, _, rest = unpack(once.body("attempt"))
        keys.append(key)
        shares.append(unmasked(key, rest, QUERY.width))
    assert (ring.signed(sum(shares)) == SCORES).all()
    trio.live(again)
    for rank in range(PARTIES):
        blob = (tmp_path / f"{rank}.answers").read_bytes()
        assert keys[rank] not in blob and shares[rank][-20:].tobytes() not in blob


def test_parties_told_different_sets_keep_their_noise_and_learn_nothing(trio):
    ended = trio.live(lambda chooser, once, rank: chosen(told=str(rank == 1))(chooser, once, rank))
    assert ended == ["other-set"] * PARTIES
    stages = trio.live(lambda chooser, once, rank: once.last[1].split(" ")[2])
    assert stages == ["noise"] * PARTIES


def test_parties_that_remember_other_winners_than_each_other_say_so(trio, tmp_path):
    trio.live(chosen())
    other = Trio(tmp_path / "other")
    other.folder.mkdir()
    other.live(chosen())
    (tmp_path / "1.answers").write_bytes((tmp_path / "other" / "1.answers").read_bytes())
    assert trio.live(again) == ["group-failed"] * PARTIES


def test_answer_that_a_crash_damaged_stays_spent(trio, tmp_path):
    trio.live(chosen())
    for rank in range(PARTIES):
        with Once(tmp_path / f"{rank}.answers") as once:
            place = once._body[0]
        blob = bytearray((tmp_path / f"{rank}.answers").read_bytes())
        blob[place] ^= 1
        (tmp_path / f"{rank}.answers").write_bytes(blob)
    assert trio.live(again) == ["opened-before"] * PARTIES


def test_what_was_kept_under_other_terms_is_not_gone_on_with(trio):
    trio.live(chosen())

    def elsewhere(chooser, once, rank):
        with pytest.raises(WireError, match="other terms than those pinned here"):
            chooser.repeat(once.last[0], "winners", SET, a_selection(terms=OTHER).terms)
        return rank

    assert trio.live(elsewhere) == [0, 1, 2]


def test_seeded_parties_find_the_same_winners_in_every_run(tmp_path):
    found = []
    for run in range(2):
        (tmp_path / str(run)).mkdir()
        found.append(Trio(tmp_path / str(run), seed=7).live(chosen()))
    assert found[0] == found[1]
