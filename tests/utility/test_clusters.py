import numpy as np

from fedgenome.audit.targets import Records
from fedgenome.utility import clusters
from fedgenome.utility.metrics import Settings

GENES = 40


def _draw(n, rng, apart=6.0, order=(0, 1, 2)):
    """Three classes; class k is raised in genes 4·order[k] to 4·order[k] + 3."""
    label = rng.integers(0, 3, n)
    high = np.arange(GENES) // 4 == np.array(order)[label][:, None]
    return Records(x=rng.normal(apart * high, 1), label=label)


def test_good_table_leads_to_the_same_clusters_labels_and_markers():
    rng = np.random.default_rng(0)
    found = clusters.measure(_draw(90, rng), _draw(80, rng), rng)
    assert [round(value.value, 6) for value in found.values()] == [1, 1, 1]


def test_noise_leads_to_none_of_them():
    rng = np.random.default_rng(1)
    found = clusters.measure(_draw(200, rng, apart=0), _draw(200, rng), rng, Settings(markers=4))
    assert abs(found["cluster_labels"].value) < 0.1 and found["marker_overlap"].value < 0.5


def test_classes_named_the_wrong_way_round_keep_clusters_and_lose_markers():
    rng = np.random.default_rng(2)
    found = clusters.measure(_draw(90, rng, order=(1, 2, 0)), _draw(80, rng), rng, Settings(markers=4))
    assert found["cluster_agreement"].value == found["cluster_labels"].value == 1  # an index that is blind to names
    assert found["marker_overlap"].value == 0


def test_markers_by_hand_are_those_raised_most():
    x = np.zeros((8, 20))
    group = np.arange(8) < 4
    x[:4, 7], x[:4, 3], x[4:, 5] = 5, 2, 9  # gene 5 is lowered in the group
    x += np.random.default_rng(3).normal(0, 0.1, x.shape)
    assert clusters.markers(x, group, 50) == {3, 7}  # a tenth of 20 genes
    assert clusters.markers(x, group, 1) <= {3, 7}


def test_absent_classes_are_named_and_single_classes_have_no_clusters():
    rng = np.random.default_rng(4)
    truth, table = _draw(60, rng), _draw(60, rng)
    lacking = clusters.measure(table.rows(table.label != 2), truth, rng)
    assert "1 of 3 classes" in lacking["marker_overlap"].note and lacking["marker_overlap"].value <= 2 / 3
    alone = clusters.measure(table, truth.rows(truth.label == 0), rng)
    assert "single class" in alone["cluster_labels"].note and "no real class" in alone["marker_overlap"].note
    few = clusters.measure(table.rows(np.arange(2)), truth, rng)
    assert "fewer table rows" in few["cluster_agreement"].note


def test_rows_that_are_all_the_same_are_no_fault():
    rng = np.random.default_rng(5)
    same = Records(x=np.ones((30, GENES)), label=np.arange(30) % 3)
    found = clusters.measure(same, _draw(60, rng), rng)
    assert found["cluster_agreement"].note == "no gene varies in the table rows"
    few = Records(x=same.x.copy(), label=same.label)  # two different rows, three classes
    few.x[0, 0] = 5.0
    assert np.isfinite(clusters.measure(few, _draw(60, rng), rng)["cluster_agreement"].value)
