import numpy as np
import pytest

from fedgenome.audit.targets import Records
from fedgenome.utility import kernel
from fedgenome.utility.metrics import Settings


def _records(x):
    return Records(x=x, label=np.zeros(len(x), int))


def test_by_hand_two_points_each():
    # Within: k = e^(-1/2) on either side; between: distances 0, 1, 1, 0.
    a = np.array([[0.0], [1.0]])
    near = np.exp(-0.5)
    assert kernel.mmd2(a, a, 1.0) == pytest.approx(2 * near - 2 * (2 + 2 * near) / 4)


def test_it_is_the_double_sum_over_different_rows():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 3)), rng.normal(1, 1, (5, 3))

    def k(x, y):
        return np.exp(-((x - y) ** 2).sum() / 8)

    def within(x):
        return np.mean([k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j])

    expected = within(a) + within(b) - 2 * np.mean([k(x, y) for x in a for y in b])
    assert kernel.mmd2(a, b, 2.0) == pytest.approx(expected)


def test_alike_rows_are_at_zero_in_the_mean_and_shifted_ones_are_not():
    rng = np.random.default_rng(1)
    draws = [(rng.normal(size=(20, 3)), rng.normal(size=(30, 3))) for _ in range(200)]
    alike = np.array([kernel.mmd2(a, b, 2.0) for a, b in draws])
    assert abs(alike.mean()) < 4 * alike.std() / np.sqrt(200)  # false alarm 6e-5
    assert (alike < 0).any()
    assert min(kernel.mmd2(a + 3, b, 2.0) for a, b in draws) > alike.max()


def test_rows_are_capped_and_degenerate_sides_are_named():
    rng = np.random.default_rng(2)
    assert len(kernel.some(rng.random((50, 2)), 10, rng)) == 10
    one, many, same = (_records(x) for x in (np.zeros((1, 2)), rng.random((30, 2)), np.zeros((30, 2))))
    assert "fewer than two" in kernel.measure(one, many, rng)["mmd2"].note
    assert "the same" in kernel.measure(many, same, rng)["mmd2"].note
    assert kernel.measure(many, many, rng, Settings(rows=10))["mmd2"].value < 0.5
