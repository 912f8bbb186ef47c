"""Shards and cohorts: what they accept, and what taking and removing donors leaves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.cohort.shard import Cohort, Shard
from fedgenome.errors import SpecError


def shard_of(slots, mask=None, **changes):
    donor = np.asarray(slots, np.int64)
    n, names = len(donor), tuple(f"d{i}" for i in range(max(donor, default=-1) + 1))
    x = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    mask = np.ones(n, bool) if mask is None else mask
    return Shard(**{"x": x, "label": donor % 3, "donor": donor, "donors": names, "mask": mask, **changes})


@pytest.mark.parametrize("field", ["x", "label", "donor", "mask"])
def test_arrays_are_read_only_copies(field):
    given_arrays = {
        "x": np.zeros((2, 2)),
        "label": np.zeros(2, int),
        "donor": np.array([0, 1]),
        "mask": np.ones(2, bool),
    }
    shard = Shard(donors=("a", "b"), **given_arrays)
    given_arrays[field][0] = 1 - given_arrays[field][0]
    assert not np.array_equal(getattr(shard, field), given_arrays[field])
    with pytest.raises(ValueError, match="read-only"):
        getattr(shard, field)[0] = 0


def test_arrays_have_the_stated_types():
    shard = shard_of([0, 1], x=np.zeros((2, 3)), label=np.array([1, 2], np.int8))
    assert [getattr(shard, name).dtype for name in ("x", "label", "donor", "mask")] == [
        np.float32, np.int64, np.int64, np.bool_,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"x": np.zeros(3)}, r"x of shape \(slots, genes\), got shape=\(3,\)"),
        ({"label": np.zeros(2, int)}, r"label of shape \(slots,\) = \(3,\), got shape=\(2,\)"),
        ({"mask": np.ones((3, 1), bool)}, r"mask of shape \(slots,\) = \(3,\)"),
        ({"label": np.zeros(3)}, "label castable to int64 without loss, got dtype='float64'"),
        ({"mask": np.ones(3, int)}, "mask castable to bool without loss"),
        ({"label": np.array([0, -1, 0])}, "every label an index >= 0"),
        ({"donor": np.array([0, 1, 3])}, "every donor an index into donors, got donors=3"),
        ({"donors": ("a", "b", "a")}, "every donor id once"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, text):
    with pytest.raises(SpecError, match=text):
        shard_of([0, 1, 2], **changes)


def test_shard_of_nobody_is_allowed():
    empty = shard_of([])
    assert empty.n_donors == 0
    assert empty.take(np.zeros(0, bool)).x.shape == (0, 2)


@given(st.data())
def test_take_keeps_exactly_the_chosen_donors_rows(data):
    donor = data.draw(st.lists(st.integers(0, 5), max_size=20))
    shard = shard_of(
        donor, mask=np.array(data.draw(st.lists(st.booleans(), min_size=len(donor), max_size=len(donor))), bool)
    )
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=shard.n_donors, max_size=shard.n_donors)), bool)
    taken = shard.take(chosen)
    naive = [(tuple(shard.x[i]), f"d{d}", shard.mask[i]) for i, d in enumerate(donor) if chosen[d]]
    assert [(tuple(x), taken.donors[d], m) for x, d, m in zip(taken.x, taken.donor, taken.mask, strict=True)] == naive
    assert taken.donors == tuple(f"d{d}" for d in np.flatnonzero(chosen))


@pytest.mark.parametrize("chosen", [np.array([1, 0]), np.array([True]), np.array([[True, False]])])
def test_take_wants_one_bool_a_donor(chosen):
    with pytest.raises(SpecError, match="one bool a donor"):
        shard_of([0, 1]).take(chosen)


def test_without_masks_the_donor_and_moves_nobody():
    shard = shard_of([0, 1, 1, 2], mask=np.array([True, True, True, False]))
    less = shard.without(1)
    assert less.mask.tolist() == [True, False, False, False]
    assert np.array_equal(less.x, shard.x)
    assert less.donors == shard.donors


def test_removed_donor_leaves_masked_slots_in_a_sample():
    chosen = np.array([True, True, False])
    sample, neighbour = (s.take(chosen) for s in (shard_of([0, 1, 2, 0]), shard_of([0, 1, 2, 0]).without(1)))
    assert np.array_equal(sample.x, neighbour.x)
    assert (sample.mask.tolist(), neighbour.mask.tolist()) == ([True, True, True], [True, False, True])


@pytest.mark.parametrize("donor", [-1, 2])
def test_without_an_unknown_donor_is_refused(donor):
    with pytest.raises(SpecError, match=rf"0 <= donor < 2, got donor={donor}"):
        shard_of([0, 1]).without(donor)


def cohort_of(**changes):
    parts = {
        "x": np.zeros((2, 2)),
        "genes": ("g", "h"),
        "label": np.array([0, 1]),
        "labels": ("a", "b"),
        "rows": ("r", "s"),
    }
    return Cohort(name="file", **{**parts, **changes})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"x": np.zeros((2, 3))}, r"file: x of shape \(rows, genes\) = \(2, 2\), got shape=\(2, 3\)"),
        ({"label": np.array([0])}, r"one label a row \(2\), got found=1"),
        ({"donor": ("p",)}, r"one donor a row \(2\)"),
        ({"site": ("p",) * 3}, r"one site a row \(2\)"),
        ({"label": np.array([0, 2])}, "every label an index into labels"),
        ({"genes": ("g", "g")}, r"every gene once, got repeated=\['g'\]"),
        ({"rows": ("r", "r")}, r"every row name once, as there is no donor column, got repeated=\['r'\]"),
    ],
)
def test_cohort_parts_that_do_not_fit_are_refused(changes, text):
    with pytest.raises(SpecError, match=text):
        cohort_of(**changes)


def test_unit_is_a_person_only_with_a_donor_column():
    people = cohort_of(donor=("p", "p"), rows=("r", "r"))
    assert (people.unit, people.owners, people.unit_text) == ("donor", ("p", "p"), "donor (person)")
    rows = cohort_of()
    assert (rows.unit, rows.owners, rows.unit_text) == ("row", ("r", "s"), "row, not a person")
