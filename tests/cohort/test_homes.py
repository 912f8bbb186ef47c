"""Sizes by a power law, few classes a site, a class at one site only: partitions of donors, each with its own claim."""

import numpy as np
import pydantic
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedgenome.cohort.homes import by_class, by_power, power_sizes
from fedgenome.cohort.shard import Cohort
from fedgenome.cohort.split import SplitSpec, split
from fedgenome.errors import SpecError

LABELS = ("a", "b", "c")


def cohort_of(label, donor=None):
    n = len(label)
    rows, x = tuple(f"r{i}" for i in range(n)), np.arange(n, dtype=np.float32)[:, None]
    return Cohort(name="file", x=x, genes=("g",), label=np.array(label), labels=LABELS, rows=rows, donor=donor)


def rng(seed=0):
    return np.random.default_rng(seed)


specs = st.one_of(
    st.builds(
        SplitSpec,
        by=st.sampled_from(["even", "power"]),
        sites=st.integers(1, 8),
        exponent=st.floats(0, 4),
        least=st.integers(1, 5),
        lone=st.sampled_from([None, "b"]),
        controls=st.sampled_from([0.0, 0.2]),
    ),
    st.builds(SplitSpec, by=st.just("class"), sites=st.integers(1, 8), controls=st.sampled_from([0.0, 0.2])),
)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), min_size=30, max_size=80), specs, st.integers(0, 99))
def test_every_donor_is_at_one_site_with_all_rows_or_a_control(rows, spec, seed):
    cohort = cohort_of([y for y, _ in rows], tuple(f"p{d}" for _, d in rows))
    try:
        dealt = split(cohort, spec, rng(seed))
    except SpecError as fault:
        assume("expected" not in str(fault))
    shards = [*dealt.sites.values(), dealt.controls]
    assert sorted(d for shard in shards for d in shard.donors) == sorted(set(cohort.owners))
    assert sorted(float(x) for shard in shards for x in shard.x[:, 0]) == list(range(len(rows)))
    least = spec.least if spec.by == "power" else 1
    assert len(dealt.sites) == spec.sites and min(s.n_donors for s in dealt.sites.values()) >= least


@settings(max_examples=50)
@given(st.integers(1, 40), st.floats(0, 5), st.integers(1, 5), st.integers(0, 900))
def test_sizes_fall_add_up_and_are_within_one_of_the_law(sites, exponent, least, more):
    n = sites * least + more
    sizes = power_sizes(n, sites, exponent, least)
    shares = np.arange(1, sites + 1) ** -exponent
    assert sizes.sum() == n and (np.diff(sizes) <= 0).all()
    assert np.abs(sizes - least - more * shares / shares.sum()).max() <= 1
    assert np.bincount(by_power(n, sites, exponent, least, rng()), minlength=sites).tolist() == sizes.tolist()


def test_forty_sites_of_which_the_smallest_have_five_donors():
    spec = SplitSpec(by="power", sites=40, exponent=3, least=5, controls=0.2)
    dealt = split(cohort_of([i % 3 for i in range(1085)]), spec, rng())
    sizes = [shard.n_donors for shard in dealt.sites.values()]
    assert (len(sizes), min(sizes), sum(sizes)) == (40, 5, 868)
    assert sizes.count(5) >= 20 and sizes[0] > 500


def test_even_sites_differ_by_one_donor_and_have_every_class():
    dealt = split(cohort_of([0, 1, 2] * 67), SplitSpec(by="even", sites=5, controls=0), rng())
    sizes = [shard.n_donors for shard in dealt.sites.values()]
    assert max(sizes) - min(sizes) <= 1
    assert all(set(shard.label.tolist()) == {0, 1, 2} for shard in dealt.sites.values())


@given(st.integers(1, 9), st.integers(0, 99))
def test_sites_have_as_few_classes_as_can_be(sites, seed):
    label = np.array([0, 1, 2] * 20)
    home = by_class(label, 3, sites, rng(seed))
    classes = [set(label[home == site].tolist()) for site in range(sites)]
    assert max(map(len, classes)) == -(-3 // sites)
    if sites >= 3:
        assert [min(some) for some in classes] == [site % 3 for site in range(sites)]
        for c in range(3):  # a class is dealt evenly to its sites
            sizes = np.bincount(home[label == c], minlength=sites)[c::3]
            assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("by", ["even", "power"])
def test_lone_class_is_at_the_first_site_only(by):
    dealt = split(cohort_of([0, 0, 0, 1, 2, 2] * 20), SplitSpec(by=by, sites=4, lone="b", controls=0), rng())
    has = [1 in shard.label for shard in dealt.sites.values()]
    assert has == [True, False, False, False]
    assert (dealt.sites["site-1"].label == 1).sum() == 20


@pytest.mark.parametrize("by", ["even", "power", "class"])
def test_same_generator_same_homes_and_another_differs(by):
    def donors(seed):
        dealt = split(cohort_of([0, 1, 2] * 20), SplitSpec(by=by, sites=4), rng(seed))
        return [shard.donors for shard in dealt.sites.values()]

    assert donors(1) == donors(1) != donors(2)


@pytest.mark.parametrize(
    ("label", "spec", "text"),
    [
        ([0] * 19, {"by": "power", "sites": 4, "least": 5}, "expected 5 donors for each of 4 sites, got 19 of 19"),
        ([0, 1] * 9, {"by": "class", "sites": 3}, "expected donors for site-3, got too few of class 'c'"),
        ([1] * 9 + [0], {"by": "even", "sites": 2, "lone": "b"}, "got 1 of other classes than 'b'"),
        ([0] * 9, {"by": "even", "lone": "B"}, "split.lone to be one of a, b, c, got lone='B'"),
    ],
)
def test_cohort_too_small_for_its_sites_is_refused(label, spec, text):
    with pytest.raises(SpecError, match=text):
        split(cohort_of(label), SplitSpec(**spec, controls=0), rng())


@pytest.mark.parametrize("change", [{"least": 0}, {"exponent": -1}, {"by": "class", "lone": "b"}, {"lone": "b"}])
def test_spec_refuses_what_makes_no_homes(change):
    with pytest.raises(pydantic.ValidationError, match=next(reversed(change))):
        SplitSpec(**change)
