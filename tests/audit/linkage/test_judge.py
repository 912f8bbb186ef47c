"""A masked release leaves by the worst attacker's upper bound, never by an estimate, and says what it is."""

from dataclasses import replace

import numpy as np
import pytest

from fedgenome.audit.gate import Limit, Policy
from fedgenome.audit.linkage import measures
from fedgenome.audit.linkage.judge import ROWS, judge
from fedgenome.audit.linkage.leakage import Bits
from fedgenome.audit.linkage.results import Linkage
from fedgenome.audit.results import Check, Interval


def found(hits, people):
    """Return what is found where ``hits`` of ``people`` are."""
    scores = np.zeros((people, people))
    scores[np.arange(people), (np.arange(people) + (np.arange(people) >= hits)) % people] = 1
    worst = measures.worst_found({"matcher": scores}, np.arange(people), np.random.default_rng(0))
    some = Interval(estimate=1.0, low=0.9, high=1.1, level=0.95, method="")
    sizes = {"judged": people, "decoys": 0, "candidates": people, "fitted": 9, "others": 9, "told": 3, "variants": 9}
    bits = Bits(prior=8.0, claimed=1.0, proven=0.5)
    return Linkage(worst=worst, **sizes, curve={}, open_set=None, sigmas=some, bits=bits, epsilon=None)


@pytest.mark.parametrize(("hits", "people", "word"), [(0, 29, "released"), (0, 28, "withheld"), (4, 60, "withheld")])
def test_the_upper_bound_decides(hits, people, word):
    verdict = judge(found(hits, people), Policy())
    assert verdict.word == word and verdict.audited
    assert (
        bool(verdict.evidence_for) == verdict.released and ("upper bound" in str(verdict.reasons)) != verdict.released
    )


def test_another_limit_lets_more_leave_and_few_attempts():
    policy = Policy(linkage=Limit(most=0.5, reason="few care"))
    assert judge(found(4, 60), policy).released
    assert not judge(found(4, 60), policy, withheld=3).released


def test_a_control_that_fails_withholds():
    some = Interval(estimate=0.1, low=0.0, high=0.2, level=0.95, method="")
    failed = Check(kind="positive", attack="matcher", seen=some, passed=False, rule="above .5", measure="RR")
    verdict = judge(replace(found(0, 60), checks=(failed,)), Policy())
    assert not verdict.released and "the audit is void: positive control of matcher has RR 0.100" in verdict.reasons[0]


@pytest.mark.parametrize(("needed", "word"), [(True, "withheld"), (False, "released")])
def test_what_was_not_audited_leaves_only_where_the_policy_needs_no_audit(needed, word):
    verdict = judge(None, Policy(require_controls=needed))
    assert verdict.word == word and not verdict.audited


def test_the_public_verdict_says_that_rows_leave_and_no_number_of_people():
    public = judge(found(2, 60), Policy()).public()
    assert public["alerts"] == [ROWS] and not {"reasons", "evidence_against", "evidence_for"} & set(public)


def test_a_stratum_that_is_surely_above_the_limit_is_evidence():
    rate = Interval(estimate=0.5, low=0.3, high=0.7, level=0.975, method="")
    verdict = judge(replace(found(0, 60), strata={"AFR": rate}), Policy())
    assert verdict.released and any(line.startswith("AFR: RR 0.500") for line in verdict.evidence_against)
