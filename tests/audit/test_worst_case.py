"""The score over everything: what it counts, that its bounds are right, and that it tells data and model apart."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from fedgenome.audit import measure
from fedgenome.audit.bounds import effects
from fedgenome.audit.results import Audit, Canaries, Charged, EpsilonBound, Interval, NearCopies, merge
from fedgenome.audit.run import audit
from fedgenome.audit.scales import Values
from fedgenome.audit.worst_case import scored
from fedgenome.errors import SpecError

LEVEL = 0.8  # one false alarm in five is allowed, so that a lost level shows in few repetitions
REPETITIONS = 100
ALLOWED = 0.2 + 3 * (0.2 * 0.8 / REPETITIONS) ** 0.5  # a sound bound exceeds it once in 700 such tests
MEMBERS, CONTROLS, PEOPLE = 300, 90, 40


def near_copies(rng, leaked=0):
    """A tail of 40 people, so many of whom are in it because they were members."""
    drawn = PEOPLE - leaked
    found = leaked + drawn - int(rng.hypergeometric(CONTROLS, MEMBERS - leaked, drawn))
    chance = MEMBERS / (MEMBERS + CONTROLS)
    p = float(stats.hypergeom.sf(found - 1, MEMBERS + CONTROLS, MEMBERS, PEOPLE))
    share = Interval(estimate=found / PEOPLE, low=0, high=1, level=0.95, method="")
    told = {"rows": PEOPLE, "people": PEOPLE, "members": found, "chance": chance, "share": share}
    return NearCopies(name="near-copies", threat="", **told, p_value=p, best_p_value=0.0)


def made(rng, shift=0.0, leaked=0):
    """An audit of two attacks, the first of which finds ``shift``, and of near-copies."""
    found = [
        measure.of_scores(name, "", rng.normal(by, 1, MEMBERS), rng.normal(0, 1, CONTROLS))
        for name, by in (("first", shift), ("second", 0.0))
    ]
    sizes = {"members": MEMBERS, "controls": CONTROLS, "base": 0, "rows": 0, "samples": 0, "unit": "row"}
    tail = (near_copies(rng, leaked),)
    return Audit(attacks=tuple(found), near_copies=tail, checks=(), **sizes, detectable_auc=0.6)


@pytest.fixture(scope="module")
def clean():
    rng = np.random.default_rng(3)
    return [scored(made(rng), level=LEVEL).worst["data"] for _ in range(REPETITIONS)]


def test_without_a_leak_the_score_is_above_zero_as_seldom_as_it_says(clean):
    assert np.mean([each.low > 0 for each in clean]) <= ALLOWED
    assert np.mean([each.p_value < 0.2 for each in clean]) <= ALLOWED


def test_each_finding_has_its_level_and_a_search_that_nobody_pays_for_has_not(clean):
    """The broken twin: the smallest of the five p-values, uncorrected."""
    for k in range(5):
        p = [sorted(each.effects, key=lambda one: one.vector)[k].p_value for each in clean]
        assert np.mean([one < 0.2 for one in p]) <= ALLOWED
    assert np.mean([min(one.p_value for one in each.effects) < 0.2 for each in clean]) > ALLOWED + 0.1


def test_bounds_hold_what_is_true_of_ranking_hits_and_near_copies():
    """Normal scores one apart: AUC .760, hits at 10 % false alarms .389; 30 of 40 in the tail leaked."""
    rng, truth = np.random.default_rng(4), {"first, ranking": 0.5205, "first, hits at 10% false alarms": 0.2891}
    truth["near-copies"] = 30 / MEMBERS
    seen = [scored(made(rng, 1.0, 30), level=LEVEL).worst["data"].effects for _ in range(REPETITIONS)]
    for name, true in truth.items():
        found = [one for each in seen for one in each if one.vector == name]
        assert len(found) == REPETITIONS
        assert np.mean([one.low > true for one in found]) <= ALLOWED and np.mean([one.low > 0 for one in found]) > 0.8
        assert np.mean([one.high < true for one in found]) <= ALLOWED


def test_near_copies_have_a_lower_end_if_and_only_if_chance_would_hardly_bring_them():
    """Members among 40 people, from few to all, against the ends found one J at a time."""
    rng, tails = np.random.default_rng(5), effects.Tails(low=0.02, high=0.1)
    whole = near_copies(rng)
    for found in (0, 22, 30, 33, 35, 36, 37, 38, 40):
        p = float(stats.hypergeom.sf(found - 1, MEMBERS + CONTROLS, MEMBERS, PEOPLE))
        tail = dataclasses.replace(whole, members=found, p_value=p)
        seen = effects.copied("v", tail, MEMBERS, CONTROLS, tails)
        assert (seen.low > 0) == (p <= 0.02)
        laws = [stats.hypergeom(MEMBERS + CONTROLS - j, CONTROLS, PEOPLE - j) for j in range(found + 1)]
        allowed = [j for j, law in enumerate(laws) if law.sf(PEOPLE - found - 1) > 0.1]
        assert round(seen.high * MEMBERS) == max(allowed, default=0)


def test_hits_below_what_the_controls_support_are_refused():
    with pytest.raises(SpecError, match=r"300 unplanted or more at rate 0\.01, got 90"):
        effects.hits("v", np.zeros(50), np.zeros(90), effects.tails_for(1), 0.01)


def test_a_release_of_several_generators_is_scored_as_one(draw):
    rng = np.random.default_rng(0)
    members, controls = draw(120, rng), draw(90, rng)
    audits = {
        name: audit(members=members, controls=controls, synthetic=draw(100, rng), scale=Values(0, 8), rng=rng)
        for name in ("a", "b")
    }
    found = scored(merge(audits)).worst
    assert list(found) == ["data"] and len(found["data"].effects) == 10
    told = json.loads(json.dumps(scored(merge(audits)).to_json(), allow_nan=False))
    assert {"estimate", "low", "high", "p_value", "vector"} <= set(told["worst"]["data"])
    assert "a: near-copies" in {effect["vector"] for effect in told["worst"]["data"]["effects"]}


def test_sums_and_their_canaries_count_as_findings_on_the_rows_that_were_sent():
    bound = EpsilonBound(epsilon=1.4, delta=1e-5, level=0.95, method="", assumes="")
    canaries = Canaries(canaries=200, made=100, right=90.2, bound=bound, claimed=3.0, detectable=0.65)
    auc = Interval(estimate=0.6, low=0.5, high=0.7, level=0.95, method="")
    told = Charged(name="m", members=400, held=90, noise=1.0, auc=auc, p_value=0.02, detectable_auc=0.6)
    worst = scored(made(np.random.default_rng(6)), [dataclasses.replace(told, canaries=canaries)]).worst["data"]
    assert (worst.vector, worst.surest, len(worst.effects)) == ("m, canaries", "m, canaries", 7)
    assert worst.estimate == pytest.approx(0.804) and 0.4 < worst.low < 0.804 < worst.high < 1
    assert "m, ranking" in {one.vector for one in worst.effects}


def test_scores_that_were_not_kept_are_missed():
    whole = made(np.random.default_rng(7))
    lost = dataclasses.replace(whole.attacks[0], scores=None)
    with pytest.raises(SpecError, match="scores of every attack, first has none"):
        scored(dataclasses.replace(whole, attacks=(lost,)))
