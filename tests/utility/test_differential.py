import numpy as np
import pytest
from scipy import stats

from fedgenome.audit.targets import Records
from fedgenome.utility import differential

NAMES = [metric.name for metric in differential.METRICS]


def _draw(rng, raised, n=60, genes=40):
    """Two classes; class 1 is raised by 3 in the genes of ``raised``."""
    label = np.arange(n) % 2
    shift = np.isin(np.arange(genes), raised) * 3.0
    return Records(x=rng.normal(label[:, None] * shift, 1, (n, genes)), label=label)


def _naive(x, group, level):
    """Benjamini and Hochberg's step-up, by a loop, on scipy's Welch test."""
    found = [stats.ttest_ind(column[group], column[~group], equal_var=False) for column in x.T]
    p = np.array([one.pvalue for one in found])
    last = max((k for k in range(1, len(p) + 1) if np.sort(p)[k - 1] <= level * k / len(p)), default=0)
    cut = np.sort(p)[last - 1] if last else -1
    return [int(np.sign(one.statistic)) if one.pvalue <= cut else 0 for one in found]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_calls_are_those_of_a_step_up_by_hand(seed):
    rng = np.random.default_rng(seed)
    table = _draw(rng, range(seed * 4), n=24)
    group = table.label == 1
    assert differential.calls(table.x, group, 0.05).tolist() == _naive(table.x, group, 0.05)


def test_rates_by_hand():
    rng = np.random.default_rng(3)
    # Real: genes 0-9 differ. Table: 5-9 as in the real rows, 0-4 the other way round, 10-12 are invented.
    truth, table = _draw(rng, range(10)), _draw(rng, range(5, 13))
    table.x[:, :5] -= 3 * table.label[:, None]
    found = differential.measure(table, truth)
    calls = [differential.calls(side.x, side.label == 1, 0.05) for side in (truth, table)]
    assert calls[0].tolist() == [1] * 10 + [0] * 30 and calls[1].tolist() == [-1] * 5 + [1] * 8 + [0] * 27
    assert [found[name].value for name in NAMES] == pytest.approx([5 / 10, 3 / 30, 10 / 40])


def test_false_calls_on_noise_are_as_rare_as_the_level_says():
    rng = np.random.default_rng(4)
    any_call = [
        bool(differential.calls(rng.normal(size=(30, 50)), np.arange(30) % 3 == 0, 0.2).any()) for _ in range(200)
    ]
    low, high = stats.binom.ppf(
        [5e-4, 1 - 5e-4], 200, 0.2
    )  # under the null alone BH's rate is the level; false alarm 1e-3
    assert low <= sum(any_call) <= high


def test_a_class_that_the_table_lacks_is_found_in_nothing_and_named():
    rng = np.random.default_rng(5)
    truth = _draw(rng, range(10))
    found = differential.measure(truth.rows(truth.label == 0), truth)
    assert found["de_tpr"].value == found["de_fpr"].value == 0
    assert found["de_tpr"].note == "2 of 2 classes have too few rows in the table"


def test_constant_genes_and_hopeless_truths_are_no_fault():
    x = np.zeros((8, 3))
    x[4:, 1] = 1.0  # constant in each class, and different
    group = np.arange(8) >= 4
    assert differential.calls(x, group, 0.05).tolist() == [0, 1, 0]
    assert differential.calls(x, ~group, 0.05).tolist() == [0, -1, 0]
    table = Records(x=x, label=group.astype(int))
    alone = differential.measure(table, Records(x=x, label=np.zeros(8, int)))
    assert all("no real class" in alone[name].note for name in NAMES)
    flat = differential.measure(table, Records(x=np.zeros((8, 3)), label=group.astype(int)))
    assert "no gene differs" in flat["de_tpr"].note and flat["de_fpr"].value == 1 / 3
