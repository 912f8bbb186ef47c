"""Each record's own false-alarm rate, of thresholds from few shadows that do not hold it."""

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from fedgenome.audit.membership import lira
from fedgenome.audit.membership.evidence import Evidence
from fedgenome.audit.shadows import draws
from fedgenome.audit.signals import Signals

SPREADS, EACH = np.array([0.1, 1.0, 10.0]), 8000
RATE = 0.05
APART = 3 * (RATE * (1 - RATE) / EACH) ** 0.5  # a sound rate is farther off with a chance of .3 %


def _of_margins(margin):
    """Return signals of which only margins count."""
    none = np.zeros_like(margin)
    return Signals(loss=none, margin=margin, confidence=none, entropy=none, modified_entropy=none, correct=none)


def _nothing_leaks(outside, seed):
    """Return evidence of 8,000 records of each spread, each OUT of ``outside`` shadows and as often IN."""
    rng, records = np.random.default_rng(seed), len(SPREADS) * EACH
    inside, group = draws.inside(records, 2 * outside, Fraction(1, 2), rng)
    margins = rng.normal(0, 1, (2 * outside + 1, records)) * np.repeat(SPREADS, EACH) + rng.normal(0, 5, records)
    target, shadows = _of_margins(margins[0]), _of_margins(margins[1:])
    return Evidence(label=np.zeros(records, int), target=target, shadows=shadows, inside=inside, group=group)


def _alarms(score, outside, rate=RATE):
    """Return the false-alarm rates of records, spread by spread."""
    scores = score(_nothing_leaks(outside, seed=outside))
    return (scores.reshape(len(SPREADS), EACH) >= stats.norm.isf(rate)).mean(1)


def _plugged_in(evidence):
    """The broken twin: each record's own mean and deviation too, but taken for the truth."""
    out = np.where(evidence.inside, np.nan, evidence.shadows.margin)
    return (evidence.target.margin - np.nanmean(out, 0)) / np.nanstd(out, 0, ddof=1)


@pytest.mark.parametrize("outside", [2, 4, 8, 16, 32])
def test_every_record_has_the_stated_rate_of_its_own_and_moments_plugged_in_have_not(outside):
    assert _alarms(lira.calibrated, outside) == pytest.approx(RATE, abs=APART)
    assert (_alarms(_plugged_in, outside) > RATE + APART / 2).all()


def test_one_deviation_for_all_spares_some_records_and_raises_others_rates():
    narrow, _, wide = _alarms(lira.offline, 8)
    assert narrow == 0 and wide > 3 * RATE


def test_rate_holds_far_out_where_moments_plugged_in_have_ten_times_as_much():
    """At .001 and eight shadows; 24,000 records, three standard errors."""
    far = 3 * (0.001 / (EACH * len(SPREADS))) ** 0.5
    assert _alarms(lira.calibrated, 8, 0.001).mean() == pytest.approx(0.001, abs=far)
    assert _alarms(_plugged_in, 8, 0.001).mean() > 0.01


def test_margins_that_never_differ_give_finite_scores():
    evidence = _nothing_leaks(4, seed=0)
    evidence.shadows.margin[:] = 0.0
    assert np.isfinite(lira.calibrated(evidence)).all()
