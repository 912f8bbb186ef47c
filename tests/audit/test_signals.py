import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from fedgenome.audit.signals import of_logits
from fedgenome.errors import SpecError

LN2, LN4_3 = np.log(2), np.log(4 / 3)


@pytest.mark.parametrize(
    ("label", "loss", "margin", "modified", "correct"),
    [(0, LN2, 0.0, LN2 / 2 + LN4_3 / 2, 1), (1, 2 * LN2, -np.log(3), 1.5 * LN2 + LN2 / 2 + LN4_3 / 4, 0)],
)
def test_signals_of_a_half_and_two_quarters_are_the_published_formulas(label, loss, margin, modified, correct):
    seen = of_logits(np.log([[0.5, 0.25, 0.25]]) + 3, np.array([label]))
    assert seen.loss == pytest.approx(loss)
    assert seen.margin == pytest.approx(margin)
    assert seen.confidence == pytest.approx(np.exp(-loss))
    assert seen.entropy == pytest.approx(1.5 * LN2)
    assert seen.modified_entropy == pytest.approx(modified)
    assert seen.correct == correct


@settings(max_examples=40)
@given(hnp.arrays(np.float64, (3, 4, 5), elements=st.floats(-8, 8)), st.integers(0, 4))
def test_signals_are_those_of_softmax_in_any_shape(logits, y):
    seen, p = of_logits(logits, np.full(4, y)), special.softmax(logits, axis=-1)
    others = np.delete(p, y, -1)
    assert seen.loss == pytest.approx(-np.log(p[..., y]), abs=1e-9)
    assert seen.margin == pytest.approx(np.log(p[..., y] / others.sum(-1)), abs=1e-9)
    assert seen.entropy == pytest.approx(special.entr(p).sum(-1), abs=1e-9)
    published = -(1 - p[..., y]) * np.log(p[..., y]) - (others * np.log(1 - others)).sum(-1)
    assert seen.modified_entropy == pytest.approx(published, abs=1e-9)
    assert (seen.correct == (logits[..., y] == logits.max(-1))).all()


def test_answers_beyond_all_digits_of_probability_are_told_apart():
    seen = of_logits(np.array([[50.0, 0, 0], [60.0, 0, 0], [-2000.0, 0, 0]]), np.zeros(3, int))
    assert seen.margin == pytest.approx([50 - LN2, 60 - LN2, -2000 - LN2])
    assert 0 < seen.loss[1] < seen.loss[0] < 1e-20
    assert 0 < seen.modified_entropy[1] < seen.modified_entropy[0] < 1e-18
    assert np.isfinite([seen.loss, seen.entropy, seen.modified_entropy]).all()


@pytest.mark.parametrize(
    ("logits", "label", "message"),
    [
        (np.zeros((2, 1)), [0, 0], "two classes or more"),
        (np.zeros((2, 3)), [0], "a label a row"),
        (np.zeros((2, 3)), [0, 3], r"labels in 0 … 2"),
        (np.full((2, 3), np.inf), [0, 0], "finite logits"),
    ],
)
def test_what_is_no_answer_is_refused(logits, label, message):
    with pytest.raises(SpecError, match=message):
        of_logits(logits, np.array(label))
