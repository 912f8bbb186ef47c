"""The gate: a policy, a verdict, and what of it may leave (DESIGN §7.10, §8).

Soundness of the limits: a release needs *every* upper bound below its limit. The bounds are the upper
ends of 95 % intervals, so a generator that truly exceeds a limit on any attack is released with a
chance of about 2.5 % at most (an intersection–union test: nothing to correct for several attacks).
Near-copies have no such bound: they withhold if chance would hardly bring them, and passing says only
what p the table's size and the controls allowed. The score over everything (``Audit.worst``) and strata
are told, not judged: a limit on the largest upper end would be the same limits at another level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fedgenome.audit.results import STATEMENT, Attack, Audit, Charged, Check, NearCopies
from fedgenome.card import DECISION
from fedgenome.strict import Strict

if TYPE_CHECKING:
    from fedgenome.audit.bounds.simultaneous import Worst

NOT_DP = "the audit is internal and not differentially private: it " + STATEMENT
PAID = "the verdict was taken from sums of counts that the plan paid for: ε covers it"
_CHANCE = 0.5  # AUC


class Limit(Strict):
    """A limit on an upper confidence bound, and why it is there."""

    most: float = Field(gt=0, le=1, description="largest upper end of the 95 % interval that passes")
    reason: str = Field(min_length=1, description="why this number")


class Chance(Strict):
    """A limit on how unlikely a finding may be if nothing leaks, and why it is there."""

    least: float = Field(gt=0, lt=1, description="smallest p-value that passes, findings counted in")
    reason: str = Field(min_length=1, description="why this number")


class Attempts(Strict):
    """A limit on how often a release is tried, and why it is there."""

    most: int = Field(ge=0, description="runs of one name withheld before, beyond which nothing is released")
    reason: str = Field(min_length=1, description="why this number")


class Policy(Strict):
    """What an audit must show before a release leaves.

    The defaults come from the intervals' widths with 560 members and 140 controls (94 evaluated), as
    ``python -m experiments.audit_levels.run`` measures them: 1,000 draws of members and controls by chance
    among real patients of whom nothing leaked, three attacks: two on the table, one on the model. The upper end for
    the AUC is then .563 on average and above .65 in .2 % of draws; that for the hit rate .22 on average and above .35
    in .4 %. Of 1,000 whole audits 2.8 % were withheld: 1.2 % by an AUC, 1.2 % by hits, .9 % by a control of the
    attacks, .1 % by near-copies, whose level is exact. So a generator that does not leak passes, while AUC .72 or
    hits .58, published values for attacks on a conditional autoencoder, do not.
    Every further attack may withhold too: the command says how many audits are withheld over all there are.
    Smaller audits have wider intervals and are withheld more often (46 evaluated controls: 7 % and 14 %
    of draws above the limits); under 30 evaluated controls nothing passes.
    """

    auc: Limit = Limit(
        most=0.65,
        reason="between .56, the mean bound of 94 controls without a leak, and .72, a published CVAE's AUC",
    )
    hits: Limit = Limit(
        most=0.35,
        reason="94 controls without a leak bound it at .22 on average and above .35 less than once in 200 audits",
    )
    near_copies: Chance = Chance(
        least=1e-3,
        reason="a table without a leak is below it once in a thousand audits",
    )
    linkage: Limit = Limit(
        most=0.1,
        reason="one person in ten found by name is the most that a release of people's rows may risk; 29 people, none "
        "of them found, are the fewest that show it",
    )
    attempts: Attempts = Attempts(
        most=2,
        reason="a generator above a limit passes an attempt with a chance of 2.5 % at most: three, with 7.5 %",
    )
    require_controls: bool = Field(
        default=True,
        description="withhold if there are too few control donors to audit, or a control of the audit fails",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a candidate is released, and why.

    Attributes:
        released: True if nothing speaks against it under the policy.
        audited: False if there were too few donors for an audit.
        reasons: Why it is withheld; empty if released. Any one suffices.
        evidence_against: What the audit found that speaks against release.
        evidence_for: What the audit did not find, and how large it would have had to be.
        policy: The policy applied.
        charged: What noised and paid sums of counts said; may leave.
        reads_people: Whether anything else was read.
        alerts: What a reader of the verdict must know of the release; public.
    """

    released: bool
    audited: bool
    reasons: tuple[str, ...]
    evidence_against: tuple[str, ...]
    evidence_for: tuple[str, ...]
    policy: Policy
    charged: tuple[Charged, ...] = ()
    reads_people: bool = True
    alerts: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """``released`` or ``withheld``."""
        return "released" if self.released else "withheld"

    def to_json(self) -> dict[str, Any]:
        """Return everything, for ``internal/``: the sentences hold numbers from real members."""
        return {
            "verdict": self.word,
            "audited": self.audited,
            "statement": STATEMENT if self.reads_people else PAID,
            **({"alerts": list(self.alerts)} if self.alerts else {}),
            **{name: list(getattr(self, name)) for name in ("reasons", "evidence_against", "evidence_for")},
            "charged": [each.to_json() for each in self.charged],
            "policy": self.policy.model_dump(mode="json"),
        }

    def public(self) -> dict[str, Any]:
        """Return what ``release/audit.json`` holds: no number that was read off a person without noise and a price."""
        told = {
            "verdict": self.word,
            "audited": self.audited,
            "statement": NOT_DP if self.reads_people else PAID,
            "policy": self.policy.model_dump(mode="json"),
        }
        if self.alerts:
            told["alerts"] = list(self.alerts)
        if self.charged:
            told["charged"] = [each.to_json() for each in self.charged]
        if self.reads_people:
            return told | {"decision": DECISION}
        return told | {name: list(getattr(self, name)) for name in ("reasons", "evidence_against", "evidence_for")}


def judge(
    audit: Audit | None,
    policy: Policy,
    charged: tuple[Charged, ...] = (),
    missed: tuple[str, ...] = (),
    withheld: int = 0,
) -> Verdict:
    """Return the verdict on ``audit`` and ``charged`` under ``policy``: released only if every limit holds.

    Without either (too few donors) nothing is released unless the policy does without controls.

    Args:
        audit: Attacks on real people's records, where they are at hand.
        policy: The limits.
        charged: What sums of counts said.
        missed: Generators of the release that nothing in ``charged`` is about.
        withheld: Earlier attempts at this release that were withheld.
    """
    return tried(_judge(audit, policy, charged, missed), withheld)


def tried(verdict: Verdict, withheld: int) -> Verdict:
    """Return ``verdict``, or that there were too many attempts before: ``withheld``."""
    attempts = verdict.policy.attempts
    if withheld <= attempts.most:
        return verdict
    seen = f"{withheld} earlier attempts were withheld, the policy allows {attempts.most}"
    reasons = (*verdict.reasons, f"{seen} ({attempts.reason})")
    return replace(verdict, released=False, reasons=reasons, evidence_for=())


def _judge(audit: Audit | None, policy: Policy, charged: tuple[Charged, ...], missed: tuple[str, ...]) -> Verdict:
    if audit is None and not charged:
        missing = ("not audited: too few donors among members or controls",)
        return _verdict(policy, audited=False, reasons=missing if policy.require_controls else (), against=missing)
    if audit is None:
        return replace(_on_sums(charged, policy, missed), reads_people=False)
    return _both(_on_people(audit, policy), _on_sums(charged, policy, ())) if charged else _on_people(audit, policy)


def _both(one: Verdict, other: Verdict) -> Verdict:
    """Return the verdict on two audits: axes do not make up for one another."""
    lines = {n: getattr(one, n) + getattr(other, n) for n in ("reasons", "evidence_against", "evidence_for")}
    return replace(one, released=one.released and other.released, charged=other.charged, **lines)


def _on_sums(charged: tuple[Charged, ...], policy: Policy, missed: tuple[str, ...]) -> Verdict:
    unseen = [f"{label} generates rows, and no method of kind membership audits it" for label in missed]
    reasons = unseen if policy.require_controls else []
    against: list[str] = []
    evidence: list[str] = []
    for each in charged:
        if each.auc is None and policy.require_controls:
            reasons.append(each.words)
        elif each.auc is not None and each.auc.high > policy.auc.most:
            reasons.append(f"{each.words}: its upper end exceeds the limit {policy.auc.most:g} ({policy.auc.reason})")
        if (seen := each.canaries) is not None and seen.refuted:
            reasons.append(f"{each.name}: {seen.words}; {seen.claimed:.3g} is claimed")
        elif seen is not None:
            evidence.append(f"{each.name}: {seen.words}")
        if each.auc is not None and each.p_value * len(charged) < 0.05:
            p = f"p = {min(1.0, each.p_value * len(charged)):.2g} over {len(charged)} audits by sums"
            against.append(f"{each.name} tells members from held donors above chance: AUC {each.auc.words}, {p}")
        evidence.append(f"{each.words}; an AUC of {each.detectable_auc:.2f} would be found with 80 % power")
    told = {"reasons": tuple(reasons), "against": tuple(against), "evidence": () if reasons else tuple(evidence)}
    return replace(_verdict(policy, audited=True, **told), charged=charged)


def _on_people(audit: Audit, policy: Policy) -> Verdict:
    void = tuple(_void(check) for check in audit.void)
    over = (reason for attack in audit.attacks for reason in _over(attack, audit, policy))
    copied = (reason for found in audit.near_copies for reason in _copied(found, len(audit.near_copies), policy))
    reasons = (*(void if policy.require_controls else ()), *over, *copied)
    every: tuple[Attack | NearCopies, ...] = (*audit.attacks, *audit.near_copies)
    found = (reason for attack in every for reason in _found(attack, audit.tests))
    scores = {_scored(of, worst): worst.low > 0 for of, worst in audit.worst.items()}
    against = (line for line, leaks in scores.items() if leaks)
    unseen = (line for line, leaks in scores.items() if not leaks)
    return _verdict(
        policy,
        audited=True,
        reasons=reasons,
        against=(*found, *_exposed(audit), *against, *void),
        evidence=(*_for(audit, policy, not reasons), *unseen),
    )


def _verdict(
    policy: Policy, *, audited: bool, reasons: tuple[str, ...], against: tuple[str, ...], evidence: tuple[str, ...] = ()
) -> Verdict:
    return Verdict(
        released=not reasons,
        audited=audited,
        reasons=reasons,
        evidence_against=tuple(each for each in against if each not in reasons),
        evidence_for=evidence,
        policy=policy,
    )


def _void(check: Check) -> str:
    return f"the audit is void: {check.kind} control of {check.attack} has {check.words}; it must pass: {check.rule}"


def _over(attack: Attack, audit: Audit, policy: Policy) -> list[str]:
    reasons = []
    if attack.auc.high > policy.auc.most:
        seen = f"upper bound {attack.auc.high:.3f} of the AUC exceeds the limit {policy.auc.most:g}"
        reasons.append(f"{attack.name}: {seen} ({policy.auc.reason})")
    if attack.hits is None:
        few = f"{audit.controls} evaluated controls support no claim below a rate of {audit.smallest_false_alarms:.2g}"
        reasons.append(f"{attack.name}: {few}; the limit at 10 % false alarms needs at least 30")
    elif attack.hits.high > policy.hits.most:
        seen = f"upper bound {attack.hits.high:.3f} of the hits at 10 % false alarms exceeds {policy.hits.most:g}"
        reasons.append(f"{attack.name}: {seen} ({policy.hits.reason})")
    return reasons


def _copied(found: NearCopies, tests: int, policy: Policy) -> list[str]:
    if min(1.0, found.p_value * tests) >= policy.near_copies.least:
        return []
    return [f"{found.name}: {found.words}; the limit is {policy.near_copies.least:g} ({policy.near_copies.reason})"]


def _found(attack: Attack | NearCopies, tests: int) -> list[str]:
    p = min(1.0, attack.p_value * tests)
    if p >= 0.05:
        return []
    if isinstance(attack, NearCopies):
        return [f"{attack.name}: {attack.words}; p = {p:.2g} over {tests} attacks"]
    seen = f"AUC {attack.auc.words}, p = {p:.2g} over {tests} attacks"
    return [f"{attack.name} tells members from controls above chance: {seen}"]


def _scored(of: str, worst: Worst) -> str:
    return f"worst case of the {of} released, 0 where nothing leaks and 1 where everybody is told apart: {worst.words}"


def _exposed(audit: Audit) -> list[str]:
    """Return strata in which an attack works, by intervals that all hold together."""
    return [
        f"{stratum.name}: {attack} tells members from controls above chance: AUC {auc.words}, over all strata at once"
        for stratum in audit.strata
        for attack, auc in stratum.aucs.items()
        if auc.low > _CHANCE
    ]


def _for(audit: Audit, policy: Policy, released: bool) -> tuple[str, ...]:
    limits = (
        f"not refuted: every upper bound is within its limit (AUC {policy.auc.most:g}, "
        f"hits at 10 % false alarms {policy.hits.most:g})"
    )
    effect = audit.detectable_auc
    power = (
        f"with {audit.members} members and {audit.controls} controls the audit finds an attack AUC of {effect:.2f} "
        f"(about {2 * effect - 1:.0%} of the members copied verbatim) with 80 % power; smaller leaks can go unseen"
    )
    chance = [f"{found.name}: {found.words}" for found in audit.near_copies if found.p_value * audit.tests >= 0.05]
    fired = [check for check in audit.checks if check.kind == "positive" and check.passed]
    copies = [f"{check.attack} found planted copies with {check.measure} {check.seen.estimate:.2f}" for check in fired]
    return (*([limits] if released else []), power, *chance, *copies)
