"""Public components: a basis that keeps distances no larger than they are, and knows only the public half."""

import numpy as np
import pytest

from experiments.deeptype import people
from experiments.sanitized_rows import components
from experiments.sanitized_rows.components import PCA, Cell

GENES, K = 40, 12


@pytest.fixture(scope="module")
def who():
    return people.simulated(genes=GENES, people=240)


def test_no_two_rows_lie_further_apart_in_coefficients(who):
    x = who.x.astype(float)
    basis = components.components(x[:120])
    kept = basis.forward(x[120:], K)
    for one, other in np.random.default_rng(1).integers(0, 120, (200, 2)):
        apart = np.linalg.norm(kept[one] - kept[other])
        assert apart <= np.linalg.norm(x[120 + one] - x[120 + other]) * (1 + 1e-12)
    short = basis.inverse(kept, GENES)
    assert basis.forward(short, K) == pytest.approx(kept, abs=1e-12)  # a projection


def test_all_components_give_rows_back(who):
    x = who.x.astype(float)
    basis = components.components(x[:120], GENES)
    assert basis.inverse(basis.forward(x[120:], GENES), GENES) == pytest.approx(x[120:], abs=1e-12)


def test_the_first_components_keep_most_of_what_varies(who):
    x = who.x.astype(float)
    kept = components.components(x).forward(x, GENES).var(axis=0)
    assert (np.diff(kept) <= 1e-12).all() and kept.sum() == pytest.approx(x.var(axis=0).sum())


def test_the_same_halves_stand_behind_every_basis_and_components_leave_out_less(who):
    shown = {basis: components.one(Cell("made", basis, K, 50.0, 3), who) for basis in ("dct", PCA)}
    assert shown["dct"]["noise"] == pytest.approx(shown[PCA]["noise"])
    assert shown[PCA]["truncation"] < shown["dct"]["truncation"]
    assert shown[PCA]["distance"] ** 2 > shown[PCA]["truncation"] ** 2
    rows = [components._pooled(Cell("made", b, K, None, 3), [components.one(Cell("made", b, K, None, 3), who)] * 2)
            for b in ("dct", PCA)]  # fmt: skip
    assert [t.ok for t in components.targets(rows)] == [True]
    swapped = [row | {"basis": {"dct": PCA, PCA: "dct"}[row["basis"]]} for row in rows]
    assert [t.ok for t in components.targets(swapped)] == [False]


def test_accuracy_is_of_rows_that_nothing_was_fitted_to():
    rng = np.random.default_rng(5)
    label = rng.integers(0, 2, 400)
    x = rng.standard_normal((400, 6)) + 3 * label[:, None]
    assert components.accuracy(x[:200], label[:200], x[200:], label[200:]) > 0.95
    assert components.accuracy(x[:200], rng.permutation(label[:200]), x[200:], label[200:]) < 0.9
