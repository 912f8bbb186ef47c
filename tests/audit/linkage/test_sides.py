"""Nobody fits an attacker and is judged by it, nor a relative; controls are the first to fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.audit.linkage import sides
from fedgenome.errors import SpecError


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.6), st.floats(0, 0.5))
def test_nobody_nor_a_relative_is_on_both_sides(seed, share, decoys):
    rng = np.random.default_rng(seed)
    whose = np.where(rng.random(60) < 0.8, rng.permutation(80)[:60], -1)
    family, leaves = rng.integers(0, 50, 80), rng.random(60) < 0.7
    found = sides.deal(whose, leaves, family, rng, share=share, decoys=decoys)
    fit = np.concatenate([whose[found.fit], found.base])
    assert not set(fit) & set(found.candidates) and not set(found.fit) & set(found.probes)
    assert not set(family[whose[found.fit]]) & set(family[found.candidates])
    linked = found.owner >= 0
    np.testing.assert_array_equal(found.candidates[found.owner[linked]], whose[found.probes[linked]])
    assert leaves[found.probes].all() and not set(whose[found.probes[~linked]]) & set(found.candidates)


def test_controls_fit_attackers_before_anybody_who_leaves_does():
    leaves = np.arange(40) >= 10
    found = sides.deal(np.arange(40), leaves, np.arange(40), np.random.default_rng(1), share=0.25)
    assert set(found.fit) == set(range(10)) and len(found.probes) == 30


def test_decoys_are_taken_out_of_the_panel():
    given = np.arange(40), np.ones(40, bool), np.arange(40)
    found = sides.deal(*given, np.random.default_rng(1), share=0.25, decoys=0.5)
    assert (found.owner < 0).sum() == 15 and len(found.candidates) == 15


def test_too_few_people_in_both_are_refused():
    with pytest.raises(SpecError, match=r"^linkage: expected people of both files.*got 1 in both"):
        sides.deal(np.array([0, -1]), np.ones(2, bool), np.arange(2), np.random.default_rng(0), share=0.5)


def test_families_are_found_by_dosages():
    rng = np.random.default_rng(2)
    parents = rng.binomial(2, 0.3, (2, 5000)).astype(np.int8)
    child = (rng.random((2, 5000)) < parents / 2).sum(0).astype(np.int8)
    family = sides.families(np.vstack([parents, child, rng.binomial(2, 0.3, (1, 5000)).astype(np.int8)]))
    assert family[0] == family[1] == family[2] != family[3]


def test_a_second_look_has_the_stated_share_of_errors():
    rows = np.tile(np.array([0, 1, 2, -1], np.int8), (1000, 10))
    look = sides.second_look(rows, 0.1, np.random.default_rng(3))
    assert 0.09 < (look != rows)[rows >= 0].mean() < 0.11 and (look[rows < 0] == -1).all() and look.max() == 2
    numbers = np.random.default_rng(4).normal(0, 3, (2000, 5))
    assert 0.28 < (sides.second_look(numbers, 0.1, np.random.default_rng(5)) - numbers).std() < 0.32
