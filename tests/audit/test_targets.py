import numpy as np
import pytest

from fedgenome.audit.scales import Codes, Values
from fedgenome.audit.targets import Records, independent, joined, people, scaled
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError


def test_rows_without_donors_are_units_of_their_own():
    assert Records(x=np.zeros((3, 2)), label=np.zeros(3, int)).units.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("x", np.zeros(3), r"two dimensions \(rows, genes\), got shape=\(3,\)"),
        ("label", np.zeros(2, int), "a label per row, got rows=3"),
        ("donor", np.zeros(4, int), "a donor per row, got rows=3"),
    ],
)
def test_records_that_do_not_fit_are_refused(field, value, rule):
    given = {"x": np.zeros((3, 2)), "label": np.zeros(3, int), "donor": np.zeros(3, int)}
    with pytest.raises(SpecError, match=rule):
        Records(**{**given, field: value})


def test_a_loss_that_is_no_number_is_the_largest():
    rows = Records(x=np.array([[0.0, 1.0]] * 3), label=np.zeros(3, int))

    def noisy(x, label):
        return np.array([np.nan, 7.0, np.inf])

    for losses, seen in ((Values(0, 1).losses(noisy), rows), (Codes(2).losses(noisy), Codes(2).of(rows))):
        assert losses(seen).tolist() == [1e30, 7.0, 1e30]


def test_of_takes_all_rows_of_the_donors():
    records = Records(x=np.arange(4.0)[:, None], label=np.zeros(4, int), donor=np.array([5, 7, 5, 9]))
    assert records.of(np.array([5, 9])).x.ravel().tolist() == [0, 2, 3]


def test_scaled_maps_the_public_range_and_clips_and_fills():
    x = np.array([[2.0, 6.0, 4.0], [-9.0, 99.0, np.nan]])
    out = scaled(Records(x=x, label=np.zeros(2, int)), 2, 6)
    assert out.x.tolist() == [[0, 1, 0.5], [0, 1, 0]]
    assert np.isnan(x[1, 2])  # the caller's array is left alone


def test_scaling_to_an_empty_range_is_refused():
    with pytest.raises(SpecError, match="low < high, got low=1, high=1"):
        scaled(Records(x=np.zeros((1, 1)), label=np.zeros(1, int)), 1, 1)


def test_empty_slots_are_nobodys():
    shard = Shard(
        x=np.arange(6.0, dtype=np.float32).reshape(3, 2),
        label=np.array([0, 1, 1]),
        donor=np.array([0, 1, 1]),
        donors=("a", "b"),
        mask=np.array([True, False, True]),
    )
    assert people(shard).owner.tolist() == [0, 1]
    assert people(shard).x.tolist() == [[0, 1], [4, 5]]


def test_independent_rows_mix_genes_within_a_class_only():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 50)
    base = Records(x=np.repeat([[0.0], [10.0]], 50, axis=0) + rng.random((100, 3)), label=label)
    out = independent(base, 400, rng)
    assert ((out.x >= 10) == (out.label == 1)[:, None]).all()
    assert all(np.isin(out.x[:, g], base.x[:, g]).all() for g in range(3))
    assert not (out.x[:, None] == base.x).all(axis=2).any()  # nobody of the base is reproduced


def test_joined_groups_are_different_people_in_the_groups_order():
    first, second = (
        Records(x=np.full((len(donor), 1), at), label=np.full(len(donor), at), donor=np.array(donor))
        for at, donor in enumerate(([5, 3, 5], [3, 9]))
    )
    both = joined(first, second)
    assert both.owner.tolist() == [1, 0, 1, 2, 3]
    assert both.x[:, 0].tolist() == both.label.tolist() == [0, 0, 0, 1, 1]


def test_sequences_are_compared_whatever_their_label_and_their_losses_are_of_the_codes():
    rows = Records(x=np.array([[0.0, 3.0], [4.0, 1.0]]), label=np.array([1, 2]))
    hot = Codes(4).of(rows)
    assert hot.x.tolist() == [[1, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1, 0, 0]] and hot.label.tolist() == [0, 0]
    read = []
    Codes(4).losses(lambda x, label: read.append(x) or np.zeros(len(x)))(hot)
    assert read[0].tolist() == [[0, 3], [4, 1]]
