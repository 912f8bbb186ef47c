"""The gate of a masked release: it leaves if no attacker, by its upper bound, finds more people than the policy lets.

No limit is on strata: a small one has a wide interval. One that is surely above the limit is told as evidence.
"""

from __future__ import annotations

from fedgenome.audit.gate import Policy, Verdict, tried
from fedgenome.audit.linkage.results import Linkage

ROWS = (
    "rows of real people are released, masked: no differential privacy covers them, whatever ε is stated for the list"
)
_AT = "the re-identification rate (RR) of the worst attacker"


def judge(found: Linkage | None, policy: Policy, withheld: int = 0) -> Verdict:
    """Return the verdict on a masked release.

    Args:
        found: What attackers found; None: nobody could be looked for.
        policy: Its ``linkage`` is the limit on the upper bound of the RR.
        withheld: Earlier attempts at this release that were withheld.
    """
    if found is None:
        missing = ("not audited: no rows of people are at hand, or too few are in the panel",)
        reasons = missing if policy.require_controls else ()
        verdict = _verdict(policy, reasons, () if reasons else missing, (), audited=False)
    else:
        verdict = _verdict(policy, _against(found, policy), _seen(found, policy), _for(found, policy), audited=True)
    return tried(verdict, withheld)


def _verdict(
    policy: Policy, reasons: tuple[str, ...], against: tuple[str, ...], evidence: tuple[str, ...], *, audited: bool
) -> Verdict:
    return Verdict(
        released=not reasons,
        audited=audited,
        reasons=reasons,
        evidence_against=against,
        evidence_for=() if reasons else evidence,
        policy=policy,
        alerts=(ROWS,),
    )


def _against(found: Linkage, policy: Policy) -> tuple[str, ...]:
    reasons = [
        f"the audit is void: {check.kind} control of {check.attack} has {check.words}; it must pass: {check.rule}"
        for check in found.void
    ]
    if found.worst.high > policy.linkage.most:
        seen = f"upper bound {found.worst.high:.3f} of {_AT} exceeds the limit {policy.linkage.most:g}"
        reasons.append(f"{seen} ({policy.linkage.reason}): {found.words}")
    return tuple(reasons)


def _seen(found: Linkage, policy: Policy) -> tuple[str, ...]:
    above = found.worst.p_value < 1 - found.worst.level
    lines = [f"an attacker finds people above chance: {found.words}"] * above
    if found.bits.proven > 0:
        hidden = f"of the {found.bits.prior:.2f} bits that hide a person among {found.candidates:,}"
        lines.append(f"{found.bits.proven:.2f} {hidden} are given away, on average ({found.worst.vector})")
    for stratum, rate in found.strata.items():
        if rate.low > policy.linkage.most:
            lines.append(f"{stratum}: RR {rate.words} is above {policy.linkage.most:g}, over all strata at once")
    return tuple(lines)


def _for(found: Linkage, policy: Policy) -> tuple[str, ...]:
    least = 1 - (1 - found.worst.level) ** (1 / found.judged)
    limit = f"not refuted: the upper bound {found.worst.high:.3f} of {_AT} is within its limit {policy.linkage.most:g}"
    power = f"{found.judged} people were looked for: a rate below {least:.2g} could not be told from none"
    return (f"{limit}; {power}; a better panel or attacker may find more",)
