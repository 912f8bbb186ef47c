import dataclasses
import json

import numpy as np
import pytest

from fedgenome.audit.bounds import effects
from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.bounds.effects import Tails, tails_for
from fedgenome.audit.bounds.one_run import Guesses
from fedgenome.audit.bounds.simultaneous import worst
from fedgenome.errors import SpecError

LEVEL = 0.8  # one false alarm in five is allowed, so that a lost level shows in few repetitions
REPETITIONS = 300
ALLOWED = 0.2 + 3 * (0.2 * 0.8 / REPETITIONS) ** 0.5  # a sound bound exceeds it once in 700 such tests


def _vectors(rng, leak, tails, n=200):
    """Return five vectors of an audit; the first attack finds ``leak`` more members than controls."""
    rates = [(0.2 + leak, 0.2), (0.2, 0.2), (0.5, 0.5)]
    counts = (
        Counts(hits=rng.binomial(n, hit), members=n, false_alarms=rng.binomial(n, alarm), controls=n)
        for hit, alarm in rates
    )
    bits = rng.exponential(1 / np.log(2), n)
    guesses = Guesses(canaries=n, made=n, right=int(rng.binomial(n, 0.5)))
    attacks = [
        effects.advantage(name, each, tails) for name, each in zip(("lira", "rmia", "loss"), counts, strict=True)
    ]
    return [
        *attacks,
        effects.stands_out("exposure", bits, 2.0, tails),
        effects.guessing("one-run", guesses, 0.0, tails),
    ]


def _audits(leak=0.0):
    rng = np.random.default_rng(6)
    return [worst(_vectors(rng, leak, tails_for(5, LEVEL)), LEVEL) for _ in range(REPETITIONS)]


def test_without_a_leak_the_worst_case_is_above_zero_as_seldom_as_it_says():
    """The point estimate, a maximum, is above 0 nearly always: it is no evidence."""
    seen = _audits()
    assert np.mean([each.low > 0 for each in seen]) <= ALLOWED
    assert np.mean([each.p_value < 0.2 for each in seen]) <= ALLOWED
    assert np.mean([each.estimate > 0 for each in seen]) > 0.9


def test_lower_ends_that_do_not_share_the_error_are_above_zero_too_often():
    """The broken twin: every vector at the whole 20 %, and its smallest p-value uncorrected."""
    rng = np.random.default_rng(6)
    seen = [_vectors(rng, 0.0, Tails(low=1 - LEVEL, high=1 - LEVEL)) for _ in range(REPETITIONS)]
    assert np.mean([min(each.p_value for each in audit) < 0.2 for audit in seen]) > ALLOWED + 0.1
    assert np.mean([max(each.low for each in audit) > 0 for audit in seen]) > ALLOWED


def test_bounds_hold_the_true_worst_effect_on_either_side():
    seen = _audits(leak=0.3)
    assert np.mean([each.low > 0.3 for each in seen]) <= ALLOWED
    assert np.mean([each.high < 0.3 for each in seen]) <= ALLOWED
    assert np.mean([each.low > 0.1 for each in seen]) > 0.9
    assert {each.vector for each in seen} == {each.surest for each in seen} == {"lira"}


def test_worst_names_its_vector_and_keeps_all_in_order():
    seen = worst(_vectors(np.random.default_rng(7), 0.5, tails_for(5)))
    assert seen.effects[0].vector == seen.vector == "lira"
    assert [each.estimate for each in seen.effects] == sorted((each.estimate for each in seen.effects), reverse=True)
    assert seen.p_value == pytest.approx(min(1, 5 * min(each.p_value for each in seen.effects)))
    assert json.loads(json.dumps(seen.to_json(), allow_nan=False))["effects"][0]["vector"] == "lira"


def test_nothing_found_names_no_surest_vector():
    tails = tails_for(1)
    none = worst([effects.advantage("lira", Counts(hits=5, members=50, false_alarms=9, controls=50), tails)])
    assert (none.estimate, none.low, none.surest, none.p_value) == (0, 0, None, pytest.approx(0.93, abs=0.05))


def test_vectors_left_out_after_their_ends_were_made_are_refused():
    five = _vectors(np.random.default_rng(7), 0.5, tails_for(5))
    with pytest.raises(SpecError, match="lira with the tails of 4 vectors"):
        worst(five[:4])
    with pytest.raises(SpecError, match="effects of different names"):
        worst([*five[:4], dataclasses.replace(five[0])])
    with pytest.raises(SpecError, match="at least one effect"):
        worst([])
