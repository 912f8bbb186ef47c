"""Dealing donors out: a partition, reproducible, uniform controls, skewed sites."""

import re
from dataclasses import replace

import numpy as np
import pydantic
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from fedgenome.cohort.shard import Cohort
from fedgenome.cohort.split import SplitSpec, site_name, split
from fedgenome.errors import SpecError

NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,62}$")


def cohort_of(label, donor=None, site=None, labels=("a", "b", "c")):
    n = len(label)
    x = np.arange(2 * n, dtype=np.float32).reshape(n, 2)  # every row is told apart by its values
    rows = tuple(f"r{i}" for i in range(n))
    label = np.asarray(label, np.int64)
    return Cohort(name="file", x=x, genes=("g", "h"), label=label, labels=labels, rows=rows, donor=donor, site=site)


def rng(seed=0):
    return np.random.default_rng(seed)


def contents(shard):
    return {(tuple(x), int(y), shard.donors[d]) for x, y, d in zip(shard.x, shard.label, shard.donor, strict=True)}


def sizes(dealt):
    return {name: shard.n_donors for name, shard in dealt.sites.items()}


@st.composite
def cohorts(draw):
    rows = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=40))
    donor = tuple(f"p{d}" for _, d in rows) if draw(st.booleans()) else None
    home = {d: draw(st.sampled_from(["Vienna", "Graz", "Linz 2"])) for _, d in rows}
    return cohort_of([y for y, _ in rows], donor, tuple(home[d] for _, d in rows) if donor else None)


specs = st.builds(
    SplitSpec,
    by=st.sampled_from(["dirichlet", "column"]),
    sites=st.integers(1, 6),
    alpha=st.sampled_from([1e-3, 0.1, 1.0, 1e6]),
    controls=st.floats(0, 0.9),
)


@given(cohorts(), specs, st.integers(0, 2**32))
def test_split_is_a_partition_of_rows_and_of_donors(cohort, spec, seed):
    n = len(set(cohort.owners))
    controls = int(spec.controls * n + 0.5)
    assume(cohort.site is not None if spec.by == "column" else n - controls >= spec.sites)
    dealt = split(cohort, spec, rng(seed))
    shards = [*dealt.sites.values(), dealt.controls]
    every = [row for shard in shards for row in contents(shard)]
    assert sorted(every) == sorted(zip(map(tuple, cohort.x), cohort.label, cohort.owners, strict=True))
    assert sorted(d for shard in shards for d in shard.donors) == sorted(set(cohort.owners))
    assert all(shard.n_donors >= 1 for shard in dealt.sites.values())
    assert all(NAME.match(name) for name in dealt.sites)
    assert dealt.controls.n_donors <= controls if spec.by == "column" else dealt.controls.n_donors == controls


@given(cohorts(), st.integers(0, 2**32))
def test_members_are_the_sites_rows(cohort, seed):
    dealt = split(cohort, SplitSpec(sites=1, controls=0.3), rng(seed))
    assert contents(dealt.members) == set().union(*map(contents, dealt.sites.values()))


def test_same_generator_same_split_and_another_differs():
    cohort = cohort_of([0, 1, 2] * 20)
    first, again, other = (split(cohort, SplitSpec(), rng(seed)) for seed in (1, 1, 2))
    assert {k: v.donors for k, v in first.sites.items()} == {k: v.donors for k, v in again.sites.items()}
    assert first.controls.donors != other.controls.donors


def test_order_of_the_rows_does_not_matter():
    cohort = cohort_of([0, 1, 2] * 10, tuple(f"p{i // 2}" for i in range(30)))
    cohort = replace(cohort, rows=("first", "second") * 15)  # names that repeat over donors
    order = rng(5).permutation(30)
    parts = {name: tuple(np.array(getattr(cohort, name))[order].tolist()) for name in ("rows", "donor")}
    mixed = Cohort(
        name="file", x=cohort.x[order], label=cohort.label[order], genes=cohort.genes, labels=cohort.labels, **parts
    )
    first, second = (split(c, SplitSpec(sites=3), rng(4)).members for c in (cohort, mixed))
    assert first.donors == second.donors
    assert np.array_equal(first.x, second.x)


def test_sites_are_named_and_sized():
    dealt = split(cohort_of([0] * 10), SplitSpec(sites=3, controls=0.2), rng())
    assert tuple(dealt.sites) == ("site-1", "site-2", "site-3")
    assert sum(sizes(dealt).values()) == 8
    assert (dealt.unit_text, dealt.genes, dealt.labels) == ("row, not a person", ("g", "h"), ("a", "b", "c"))


def test_tiny_site_and_class_at_one_site_only_simply_work():
    site = ("big",) * 20 + ("tiny",) * 3
    dealt = split(cohort_of([0] * 20 + [1, 1, 2], site=site), SplitSpec(by="column", controls=0), rng())
    assert sizes(dealt) == {"big": 20, "tiny": 3}
    assert set(dealt.sites["tiny"].label.tolist()) == {1, 2}


def test_as_many_sites_as_donors_gives_each_one():
    dealt = split(cohort_of([0] * 5), SplitSpec(sites=5, controls=0, alpha=1e-3), rng())
    assert set(sizes(dealt).values()) == {1}


def test_donor_is_dealt_by_its_commonest_class():
    """With one class a donor's rows say which site: the skew follows the majority, not the first row."""
    donor = tuple(f"p{i:02}" for i in range(40) for _ in range(3))
    label = [y for i in range(40) for y in (2, i % 2, i % 2)]
    dealt = split(cohort_of(label, donor), SplitSpec(sites=2, alpha=1e-3, controls=0), rng(8))
    parity = [{int(name[1:]) % 2 for name in shard.donors} for shard in dealt.sites.values()]
    assert {frozenset(p) for p in parity} == {frozenset({0}), frozenset({1})}


def test_hospital_keeps_its_last_donor_from_the_controls():
    site = ("lone",) + ("rest",) * 9
    for seed in range(20):
        dealt = split(cohort_of([0] * 10, site=site), SplitSpec(by="column", controls=0.9), rng(seed))
        assert sizes(dealt) == {"lone": 1, "rest": 1}


@pytest.mark.parametrize(
    ("cohort", "spec", "text"),
    [
        (
            cohort_of([0] * 4),
            {"sites": 5},
            r"file: expected a donor for each of 5 sites, got 3 of 4 after controls = 0\.2",
        ),
        (cohort_of([0] * 4, ("p", "p", "q", "q")), {"sites": 3, "controls": 0}, "got 2 of 2"),
        (cohort_of([0] * 4), {"by": "column"}, r"expected cohort\.site to name an obs column"),
        (
            cohort_of([0, 0], ("p", "p"), ("Graz", "Linz")),
            {"by": "column"},
            "expected every donor at one site, donor 'p' has rows at 'Graz' and 'Linz'",
        ),
        (cohort_of([0, 0], site=("St. Anna", "st anna")), {"by": "column"}, "'St. Anna', 'st anna' are all 'st-anna'"),
        (cohort_of([0], site=("---",)), {"by": "column"}, "a site with a letter or digit .*, got site='---'"),
    ],
)
def test_cohort_that_cannot_be_dealt_is_refused(cohort, spec, text):
    with pytest.raises(SpecError, match=text):
        split(cohort, SplitSpec(**spec), rng())


@pytest.mark.parametrize(
    "change", [{"sites": 0}, {"alpha": 0}, {"controls": 0.95}, {"controls": -0.1}, {"by": "row"}, {"site": 3}]
)
def test_spec_refuses_what_makes_no_split(change):
    with pytest.raises(pydantic.ValidationError, match=next(iter(change))):
        SplitSpec(**change)


@given(st.text(max_size=80))
def test_site_name_fits_a_roster_or_is_refused(value):
    try:
        assert NAME.match(site_name(value))
    except SpecError:
        assert not re.search("[a-z0-9]", value.lower())


def _control_counts(choose, runs=400, n=10):
    return np.sum([np.isin(np.arange(n), choose(seed)) for seed in range(runs)], axis=0)


def _uniform(counts, runs=400, share=0.3):
    """Return both tails of a chi-square test that k of n are drawn uniformly without replacement."""
    n = len(counts)
    statistic = ((counts - runs * share) ** 2).sum() / (runs * share * (1 - share)) * (n - 1) / n
    return stats.chi2(n - 1).sf(statistic), stats.chi2(n - 1).cdf(statistic)


def test_controls_are_drawn_uniformly():
    """Fixed seeds; a fair draw would fail one time in 500. Too even a draw is as wrong as an uneven one."""
    cohort = cohort_of([0] * 7 + [1] * 3)

    def ours(seed):
        dealt = split(cohort, SplitSpec(sites=2, controls=0.3), rng(seed))
        return [int(name[1:]) for name in dealt.controls.donors]

    assert min(_uniform(_control_counts(ours))) > 1e-3
    skewed = _control_counts(lambda seed: rng(seed).permutation(9)[:3])  # never the last donor
    rotated = _control_counts(lambda seed: (3 * seed + np.arange(3)) % 10)  # every donor equally often
    assert max(min(_uniform(twin)) for twin in (skewed, rotated)) < 1e-6


def _largest_share(alpha, seed):
    """Mean over classes of the largest site's share of the class."""
    cohort = cohort_of([0, 1, 2] * 200)
    dealt = split(cohort, SplitSpec(sites=5, alpha=alpha, controls=0), rng(seed))
    counts = np.array([np.bincount(shard.label, minlength=3) for shard in dealt.sites.values()])
    return (counts / counts.sum(axis=0)).max(axis=0).mean()


@pytest.mark.parametrize(("alpha", "expected"), [(0.1, 0.840), (1.0, 0.457), (100.0, 0.229)])
def test_label_skew_is_that_of_the_dirichlet_law(alpha, expected):
    """E max of Dir(alpha) over 5 sites (1: H5/5 = .4567; others by 1e6 draws). Five standard errors either way."""
    shares = [_largest_share(alpha, seed) for seed in range(60)]
    error = np.std(shares) / np.sqrt(60)
    assert abs(np.mean(shares) - expected) < 5 * error + 0.01
    assert 5 * error + 0.01 < 0.1, "too blunt to tell these laws apart"
