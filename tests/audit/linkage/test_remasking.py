import numpy as np
import pytest

from fedgenome.audit.linkage import remasking
from fedgenome.errors import SpecError

OLD, SCORE = np.arange(60) < 20, -np.arange(60.0)


def looks(made, seed):
    people = made(np.random.default_rng(seed))
    return remasking.Looks(
        probes=people.probes,
        candidates=people.candidates,
        owner=people.owner,
        base=people.base,
        pairs=people.pairs,
    )


def again(made, **how):
    usual = {"limit": 0.2, "tuning": looks(made, 1), "judged": looks(made, 2), "rng": np.random.default_rng(0)}
    return remasking.remask(OLD, SCORE, remasking.by_likelihood, **(usual | how))


def test_a_later_attacker_gets_a_shorter_list_that_it_finds_few_under(made):
    done = again(made)
    assert (np.flatnonzero(done.told) == np.arange(done.told.sum())).all() and 1 <= done.told.sum() < 20
    assert done.old.estimate > 0.8 and done.new.low <= 0.2 < done.new.high + 0.2
    assert done.both == done.old  # what was told stays told


def test_a_list_of_other_variants_finds_those_who_were_released_twice_no_less(made):
    done = again(made, fresh=True)
    assert not (done.told & OLD).any() and done.told.any()
    assert done.new.estimate < 0.5 < done.old.estimate <= done.both.estimate


def test_where_no_list_stays_within_the_limit_nothing_is_told(made):
    done = again(made, limit=1e-6, tuning=looks(made, 3))
    assert not done.told.any() and done.new.estimate < 0.15


def test_an_attacker_that_learns_is_registered_like_any_other(made):
    attacker = remasking.by_learning("convolutions", steps=20)
    found = remasking.rate(attacker, looks(made, 1), OLD, np.random.default_rng(0))
    assert found.low > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [({"limit": 1.0}, "expected 0 < limit < 1"), ({"judged": None, "limit": 0.0}, "expected 0 < limit < 1")],
)
def test_a_limit_that_limits_nothing_is_refused(made, change, message):
    with pytest.raises(SpecError, match=message):
        again(made, **change)
