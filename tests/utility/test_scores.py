import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import accuracy_score, f1_score

from fedgenome.errors import SpecError
from fedgenome.utility import scores

CLASSES = hnp.arrays(np.int64, 20, elements=st.integers(0, 4))


def _figures(truth, predicted, donor=None, seed=0):
    donor = np.arange(len(truth)) if donor is None else donor
    return scores.accuracy_and_f1(truth, predicted, donor, np.random.default_rng(seed))


@given(CLASSES, CLASSES, hnp.arrays(np.int64, 20, elements=st.integers(0, 6)))
def test_figures_are_scikit_learns_however_rows_belong_to_donors(truth, predicted, donor):
    accuracy, macro_f1 = _figures(truth, predicted, donor)
    expected = f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    assert accuracy.estimate == pytest.approx(accuracy_score(truth, predicted))
    assert macro_f1.estimate == pytest.approx(expected)
    assert 0 <= macro_f1.low <= macro_f1.high <= 1


def test_perfect_predictions_stay_perfect_in_every_resample():
    truth = np.array([0] * 30 + [1])  # the rare class is absent from a third of the resamples
    accuracy, macro_f1 = _figures(truth, truth)
    assert (accuracy.low, accuracy.high, macro_f1.low, macro_f1.high) == (1, 1, 1, 1)


def test_interval_is_that_of_a_plain_bootstrap():
    rng = np.random.default_rng(3)
    truth, right = np.zeros(200, int), rng.random(200) < 0.7
    accuracy, _ = _figures(truth, np.where(right, 0, 1))
    resampled = [rng.choice(right, 200).mean() for _ in range(1000)]
    assert (accuracy.low, accuracy.high) == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.015)


def test_rows_of_few_donors_give_a_wider_interval_than_as_many_donors():
    donor = np.repeat(np.arange(10), 20)
    right = donor % 2 == 0  # a donor is right throughout or wrong throughout
    wide, _ = _figures(np.zeros(200, int), np.where(right, 0, 1), donor)
    narrow, _ = _figures(np.zeros(200, int), np.where(right, 0, 1))
    assert (wide.high - wide.low) > 3 * (narrow.high - narrow.low)


def test_no_test_rows_are_refused():
    with pytest.raises(SpecError, match="at least one test row"):
        _figures(np.zeros(0, int), np.zeros(0, int))
