import numpy as np
import pytest

from fedgenome.audit.targets import Records
from fedgenome.utility import discriminator

NAMES = [metric.name for metric in discriminator.METRICS]


def _draw(n, rng, shift=0.0):
    return Records(x=rng.normal(shift, 1, (n, 5)), label=np.zeros(n, int))


def test_alike_rows_cannot_be_told_and_shifted_rows_can(quick):
    rng = np.random.default_rng(0)
    truth = _draw(100, rng)
    alike, apart = (discriminator.measure(_draw(300, rng, by), truth, rng, quick) for by in (0.0, 4.0))
    for name in NAMES:
        assert abs(alike[name].value - 0.5) < 0.17  # four standard errors of an AUC of 100 against 100
        assert apart[name].value > 0.99


def test_a_copy_of_a_donors_rows_is_not_recognised_by_the_donor(quick):
    rng = np.random.default_rng(1)
    donors = np.repeat(np.arange(10), 20)
    # Every donor is a point of its own: with rows of a donor in all folds, the donor would tell real from synthetic.
    truth = Records(x=rng.normal(size=(10, 5))[donors] * 10, label=np.zeros(200, int), donor=donors)
    table = Records(x=rng.normal(size=(200, 5)) * 10, label=np.zeros(200, int))
    apart = Records(x=truth.x, label=truth.label)  # the same rows, each its own donor
    told, leaked = (
        discriminator.measure(table, side, rng, quick)["discriminator_forest"].value for side in (truth, apart)
    )
    assert leaked > 0.95 > told


def test_too_few_rows_or_donors_are_named(quick):
    rng = np.random.default_rng(2)
    few = discriminator.measure(_draw(3, rng), _draw(50, rng), rng, quick)
    one = Records(x=rng.random((50, 5)), label=np.zeros(50, int), donor=np.zeros(50, int))
    assert "fewer than 4 rows" in few[NAMES[0]].note
    assert "fewer than 2 real donors" in discriminator.measure(_draw(50, rng), one, rng, quick)[NAMES[1]].note


def test_sides_are_taken_to_equal_sizes(quick):
    rng = np.random.default_rng(3)
    found = discriminator.measure(_draw(2000, rng), _draw(60, rng), rng, quick)
    assert found[NAMES[0]].value == pytest.approx(0.5, abs=0.21)
