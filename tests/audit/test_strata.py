"""Attacks within classes and sites: a leak that the whole hides, levels over all strata, who is too few."""

import dataclasses
import json

import numpy as np
import pytest

from fedgenome.audit import measure
from fedgenome.audit.bounds.ranking import detectable_auc
from fedgenome.audit.results import Audit
from fedgenome.audit.run import audit
from fedgenome.audit.scales import Values
from fedgenome.audit.scores import Scores
from fedgenome.audit.strata import FEWEST, stratified
from fedgenome.audit.targets import Records
from fedgenome.errors import SpecError

SITES = np.array(["Graz", "Linz", "Vienna", "Wels"])


def group(rng, n, shift=0.0):
    """Scores of n people at four sites; at Wels, the smallest, ``shift`` larger."""
    site = SITES[rng.choice(4, n, p=[0.3, 0.3, 0.25, 0.15])]
    rows = rng.normal(0, 1, n) + shift * (site == "Wels")
    return Scores(rows=rows, donor=np.arange(n), strata={"site": site, "state": np.full(n, "AT")})


def made(rng, shift=0.0, members=400, controls=120, attacks=("first", "second")):
    attacks = tuple(
        measure.of_rows(name, "", group(rng, members, shift * (name == "first")), group(rng, controls))
        for name in attacks
    )
    sizes = {"members": members, "controls": controls, "base": 0, "rows": 0, "samples": 0, "unit": "row"}
    return Audit(attacks=attacks, near_copies=(), checks=(), **sizes, detectable_auc=0.6)


def test_a_leak_in_one_site_is_seen_there_and_hardly_over_all():
    found = stratified(made(np.random.default_rng(1), shift=2.5))
    assert found.strata[0].name == "site Wels" and found.strata[0].worst[0] == "first"
    assert found.strata[0].worst[1].low > 0.5
    assert found.attacks[0].auc.low < 0.6 < 0.8 < found.strata[0].worst[1].estimate
    assert all(auc.low < 0.5 < auc.high for each in found.strata[1:] for auc in each.aucs.values())


def test_intervals_hold_together_and_would_not_each_at_the_whole_level():
    """50 audits at a joint .8, less 3 standard errors; the broken twin gives each of the four intervals .8."""
    rng = np.random.default_rng(2)
    audits = [made(rng, attacks=("first",)) for _ in range(50)]

    def held(level):
        strata = (stratified(each, level).strata for each in audits)
        return np.mean([all(a.low <= 0.5 <= a.high for s in each for a in s.aucs.values()) for each in strata])

    twin = 1 - 4 * 0.2  # shared by four: each misses with chance .2
    assert held(0.8) >= 0.8 - 3 * (0.8 * 0.2 / 50) ** 0.5 > held(twin)


def test_strata_of_few_are_named_and_say_nothing():
    found = stratified(made(np.random.default_rng(3), controls=40)).strata
    small = [each for each in found if not each.aucs]
    assert small and all(min(each.members, each.controls) < FEWEST for each in small)
    assert all(f"are too few (at least {FEWEST} of each)" in each.words for each in small)
    assert detectable_auc(FEWEST, FEWEST, 1) == pytest.approx(0.83, abs=0.005)
    assert found[-1] in small and {each.value for each in found} == set(SITES)


def test_a_column_of_which_everybody_has_one_value_is_left_out():
    assert {each.column for each in stratified(made(np.random.default_rng(4))).strata} == {"site"}


def test_a_donor_counts_in_every_stratum_that_it_has_rows_of_by_those_rows():
    scores = Scores(
        rows=np.array([1.0, 3.0, 5.0]), donor=np.array([0, 0, 1]), strata={"type": np.array(["B", "T", "T"])}
    )
    assert scores.within("type", "T").tolist() == [3.0, 5.0] and scores.within("type", "B").tolist() == [1.0]
    assert scores.by_donor().tolist() == [2.0, 5.0]


def test_strata_follow_people_through_the_audit(draw):
    rng = np.random.default_rng(5)

    def told(n):
        rows = draw(n, rng)
        kind = np.where(rows.label == 0, "B", "T")
        return Records(x=rows.x, label=rows.label, donor=np.arange(n) // 2, strata={"type": kind})

    members, controls = told(120), told(120)
    found = stratified(audit(members=members, controls=controls, synthetic=draw(80, rng), scale=Values(0, 8), rng=rng))
    sizes = {each.value: each.members for each in found.strata}
    assert sizes == {k: len(np.unique(members.owner[members.strata["type"] == k])) for k in ("B", "T")}
    told_all = json.loads(json.dumps(found.to_json(), allow_nan=False))["strata"]
    assert {one["value"] for one in told_all} == {"B", "T"} and set(told_all[0]["aucs"]) == {
        "closest-record",
        "gan-leaks",
    }


def test_scores_that_were_not_kept_are_missed_and_wrong_shapes_refused():
    whole = made(np.random.default_rng(6))
    lost = dataclasses.replace(whole, attacks=(dataclasses.replace(whole.attacks[0], scores=None),))
    with pytest.raises(SpecError, match="scores of every attack, first has none"):
        stratified(lost)
    with pytest.raises(SpecError, match="a site per row"):
        Records(x=np.zeros((2, 1)), label=np.zeros(2, int), strata={"site": np.array(["Graz"])})
