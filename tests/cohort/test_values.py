"""Values that were not measured, scores of ranks, and how many rows a donor has: each row by itself."""

from dataclasses import replace

import anndata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse, stats

from fedgenome.cohort.expression import CohortSpec, align, capped, read, schema_of
from fedgenome.cohort.values import scores
from fedgenome.errors import SpecError
from fedgenome.study import Schema

finite = st.integers(-50, 50).map(lambda v: v / 4)


def a_study(**changes):
    return Schema(**{"genes": ("LYZ", "FOXP3", "CD3D"), "labels": ("T", "B"), "high": 9, **changes})


def test_what_was_not_measured_becomes_the_public_fill(write, spec):
    x = np.ones((6, 4), np.float32)
    x[2, 1] = x[4, 0] = np.nan
    cohort = read(spec(write(x), fill=4.5))
    assert np.array_equal(cohort.x, np.where(np.isnan(x), 4.5, x))
    assert (cohort.filled, cohort.clipped) == (2 / 24, 0)


@pytest.mark.parametrize(("changes", "text"), [({"fill": 4.5}, "inf"), ({"fill": 2, "scale": "counts"}, "nan")])
def test_fill_excuses_neither_infinity_nor_a_missing_count(write, spec, changes, text):
    x = np.ones((6, 4), np.float32)
    x[2, 1] = float(text)
    with pytest.raises(SpecError, match=rf"row 'cell-2', gene 'CD8A': expected finite values.* got {text}"):
        read(spec(write(x), **changes))


def test_site_without_a_gene_has_the_fill_in_its_place(write, spec):
    cohort = align(read(spec(write())), a_study(fill=3.0, lacking=0.34))
    assert cohort.x[:, 1].tolist() == [3.0] * 6
    assert cohort.missing == ("FOXP3",)
    assert np.array_equal(cohort.x[:, [0, 2]], align(read(spec(write())), a_study(genes=("LYZ", "CD3D"))).x)


def test_site_that_lacks_too_many_genes_is_refused(write, spec):
    """A file of other names would otherwise train on nothing but a constant."""
    cohort = read(spec(write()))
    rule = r"expected at most 10% of the study's 3 genes to be missing, got 1: 'FOXP3'"
    with pytest.raises(SpecError, match=rule):
        align(cohort, a_study(fill=3.0))


def test_filled_gene_of_one_donor_says_nothing_of_others(write, spec):
    """The fill is public: with one donor less all other rows are the same, bit for bit."""
    x = np.arange(24, dtype=np.float32).reshape(6, 4) / 4
    every = align(read(spec(write(x))), a_study(fill=3.0, lacking=0.5))
    less = align(read(spec(write(x[1:], name="less.h5ad"))), a_study(fill=3.0, lacking=0.5))
    assert np.array_equal(every.x[1:], less.x)


def test_public_rules_of_reading_are_in_the_study(write, spec):
    obs = {"kind": ["T"] * 6, "who": list("aabbcc")}
    asked = spec(write(obs=obs), fill=2.0, lacking=0.2, batch="ranks", donor="who", rows_per_donor=1)
    schema = schema_of(read(asked), asked)
    told = (schema.fill, schema.lacking, schema.batch, schema.rows_per_donor, schema.panel)
    assert told == (2.0, 0.2, "ranks", 1, "every gene of the file")


@settings(max_examples=25)
@given(hnp.arrays(float, (3, 7), elements=finite))
def test_scores_are_those_of_a_naive_ranking(x):
    told = scores(x, -4.0, 4.0)
    for row, scored in zip(x, told, strict=True):
        ranks = [np.sum(row < v) + (np.sum(row == v) + 1) / 2 for v in row]
        assert scored == pytest.approx(stats.norm.ppf([(rank - 0.5) / 7 for rank in ranks]), abs=1e-12)


@settings(max_examples=25)
@given(hnp.arrays(float, (4, 5), elements=finite), st.floats(0.1, 9), st.floats(-9, 9))
def test_scores_forget_a_platforms_scale_and_offset(x, factor, offset):
    moved = np.exp(x / 4) * factor + offset
    ties = [len(set(row)) for row in moved] == [len(set(row)) for row in x]  # unless rounding made equals
    assert not ties or np.allclose(scores(x, 0.0, 20.0), scores(moved, 0.0, 20.0))


@settings(max_examples=25)
@given(hnp.arrays(float, (4, 5), elements=st.one_of(finite, st.just(np.nan))))
def test_scores_of_a_row_depend_on_its_own_measured_values_only(x):
    told = scores(x, 0.0, 20.0)
    for row, scored in zip(x, told, strict=True):
        known = ~np.isnan(row)
        assert np.array_equal(np.isnan(scored), ~known)
        assert np.allclose(scored[known], scores(row[None, known], 0.0, 20.0)[0])


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_rows_read_as_ranks_stay_in_the_range_and_read_again_are_the_same(write, spec, form):
    x = np.random.default_rng(2).integers(0, 5, (6, 4)).astype(np.float32)
    options = {"batch": "ranks", "low": -2, "high": 6, "labels": ("T", "B")}
    once = read(spec(write(form(x)), **options))
    twice = read(spec(write(once.x, name="again.h5ad"), **options))
    assert once.x.min() >= -2 and once.x.max() <= 6 and once.clipped == 0
    assert np.array_equal(once.x, twice.x)


rows = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=30, unique=True)


@settings(max_examples=25)
@given(rows, st.integers(1, 4))
def test_rows_of_a_donor_are_capped_and_others_kept(pairs, most):
    donor, names = [d for d, _ in pairs], [str(n) for _, n in pairs]
    kept = capped(donor, names, most)
    assert kept.tolist() == sorted(set(kept.tolist()))
    for who in set(donor):
        assert sum(donor[i] == who for i in kept) == min(most, donor.count(who))


@settings(max_examples=25)
@given(rows, st.integers(1, 4), st.randoms(use_true_random=False))
def test_rows_kept_depend_neither_on_other_donors_nor_on_order(pairs, most, random):
    def kept(some):
        return {some[i] for i in capped([d for d, _ in some], [str(n) for _, n in some], most)}

    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert kept(pairs) == kept(shuffled)
    assert {pair for pair in kept(pairs) if pair[0] == "a"} == kept([pair for pair in pairs if pair[0] == "a"])


def test_coins_favour_no_row_by_its_place():
    """Each of 50 rows is kept for a tenth of 400 donors. Six standard deviations of 6: one false alarm in 10^7."""
    counts = np.zeros(50)
    for donor in range(400):
        counts[capped([f"d{donor}"] * 50, [str(i) for i in range(50)], 5)] += 1
    first = np.full(50, 0.0)
    first[:5] = 400  # the broken twin: the first five of each
    assert np.abs(counts - 40).max() < 36 < np.abs(first - 40).max()


def test_capped_rows_are_read_with_their_own_values(write, spec):
    obs = {"kind": ["T", "B"] * 3, "who": list("aaaabb"), "site": list("xxxxyy")}
    options = {"donor": "who", "site": "site"}
    path = write(obs=obs)
    whole, some = read(spec(path, **options)), read(spec(path, rows_per_donor=2, **options))
    at = [whole.rows.index(name) for name in some.rows]
    assert some.donor == ("a", "a", "b", "b")
    for name in ("x", "label"):
        assert np.array_equal(getattr(some, name), getattr(whole, name)[at])
    assert some.site == ("x", "x", "y", "y")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"fill": 10}, "expected low <= fill <= high, got fill=10"),
        ({"rows_per_donor": 3}, "expected rows_per_donor only with a donor column"),
        ({"rows_per_donor": 0, "donor": "who"}, "rows_per_donor"),
        ({"only": ("Graz",)}, "expected site to name the obs column that only is about"),
        ({"lacking": 1.5}, "lacking"),
        ({"batch": "combat"}, "'none' or 'ranks'"),
        ({"genes": {"first": 2}}, "expected panel with genes.first"),
        ({"genes": {"first": 2, "random": 2, "seed": 1}, "panel": ("A", "B")}, "expected either first or random"),
        ({"genes": {"random": 2}}, "expected seed with random"),
        ({"genes": {"first": 2, "seed": 1}, "panel": ("A", "B")}, "expected seed with random, and only then"),
    ],
)
def test_spec_names_the_rule_of_reading_that_it_breaks(changes, text):
    with pytest.raises(ValueError, match=text):
        CohortSpec(**{"source": "x", "label": "kind", "labels": ("T",), "scale": "log", "high": 9, **changes})


def test_alignment_keeps_what_it_was_told_of_a_cohort(write, spec):
    cohort = replace(read(spec(write())), filled=0.25)
    assert align(cohort, a_study(genes=("LYZ",))).filled == 0.25


# ---- Dosages

DOSAGE = {"scale": "dosage", "high": 2.0}


def test_dosages_not_called_become_the_public_fill(write, spec):
    x = np.array([[0, 1, 2, -1], [2, 2, 0, 0]], np.int8)
    cohort = read(spec(write(x), fill=0.5, **DOSAGE))
    assert (cohort.x.tolist(), cohort.filled, cohort.clipped) == ([[0, 1, 2, 0.5], [2, 2, 0, 0]], 1 / 8, 0)


@pytest.mark.parametrize(
    ("value", "fill", "text"),
    [
        (-1, None, "expected dosages 0, 1 or 2, .* set fill.* got -1"),
        (3, 1, "got 3"),
        (0.5, 1, "0.5"),
        (-2, 1, "got -2"),
    ],
)
def test_what_is_no_dosage_is_refused_with_its_place(write, spec, value, fill, text):
    x = np.ones((6, 4), np.float32)
    x[2, 1] = value
    with pytest.raises(SpecError, match=rf"row 'cell-2', gene 'CD8A': .*{text}"):
        read(spec(write(x), fill=fill, **DOSAGE))


def test_genotypes_are_read_as_dosages_only(spec, write):
    path = write(np.ones((6, 4), np.int8))
    data = anndata.read_h5ad(path)
    data.uns["genotypes"] = {"coding": "dosage", "selected": ""}
    data.write_h5ad(path)
    with pytest.raises(SpecError, match="expected scale = 'dosage', as the file holds genotypes, got 'log'"):
        read(spec(path))
    assert read(spec(path, **DOSAGE)).x.tolist() == [[1] * 4] * 6
