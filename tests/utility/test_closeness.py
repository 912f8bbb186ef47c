import numpy as np
import pytest

from fedgenome.audit.targets import Records
from fedgenome.errors import SpecError
from fedgenome.utility import closeness


def _records(x):
    return Records(x=np.asarray(x, float).reshape(len(x), -1), label=np.zeros(len(x), int))


def test_by_hand():
    # Distances to training rows 1, 3, 2, 0; to unseen ones 3, 3, 8, 6: three nearer, one even.
    found = closeness.measure(_records([1, 7, 12, 10]), _records([0, 10]), _records([4, 20]), np.random.default_rng(0))
    assert found["dcr_share"].value == (3 + 1 / 2) / 4
    assert found["dcr_ratio_0.5"].value == pytest.approx(1.5 / 4.5)


def test_it_is_a_loop_over_rows():
    rng = np.random.default_rng(1)
    table, train, holdout = (rng.normal(size=(n, 3)) for n in (15, 12, 12))
    near, far = ([min(np.linalg.norm(row - other) for other in side) for row in table] for side in (train, holdout))
    found = closeness.measure(*map(_records, (table, train, holdout)), rng)
    assert found["dcr_share"].value == np.mean(np.array(near) < far)
    assert found["dcr_ratio_0.05"].value == pytest.approx(np.quantile(near, 0.05) / np.quantile(far, 0.05))


def test_copies_are_seen_and_fresh_rows_are_even_however_many_trained():
    rng = np.random.default_rng(2)
    train, holdout, fresh = (_records(rng.normal(size=(n, 4))) for n in (1500, 300, 400))
    even = closeness.measure(fresh, train, holdout, rng)["dcr_share"].value
    assert abs(even - 0.5) < 0.12  # within four standard errors of 400 coins, and more: neighbours are shared
    copied = closeness.measure(holdout, holdout, train, rng)
    assert (copied["dcr_share"].value, copied["dcr_ratio_0.5"].value) == (1, 0)


def test_rows_held_by_both_sides_count_half_and_zero_distances_are_named():
    rows = _records([1, 2, 3])
    found = closeness.measure(rows, rows, rows, np.random.default_rng(3))
    assert found["dcr_share"].value == 0.5
    assert "0 at this quantile" in found["dcr_ratio_0.05"].note


def test_an_empty_side_is_refused():
    rows = _records([1, 2])
    with pytest.raises(SpecError, match=r"at least one row on every side, got .*holdout=0"):
        closeness.measure(rows, rows, rows.rows(np.zeros(2, bool)), np.random.default_rng(4))
