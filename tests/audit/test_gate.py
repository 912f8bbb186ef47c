import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from fedgenome.audit.gate import Chance, Limit, Policy, judge
from fedgenome.audit.results import Canaries, Charged, EpsilonBound, Interval
from fedgenome.audit.run import STANDARD, audit
from fedgenome.audit.scales import Values
from fedgenome.audit.strata import Stratum
from fedgenome.audit.worst_case import scored

DEFAULT = Policy()
NEVER = Chance(least=1e-300, reason="none")


def _run(members, controls, table, seed=0):
    rng = np.random.default_rng(seed)
    return audit(members=members, controls=controls, synthetic=table, scale=Values(0, 8), rng=rng)


@pytest.fixture
def clean(draw):
    rng = np.random.default_rng(20)
    return _run(draw(560, rng), draw(140, rng), draw(500, rng))


def _released(draw, change, repetitions=40):
    rng = np.random.default_rng(21)
    for _ in range(repetitions):
        members, controls, table = draw(560, rng), draw(140, rng), draw(300, rng)
        yield judge(_run(members, controls, change(table, members)), DEFAULT).released


def test_gate_releases_what_does_not_leak(draw):
    """40 audits: at most 5 % + 2 standard errors withheld (1.9 % of 1,000: experiments/audit_levels)."""
    assert np.mean(list(_released(draw, lambda table, members: table))) >= 0.95 - 2 * (0.95 * 0.05 / 40) ** 0.5


def test_gate_withholds_copies_of_three_members_in_ten(draw, copying):
    assert not any(_released(draw, lambda table, members: copying(table, members, 0.3), repetitions=10))


def test_release_says_not_refuted_and_at_what_power(clean):
    verdict = judge(clean, DEFAULT)
    assert verdict.released
    assert verdict.word == "released"
    assert not verdict.reasons
    assert verdict.evidence_for[0].startswith("not refuted")
    assert "AUC of 0.60 (about 19% of the members copied verbatim) with 80 % power" in verdict.evidence_for[1]


def _with_high(audit_, name, high):
    """The audit with one upper bound of its first attack moved."""
    first, *rest = audit_.attacks
    moved = dataclasses.replace(first, **{name: dataclasses.replace(getattr(first, name), high=high)})
    return dataclasses.replace(audit_, attacks=(moved, *rest))


@pytest.mark.parametrize(("name", "most", "words"), [("auc", 0.65, "AUC"), ("hits", 0.35, "hits at 10 % false alarms")])
def test_each_limit_withholds_alone_and_exactly_above_it(clean, name, most, words):
    assert judge(_with_high(clean, name, most), DEFAULT).released
    withheld = judge(_with_high(clean, name, most + 1e-9), DEFAULT)
    assert not withheld.released
    assert len(withheld.reasons) == 1
    assert words in withheld.reasons[0]
    assert f"{most:g} (" in withheld.reasons[0]


def test_near_copies_withhold_alone_below_their_limit_and_are_told_as_chance_above(clean):
    (found,) = clean.near_copies
    told = {}
    for p in (1e-3, 0.99e-3):
        moved = dataclasses.replace(clean, near_copies=(dataclasses.replace(found, p_value=p),))
        told[p] = judge(moved, DEFAULT)
    assert told[1e-3].released and "near-copies" in told[1e-3].evidence_against[0]
    (reason,) = told[0.99e-3].reasons
    assert reason.startswith("near-copies: ") and "p = 0.00099; so many people allow" in reason
    assert any(line.startswith("near-copies: ") and "by chance" in line for line in judge(clean, DEFAULT).evidence_for)


@pytest.mark.parametrize("kind", ["positive", "negative", "blind"])
def test_failed_control_voids_the_audit_unless_the_policy_does_without(clean, kind):
    failed = tuple(dataclasses.replace(c, passed=c.passed and c.kind != kind) for c in clean.checks)
    void = dataclasses.replace(clean, checks=failed)
    strict, lax = judge(void, DEFAULT), judge(void, Policy(require_controls=False))
    assert not strict.released
    assert strict.reasons[0].startswith(f"the audit is void: {kind} control")
    assert lax.released
    assert lax.evidence_against[0] == strict.reasons[0]


def test_too_few_controls_for_a_claim_withhold(draw):
    rng = np.random.default_rng(0)
    verdict = judge(_run(draw(560, rng), draw(40, rng), draw(500, rng)), Policy(auc=Limit(most=1, reason="none")))
    assert not verdict.released
    assert "27 evaluated controls support no claim below a rate of 0.11" in verdict.reasons[0]


def test_no_audit_is_no_release_unless_the_policy_does_without():
    strict, lax = judge(None, DEFAULT), judge(None, Policy(require_controls=False))
    assert (strict.released, lax.released, lax.public()["audited"]) == (False, True, False)
    assert strict.reasons == lax.evidence_against == ("not audited: too few donors among members or controls",)


def test_a_leak_below_the_limits_is_named_as_evidence_against(draw, copying):
    rng = np.random.default_rng(8)
    members, controls = draw(560, rng), draw(140, rng)
    lenient = Policy(**dict.fromkeys(("auc", "hits"), Limit(most=1, reason="none")), near_copies=NEVER)
    verdict = judge(_run(members, controls, copying(draw(500, rng), members, 0.3)), lenient)
    assert verdict.released
    tests = len(STANDARD) + 1
    assert len(verdict.evidence_against) == tests
    assert all(f"over {tests} attacks" in line for line in verdict.evidence_against)
    assert sum("above chance" in line for line in verdict.evidence_against) == len(STANDARD)


def test_public_form_holds_no_number_read_off_people(draw, copying, clean):
    rng = np.random.default_rng(9)
    members = draw(300, rng)
    other = _run(members, draw(140, rng), copying(draw(500, rng), members, 0.05))
    public = judge(clean, DEFAULT).public()
    assert judge(other, DEFAULT).public() | {"verdict": "released"} == public  # only the word may differ
    assert public["statement"].startswith("the audit is internal and not differentially private")
    assert public["decision"] == "ε covers the model, not the decision to publish it"


def test_no_verdict_says_private(draw, copying, clean):
    rng = np.random.default_rng(9)
    members = draw(100, rng)
    leak = _run(members, draw(140, rng), copying(draw(500, rng), members, 1.0))
    for verdict in (judge(clean, DEFAULT), judge(leak, DEFAULT), judge(None, DEFAULT)):
        words = json.dumps([verdict.to_json(), verdict.public()]).replace("not differentially private", "")
        assert "private" not in words.lower()
        assert "safe" not in words.lower()


def test_changed_limit_needs_its_own_reason_and_unknown_keys_are_refused():
    with pytest.raises(ValidationError, match=r"auc\.reason\s+Field required"):
        Policy.model_validate({"auc": {"most": 0.9}})
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Policy.model_validate({"acu": {"most": 0.9, "reason": "x"}})


def test_reading_a_policy_loads_neither_scipy_nor_scikit_learn():
    code = "import sys, fedgenome.audit.gate; sys.exit(bool({'scipy', 'sklearn', 'torch', 'flwr'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_score_is_evidence_for_what_was_not_found_or_against_and_judges_nothing(draw, copying, clean):
    line = judge(scored(clean), DEFAULT).evidence_for[-1]
    assert (
        line.startswith("worst case of the data released, 0 where nothing leaks") and "no lower bound above 0" in line
    )
    rng = np.random.default_rng(8)
    members, controls = draw(560, rng), draw(140, rng)
    leaking = scored(_run(members, controls, copying(draw(500, rng), members, 0.3)))
    lenient = Policy(**dict.fromkeys(("auc", "hits"), Limit(most=1, reason="none")), near_copies=NEVER)
    verdict = judge(leaking, lenient)
    assert verdict.released and verdict.evidence_against[-1].startswith("worst case of the data released")
    assert "at least 0." in verdict.evidence_against[-1] and "worst" not in json.dumps(verdict.public())


def test_a_stratum_that_an_attack_tells_apart_is_evidence_against(clean):
    aucs = {
        name: Interval(estimate=0.7, low=low, high=0.9, level=0.99, method="m")
        for name, low in (("a", 0.51), ("b", 0.5))
    }
    stratum = Stratum(column="site", value="Graz", members=40, controls=12, aucs=aucs)
    (line,) = judge(dataclasses.replace(clean, strata=(stratum,)), DEFAULT).evidence_against
    assert (
        line
        == "site Graz: a tells members from controls above chance: AUC 0.700 [0.510, 0.900], over all strata at once"
    )


def charged(auc=0.52, high=0.58, p=0.3, name="membership of marginals"):
    interval = Interval(estimate=auc, low=2 * auc - high, high=high, level=0.95, method="m")
    return Charged(name=name, members=400, held=100, noise=2, auc=interval, p_value=p, detectable_auc=0.58)


def test_sums_alone_release_with_numbers_that_may_leave():
    verdict = judge(None, DEFAULT, (charged(),))
    assert verdict.released and verdict.audited and not verdict.reads_people
    told = verdict.public()
    assert told["charged"][0]["auc"]["high"] == 0.58 and "ε covers it" in told["statement"]
    assert "would be found with 80 % power" in told["evidence_for"][0]


@pytest.mark.parametrize(
    ("found", "missed", "words"),
    [
        (charged(high=0.66), (), "upper end exceeds the limit 0.65"),
        (dataclasses.replace(charged(), auc=None), (), "too few to say anything"),
        (charged(), ("cvae",), "cvae generates rows, and no method of kind membership audits it"),
    ],
)
def test_sums_withhold_above_the_limit_without_power_or_with_a_generator_missed(found, missed, words):
    verdict = judge(None, DEFAULT, (found,), missed)
    assert not verdict.released and not verdict.evidence_for
    assert words in " ".join(verdict.reasons)


def test_sums_do_not_make_up_for_people_nor_people_for_sums(clean):
    assert judge(clean, DEFAULT, (charged(),)).released
    verdict = judge(clean, DEFAULT, (charged(auc=0.7, high=0.8, p=1e-6),))
    assert not verdict.released and verdict.reads_people
    assert any("p = 1e-06 over 1 audits by sums" in line for line in verdict.evidence_against)
    assert "reasons" not in verdict.public()


def test_canaries_that_refute_the_claimed_epsilon_withhold():
    bound = EpsilonBound(epsilon=1.4, delta=1e-5, level=0.95, method="one run", assumes="coins")
    told = {"canaries": 200, "made": 100, "right": 90.0, "bound": bound, "detectable": 0.65}
    false, fair = (dataclasses.replace(charged(), canaries=Canaries(**told, claimed=e)) for e in (1.0, 2.0))
    assert judge(None, DEFAULT, (fair,)).released
    verdict = judge(None, DEFAULT, (false,))
    assert not verdict.released and "ε is at least 1.4 (95% sure); 1 is claimed" in verdict.reasons[0]


def test_a_third_try_is_the_last_whatever_it_shows():
    assert judge(None, DEFAULT, (charged(),), withheld=2).released
    verdict = judge(None, DEFAULT, (charged(),), withheld=3)
    assert not verdict.released and not verdict.evidence_for
    assert verdict.reasons[0].startswith("3 earlier attempts were withheld, the policy allows 2")
