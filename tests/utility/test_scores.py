import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from fedgenome.errors import SpecError
from fedgenome.utility import scores

CLASSES = hnp.arrays(np.int64, 20, elements=st.integers(0, 4))


def _answers(truth, predicted, donor=None, ranked=None):
    donor = np.arange(len(truth)) if donor is None else donor
    ranked = (predicted[:, None] == np.unique(truth)).astype(float) if ranked is None else ranked
    return scores.Answers(truth=truth, predicted=predicted, ranked=ranked, donor=donor)


def _figures(truth, predicted, donor=None, ranked=None):
    return scores.estimates(_answers(truth, predicted, donor, ranked), np.random.default_rng(0))


@settings(max_examples=25)
@given(CLASSES, CLASSES, hnp.arrays(np.int64, 20, elements=st.integers(0, 6)), st.integers(0, 9))
def test_figures_are_scikit_learns_however_rows_belong_to_donors(truth, predicted, donor, seed):
    ranked = np.random.default_rng(seed).integers(0, 4, (20, len(np.unique(truth)))) / 4  # with ties
    accuracy, macro_f1, auprc = _figures(truth, predicted, donor, ranked)
    expected = f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    each = [average_precision_score(truth == c, ranked[:, k]) for k, c in enumerate(np.unique(truth))]
    assert accuracy.estimate == pytest.approx(accuracy_score(truth, predicted))
    assert macro_f1.estimate == pytest.approx(expected)
    assert auprc.estimate == pytest.approx(np.mean(each))
    assert 0 <= macro_f1.low <= macro_f1.high <= 1 and 0 <= auprc.low <= auprc.high <= 1


def test_auprc_by_hand():
    # Falling scores .9 (right), .8 (wrong), .7 (right): ½ · 1 + ½ · 2/3; the other class, mirrored: 1 · 1/2.
    ranked = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    found = scores.points(_answers(np.array([0, 1, 0]), np.zeros(3, int), ranked=ranked))
    assert found[2] == pytest.approx((5 / 6 + 1 / 2) / 2)


def test_a_classifier_that_ranks_nothing_has_the_prevalence_as_auprc():
    truth = np.array([0] * 30 + [1] * 10)
    _, _, auprc = _figures(truth, np.zeros(40, int), ranked=np.zeros((40, 2)))
    assert auprc.estimate == pytest.approx(1 / 2)  # the mean of 3/4 and 1/4


def test_perfect_predictions_stay_perfect_in_every_resample():
    truth = np.array([0] * 30 + [1])  # the rare class is absent from a third of the resamples
    for figure in _figures(truth, truth):
        assert (figure.low, figure.high) == (1, 1)


def test_interval_is_that_of_a_plain_bootstrap():
    rng = np.random.default_rng(3)
    truth, right = np.zeros(200, int), rng.random(200) < 0.7
    accuracy, *_ = _figures(truth, np.where(right, 0, 1))
    resampled = [rng.choice(right, 200).mean() for _ in range(1000)]
    assert (accuracy.low, accuracy.high) == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.015)


def test_rows_of_few_donors_give_a_wider_interval_than_as_many_donors():
    donor = np.repeat(np.arange(10), 20)
    right = donor % 2 == 0  # a donor is right throughout or wrong throughout
    wide, *_ = _figures(np.zeros(200, int), np.where(right, 0, 1), donor)
    narrow, *_ = _figures(np.zeros(200, int), np.where(right, 0, 1))
    assert (wide.high - wide.low) > 3 * (narrow.high - narrow.low)


def test_no_test_rows_are_refused():
    with pytest.raises(SpecError, match="at least one test row"):
        _figures(np.zeros(0, int), np.zeros(0, int))
