"""Cohorts of the experiments on synthesis: read where they are, skipped aloud, split without a donor on both sides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.synthesis import cohorts
from fedgenome.cohort.shard import Cohort
from fedgenome.cohort.split import SplitSpec
from fedgenome.errors import SpecError


def a_cohort(donors=40, each=2):
    rng = np.random.default_rng(1)
    donor = np.repeat(np.arange(donors), each)
    return Cohort(
        name="made up",
        x=rng.normal(size=(len(donor), 3)).astype(np.float32),
        genes=("A", "B", "C"),
        label=donor % 2,
        labels=("0", "1"),
        rows=tuple(f"r{i}" for i in range(len(donor))),
        donor=tuple(f"p{i}" for i in donor),
        site=tuple(f"h{i % 3}" for i in donor),
    )


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(1, 4))
def test_folds_are_a_partition_of_donors_with_all_their_rows(seed, k, each):
    cohort = a_cohort(each=each)
    pairs = list(cohorts.folds(cohort, seed, k))
    assert sorted(d for _, test in pairs for d in test.donors) == sorted(set(cohort.owners))
    for training, test in pairs:
        assert not set(training.donors) & set(test.donors)
        assert len(training.x) + len(test.x) == len(cohort.x)
        assert len(test.x) == each * test.n_donors
        assert abs(np.mean(test.label) - 0.5) <= 1 / test.n_donors


@pytest.mark.parametrize("changes", [{}, {"by": "power", "sites": 4}, {"by": "class", "sites": 2}])
def test_a_split_keeps_a_fifth_of_the_donors_apart_and_is_its_seeds(changes):
    first, again, other = (cohorts.dealt(a_cohort(), "breast_sites", seed, **changes) for seed in (1, 1, 2))
    assert first.controls.n_donors == 8
    assert not set(first.controls.donors) & set(first.members.donors)
    assert first.controls.donors == again.controls.donors != other.controls.donors


def test_scaling_reads_training_rows_only():
    training, test = next(cohorts.folds(a_cohort(), 3))
    ours, theirs = cohorts.scaled(training, test.x)
    assert np.allclose(ours.mean(0), 0, atol=1e-6) and np.allclose(ours.std(0), 1, atol=1e-5)
    shifted = cohorts.scaled(training, test.x + 100)[1]
    assert np.allclose((shifted - theirs) * training.x.std(0), 100, atol=1e-3)


def test_a_site_that_lacks_a_gene_has_the_fill_there_and_nobody_else():
    whole = cohorts.dealt(a_cohort(), "breast_sites", 0)
    some = cohorts.lacking(whole, "h1", ["B"], 7.5)
    assert (some.sites["h1"].x[:, 1] == 7.5).all()
    assert np.array_equal(some.sites["h1"].x[:, [0, 2]], whole.sites["h1"].x[:, [0, 2]])
    assert some.sites["h0"] is whole.sites["h0"]
    with pytest.raises(SpecError, match="genes of the study"):
        cohorts.lacking(whole, "h1", ["D"], 7.5)


def test_absent_cohort_is_skipped_aloud_and_refused_by_name(tmp_path):
    said = []
    assert cohorts.present(cohorts.SOURCES, said.append, tmp_path) == []
    assert len(said) == len(cohorts.SOURCES)
    assert all("set FEDGENOME_DATA to the folder of expression/" in line for line in said)
    with pytest.raises(SpecError, match=r"tcga_brca_rnaseq_1218x909\.h5ad: expected the cohort tcga_brca here"):
        cohorts.read("tcga_brca", tmp_path)


@pytest.mark.parametrize("name", cohorts.SOURCES)
def test_every_source_is_a_valid_way_to_read_and_to_deal(name, tmp_path):
    source = cohorts.SOURCES[name]
    (tmp_path / "expression").mkdir()
    (tmp_path / "expression" / source.file).touch()
    asked = cohorts.spec(name, tmp_path, rows_per_donor=None)
    deals = SplitSpec.model_validate(source.deals)
    assert asked.public and (deals.by == "column") == (asked.site is not None)
    assert ("person" in source.says or "donor" in source.says) == name.startswith("tcells")


SIZES = {"tcga_brca": (1085, 909, 40), "breast_sites": (546, 254, 3), "camda_sample": (100, 978, 2)}


@pytest.mark.parametrize("name", SIZES)
def test_real_cohort_reads_and_deals_where_it_is(name):
    try:
        cohort = cohorts.read(name)
    except SpecError as fault:
        pytest.skip(str(fault))
    sites = cohorts.dealt(cohort, name, 0).sites
    assert (len(set(cohort.owners)), len(cohort.genes), len(sites)) == SIZES[name]
    assert np.isfinite(cohort.x).all() and cohort.clipped < 1e-3
