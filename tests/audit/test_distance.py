import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedgenome.audit import distance
from fedgenome.audit.targets import Records, Target
from fedgenome.errors import SpecError

CELLS = st.floats(0, 1, width=32)


def _brute(rows, table):
    return np.array([min(np.sqrt(((row - other) ** 2).sum()) for other in table) for row in rows])


@given(hnp.arrays(np.float32, (4, 3), elements=CELLS), hnp.arrays(np.float32, (6, 3), elements=CELLS))
def test_nearest_is_brute_force(rows, table):
    expected = _brute(rows.astype(float), table.astype(float))
    assert distance.nearest(rows, table) == pytest.approx(expected, abs=1e-6)


def test_nearest_in_small_blocks_is_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    rows, table = rng.random((11, 5)), rng.random((23, 5))
    monkeypatch.setattr(distance, "_BLOCK", 4)
    assert distance.nearest(rows, table) == pytest.approx(_brute(rows, table))


def test_verbatim_copies_are_at_exactly_zero():
    table = np.random.default_rng(0).random((3000, 50)).astype(np.float32)
    assert (distance.nearest(table[[0, 2047, 2048, 2999]], table) == 0).all()


def test_no_rows_have_no_distances_and_an_empty_table_is_refused():
    assert distance.nearest(np.zeros((0, 2)), np.zeros((1, 2))).shape == (0,)
    with pytest.raises(SpecError, match="a table of at least one row"):
        distance.nearest(np.zeros((1, 2)), np.zeros((0, 2)))


def test_a_class_that_the_table_lacks_is_compared_with_all_of_it():
    people = Records(x=np.array([[0.0], [0.0], [0.0]]), label=np.array([0, 1, 2]))
    table = Records(x=np.array([[1.0], [3.0], [0.25]]), label=np.array([0, 1, 1]))
    assert distance.nearest_in_class(people, table).tolist() == [1, 0.25, 0.25]


def _score(x, table, base):
    one = {"label": np.zeros(1, int)}
    target = Records(x=np.array([[table]]), **one)
    people, near = Records(x=np.array([[x]]), **one), Records(x=np.array([[base]]), **one)
    return distance.closest_record(people, Target(table=target, samples=target), near)[0]


def test_closest_record_is_zero_for_a_copy_and_a_half_between():
    assert _score(0.5, table=0.5, base=0.0) == 0
    assert _score(0.5, table=1.0, base=0.5) == -1
    assert _score(0.5, table=1.0, base=0.0) == -0.5
    assert _score(0.5, table=0.5, base=0.5) == -0.5


def test_a_donors_score_is_the_mean_of_its_rows():
    scores, donor = np.array([1.0, 5.0, 3.0, 7.0]), np.array([9, 2, 9, 4])
    assert distance.per_donor(scores, donor).tolist() == [5, 7, 2]
