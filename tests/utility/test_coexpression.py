import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from fedgenome.audit.targets import Records
from fedgenome.utility import coexpression

R = hnp.arrays(np.float64, 12, elements=st.sampled_from([-0.9, -0.6, -0.5, 0.0, 0.3, 0.5, 0.6, 0.9]))


def _records(x):
    return Records(x=x, label=np.zeros(len(x), int))


def test_edges_by_hand():
    real = np.array([0.8, -0.8, 0.6, 0.1, 0.0])
    made = np.array([0.9, 0.9, 0.2, 0.6, 0.0])  # one right, one of the wrong sign, one missed, one invented
    found = {name: value.value for name, value in coexpression.edges(made, real, 0.5).items()}
    assert found == pytest.approx(
        {"coexpression_recall_0.5": 1 / 3, "coexpression_precision_0.5": 1 / 3, "coexpression_rate_0.5": 3 / 5}
    )


@given(R, R)
def test_edges_are_those_of_a_loop_over_pairs(made, real):
    ours, theirs = ({(k, np.sign(r)) for k, r in enumerate(side) if abs(r) > 0.5} for side in (made, real))
    found = coexpression.edges(made, real, 0.5)
    for name, among in (("recall", theirs), ("precision", ours)):
        value = found[f"coexpression_{name}_0.5"]
        assert value.value == len(ours & theirs) / len(among) if among else "no pair" in value.note


def test_correlations_are_scipys_and_zero_for_a_constant_gene_whatever_the_rounding():
    x = np.random.default_rng(2).random((30, 4)) @ np.random.default_rng(3).random((4, 4))
    x[:, 0] = 0.1  # thirty times 0.1 has a mean that is not 0.1
    found = coexpression.correlations(x)
    assert found[1, 3] == pytest.approx(stats.pearsonr(x[:, 1], x[:, 3])[0])
    assert found[0].tolist() == [0, 0, 0, 0]


def test_independent_genes_lose_every_edge_and_a_copy_keeps_them_all():
    rng = np.random.default_rng(4)
    real = rng.normal(size=(400, 1)) + 0.3 * rng.normal(size=(400, 6))
    kept, lost = (coexpression.measure(_records(x), _records(real)) for x in (real[::-1], rng.permuted(real, axis=0)))
    assert kept["coexpression_recall_0.7"].value == kept["coexpression_precision_0.7"].value == 1
    assert lost["coexpression_recall_0.5"].value == 0
    assert "no pair" in lost["coexpression_precision_0.5"].note
    assert lost["correlation_error"].value > 0.8 > 0.01 > kept["correlation_error"].value


def test_one_gene_has_no_pairs():
    x = np.random.default_rng(5).random((9, 1))
    found = coexpression.measure(_records(x), _records(x))
    assert all(np.isnan(value.value) and "two genes" in value.note for value in found.values())


def test_many_genes_are_compared_on_an_even_subset(monkeypatch):
    monkeypatch.setattr(coexpression, "_MOST_GENES", 3)
    assert coexpression.subset(9).tolist() == [0, 4, 8]
    assert coexpression.subset(2).tolist() == [0, 1]
