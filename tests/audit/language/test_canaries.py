import numpy as np
import pytest

from fedgenome.audit.language import canaries
from fedgenome.audit.language.canaries import Ladder
from fedgenome.errors import SpecError

LADDER = Ladder(rates=(1, 4, 16), each=5, controls=7, coins=20)


def test_a_ladder_plants_as_often_as_it_says():
    found = canaries.drawn(canaries.uniform(4, 9), LADDER, np.random.default_rng(1))
    assert found.rungs == (1, 4, 16)
    assert [int((found.repeats[~found.coin] == rate).sum()) for rate in (0, 1, 4, 16)] == [7, 5, 5, 5]
    assert found.coin.sum() == 20 and set(found.repeats[found.coin]) == {0, 1}
    assert found.control.sum() == 7


def test_no_two_canaries_are_alike_nor_one_that_is_known():
    """Of 4³ strings 10 are known: 40 of the other 54."""
    known = np.array([[0, 0, i % 4] for i in range(4)] + [[1, i // 4, i % 4] for i in range(6)])
    ladder = Ladder(rates=(1,), each=20, controls=20)
    found = canaries.drawn(canaries.uniform(4, 3), ladder, np.random.default_rng(2), known)
    strings = {tuple(row) for row in found.tokens.tolist()}
    assert len(strings) == 40 and strings.isdisjoint(map(tuple, known.tolist()))


def test_a_law_of_too_few_strings_is_refused():
    with pytest.raises(SpecError, match="100 different strings at least"):
        canaries.drawn(canaries.uniform(4, 3), Ladder(rates=(), controls=100), np.random.default_rng(3))


def test_a_mosaic_is_pieces_of_haplotypes_in_their_place():
    public = np.arange(4)[:, None] * np.ones(200, np.int64)  # each haplotype is one letter
    rng = np.random.default_rng(4)
    whole = canaries.mosaic(public, 200, 0.0)(50, rng)
    assert (whole == whole[:, :1]).all()
    pieces = canaries.mosaic(public, 200, 0.1)(500, rng)
    changes = (np.diff(pieces, axis=1) != 0).mean()
    assert abs(changes - 0.1 * 3 / 4) < 4 * (0.075 * 0.925 / pieces.size) ** 0.5


def test_sites_share_every_rung_evenly_and_no_coin_shows_in_it():
    dealt = canaries.dealt(
        canaries.drawn(canaries.uniform(4, 9), LADDER, np.random.default_rng(5)), 4, np.random.default_rng(6)
    )
    for arm in (dealt.coin, dealt.control, *(~dealt.coin & (dealt.repeats == r) for r in dealt.rungs)):
        sizes = np.bincount(dealt.site[arm], minlength=4)
        assert np.ptp(sizes) <= 1


def test_windows_begin_with_canaries_and_go_on_as_public_ones(chain):
    drawn = canaries.drawn(canaries.matched(chain(1), 9), LADDER, np.random.default_rng(7))
    public = chain(1).draw(6, 15, np.random.default_rng(8))
    planting = canaries.plant(drawn, public, np.random.default_rng(9))
    assert np.array_equal(planting.rows[:, : planting.length], drawn.tokens)
    assert {tuple(row) for row in planting.rows[:, 9:].tolist()} <= {tuple(row) for row in public[:, 9:].tolist()}
    rows, repeats = planting.added
    assert repeats.sum() == drawn.repeats.sum() and (repeats > 0).all() and len(rows) == len(repeats)


@pytest.mark.parametrize("rates", [(0, 1), (2, 2), (4, 1)])
def test_rates_that_do_not_rise_from_1_are_refused(rates):
    with pytest.raises(SpecError, match="rising"):
        Ladder(rates=rates)
