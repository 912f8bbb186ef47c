"""Bounded sums of rows, against a loop over donors; and who may build one."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fedgenome
from fedgenome.errors import SpecError
from fedgenome.privacy import clipping
from fedgenome.privacy.clipping import ClippedSum, sum_rows, sum_scores
from fedgenome.query import Question

TINY = 1 + 1e-12


@st.composite
def cases(draw):
    """Draw (rows, donor, mask, bound): up to twelve rows of up to five donors, some of them not finite."""
    slots = draw(st.integers(0, 12))
    value = st.floats(-1e6, 1e6, width=32) | st.sampled_from([np.nan, np.inf, -np.inf])
    rows = draw(hnp.arrays(np.float32, (slots, 3), elements=value))
    donor = draw(hnp.arrays(np.int64, slots, elements=st.integers(0, 4)))
    mask = draw(hnp.arrays(np.bool_, slots))
    return rows, donor, mask, draw(st.sampled_from([1e-3, 1.0, 1e4]))


def one_donor(rows, bound):
    """Return a donor's clipped mean, the slow and plain way."""
    mean = np.zeros(rows.shape[1])
    for row in rows.astype(np.float64):
        mean += (row if np.isfinite(row).all() else 0 * mean) / len(rows)
    norm = np.sqrt((mean**2).sum())
    return mean * (bound / norm if norm > bound else 1)


def by_loop(rows, donor, mask, bound):
    parts = [one_donor(rows[(donor == d) & mask], bound) for d in np.unique(donor[mask])]
    return np.sum([np.zeros(rows.shape[1]), *parts], axis=0)


def clip_the_batch(rows, donor, mask, bound):
    """The broken twin: the sum of everybody is clipped, scaled by their number."""
    total, n = np.where(mask[:, None], np.nan_to_num(rows.astype(float)), 0).sum(0), mask.sum()
    return total * min(1, n * bound / max(np.linalg.norm(total), 1e-300))


@given(cases())
def test_sum_is_that_of_a_loop_over_donors(case):
    np.testing.assert_allclose(sum_rows(*case).value, by_loop(*case), rtol=1e-8, atol=1e-8 * case[3])


def moved(function, case, removed):
    rows, donor, mask, bound = case
    return np.linalg.norm(function(*case) - function(rows, donor, mask & (donor != removed), bound))


@given(cases(), st.integers(0, 4))
def test_removing_a_donor_moves_the_sum_by_at_most_the_bound(case, removed):
    assert moved(lambda *a: sum_rows(*a).value, case, removed) <= case[3] * TINY


def test_clipping_the_batch_fails_the_same_check():
    rows = np.array([[9.0, 0.0], [9.0, 0.0], [-9.0, 0.0]])
    assert moved(clip_the_batch, (rows, np.arange(3), np.ones(3, bool), 1.0), 0) > 2


@given(cases(), st.sampled_from([np.nan, 7.0]))
def test_masked_slot_contributes_exactly_nothing(case, junk):
    rows, donor, mask, bound = case
    other = np.where(mask[:, None], rows, junk)
    assert sum_rows(other, donor, mask, bound).value.tobytes() == sum_rows(*case).value.tobytes()


@given(cases(), st.integers(1, 20))
def test_chunks_do_not_change_the_sum(case, size):
    whole = sum_rows(*case).value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clipping, "_CHUNK", size)
        np.testing.assert_allclose(sum_rows(*case).value, whole, rtol=1e-12, atol=1e-12 * case[3])


def test_bound_holds_at_the_ends_of_float64():
    rows = np.array([[1e308, 1e308], [1e308, 0.0], [5e-324, 0.0]])
    value = sum_rows(rows, np.array([0, 0, 1]), np.ones(3, bool), 1.0).value
    assert np.linalg.norm(value) <= 1.0


def test_rows_of_one_donor_are_clipped_together():
    rows = np.tile([[3.0, 4.0]], (6, 1))
    value = sum_rows(rows, np.zeros(6, int), np.ones(6, bool), 1.0).value
    np.testing.assert_allclose(value, [0.6, 0.8], rtol=1e-8)


def test_no_rows_give_zeros():
    empty = sum_rows(np.empty((0, 4), np.float32), np.empty(0, int), np.empty(0, bool), 2.0)
    assert empty.value.tolist() == [0.0] * 4
    assert (empty.bound, empty.value.dtype) == (2.0, np.float64)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"rows": np.zeros(3)}, r"rows of shape \(slots, n\), got shape=\(3,\)"),
        ({"donor": np.zeros(2, int)}, "one donor a slot, got slots=3"),
        ({"mask": np.ones((3, 1), bool)}, "one mask entry a slot, got slots=3"),
        ({"mask": np.ones(3)}, "a mask of bool, got dtype=dtype"),
        ({"bound": 0.0}, "0 < bound < inf, got bound=0.0"),
        ({"bound": np.inf}, "0 < bound < inf, got bound=inf"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, rule):
    fit = {"rows": np.zeros((3, 2)), "donor": np.zeros(3, int), "mask": np.ones(3, bool), "bound": 1.0}
    with pytest.raises(SpecError, match=rule):
        sum_rows(**fit | change)


SCORES = st.sampled_from([(1.0, 1), (0.375, 8), (1000.0, 1)])  # Δs and the scale that makes it whole


def scores_by_loop(rows, donor, mask, bound, scale, least):
    total = np.zeros(rows.shape[1])
    for each in np.unique(donor[mask]):
        own = np.where(np.isfinite(rows).all(1, keepdims=True), rows, 0)[(donor == each) & mask].astype(float)
        total += np.round(np.clip((own / len(own)).sum(0), least, bound) * scale) / scale
    return total


@given(cases(), SCORES, st.booleans())
def test_scores_are_those_of_a_loop_exactly(case, bound_and_scale, monotone):
    (rows, donor, mask, _), (bound, scale) = case, bound_and_scale
    summed = sum_scores(rows, donor, mask, bound, monotone=monotone)
    assert (summed.value == scores_by_loop(rows, donor, mask, bound, scale, 0.0 if monotone else -bound)).all()
    assert (summed.value * scale == np.round(summed.value * scale)).all()


@given(cases(), st.integers(0, 4), SCORES, st.booleans())
def test_donor_moves_each_score_by_at_most_the_bound_and_monotone_ones_up(case, removed, bound_and_scale, monotone):
    (rows, donor, mask, _), (bound, _) = case, bound_and_scale
    here = sum_scores(rows, donor, mask, bound, monotone=monotone).value
    there = sum_scores(rows, donor, mask & (donor != removed), bound, monotone=monotone).value
    assert (np.abs(here - there) <= bound).all()
    assert not monotone or (here >= there).all()


def test_clipping_the_total_of_scores_fails_the_same_check():
    rows = np.array([[9.0], [-1.0], [-1.0]])
    broken = [np.clip(left.sum(), -len(left), len(left)) for left in (rows, rows[1:])]
    assert abs(broken[0] - broken[1]) > 1


def asked(**changes):
    fields = {"payload": {}, "length": 2, "reply_length": 2, "bound": 1.0, "mechanism": None, "reduce": "select"}
    return Question(**fields | changes)


def test_answer_suits_questions_of_its_norm_bound_and_length_only():
    given = np.ones((1, 2)), np.zeros(1, int), np.ones(1, bool), 1.0
    rows, scores, rising = sum_rows(*given), sum_scores(*given), sum_scores(*given, monotone=True)
    suits = {kind: [one.suits(asked(**kind_of)) for one in (rows, scores, rising)] for kind, kind_of in KINDS.items()}
    assert suits == {"sum": [True, False, False], "scores": [False, True, True], "rising": [False, False, True]}
    assert not any(one.suits(asked(**other)) for one in (scores, rising) for other in ({"bound": 2.0}, {"length": 3}))


KINDS = {"sum": {"reduce": "sum"}, "scores": {}, "rising": {"monotone": True}}


def test_clipped_sum_cannot_be_built_elsewhere_or_changed():
    with pytest.raises(SpecError, match="expected a ClippedSum built by sum_rows, sum_scores or"):
        ClippedSum(value=np.zeros(2), bound=1.0, token=object())
    built = sum_rows(np.ones((1, 2)), np.zeros(1, int), np.ones(1, bool), 1.0)
    with pytest.raises(ValueError, match="read-only"):
        built.value[0] = 9.0


def test_token_stays_in_the_two_modules_that_clip(repository):
    library = repository / "fedgenome"
    holders = {str(f.relative_to(library)) for f in library.rglob("*.py") if re.search(r"\b_TOKEN\b", f.read_text())}
    assert fedgenome.__file__ == str(library / "__init__.py")
    assert holders == {"privacy/clipping.py", "privacy/gradients.py"}
