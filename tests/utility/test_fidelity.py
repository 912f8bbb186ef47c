import numpy as np
import pytest

from fedgenome.audit.targets import Records
from fedgenome.utility import fidelity


def _records(x):
    return Records(x=x, label=np.zeros(len(x), int))


def test_a_table_does_not_differ_from_itself_in_another_order():
    x = np.random.default_rng(0).random((50, 4))
    assert fidelity.measure(_records(x[::-1]), _records(x))["wasserstein"].value == pytest.approx(0)


def test_by_hand_a_shift_of_one_gene_is_its_distance_in_real_deviations():
    x = np.tile([[0.0], [2.0]], (5, 4))  # every gene: standard deviation 1
    seen = fidelity.measure(_records(x + np.array([0, 0, 2, 0])), _records(x))
    assert (seen["wasserstein"].value, seen["wasserstein_worst"].value) == pytest.approx((0.5, 2))
    assert seen["wasserstein_worst"].gene == 2


def test_wasserstein_is_the_area_between_the_quantile_functions():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (40, 3)), rng.normal(0.3, 2, (40, 3))
    expected = np.abs(np.sort(a, axis=0) - np.sort(b, axis=0)).mean(axis=0)
    assert fidelity.distances(a, b) == pytest.approx(expected)


def test_a_gene_that_does_not_vary_is_left_out_and_counted():
    x = np.random.default_rng(2).random((30, 3))
    x[:, 0] = 0.1
    seen = fidelity.measure(_records(x + 1), _records(x))
    assert "without 1 genes" in seen["wasserstein"].note and seen["wasserstein_worst"].gene != 0
    nothing = fidelity.measure(_records(x), _records(np.ones((5, 3))))
    assert np.isnan(nothing["wasserstein"].value) and "no gene varies" in nothing["wasserstein"].note
