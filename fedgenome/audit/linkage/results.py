"""What attacks on released records found: plain facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fedgenome.audit.results import STATEMENT, Check, EpsilonBound, Interval

if TYPE_CHECKING:
    from fedgenome.audit.bounds.simultaneous import Worst
    from fedgenome.audit.linkage.leakage import Bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Linkage:
    """Whose a released record is, by every attacker at once.

    Attributes:
        worst: Re-identification rate (RR) of the worst attacker: the share of people whose own record it puts first.
        judged: People whose record was looked for, and is in the panel.
        decoys: People whose record was looked for, and is not.
        candidates: People of the panel among whom they were.
        fitted: People in both, whom the attackers were fitted to.
        others: Further people whom they were fitted to.
        told: Variants that the release tells of anybody.
        variants: Variants of the records.
        curve: Rank → share of people whose own record the worst attacker puts there or before.
        open_set: Share found where 1 % of decoys are taken for somebody; None where decoys are too few.
        sigmas: How far own pairs lie above pairs of two people, in σ of the latter.
        bits: What the worst attacker knows of the log₂ N that hide a person.
        epsilon: ε that it refutes; None with fewer than two decoys.
        strata: RR by ancestry or the like, of the worst attacker; intervals hold together.
        checks: Controls of the attacks.
        left_out: Attacker → why it was not run.
        among: Who the candidates are, in words that may leave.
        panel: The same for internal use, with names and numbers.
    """

    worst: Worst
    judged: int
    decoys: int
    candidates: int
    fitted: int
    others: int
    told: int
    variants: int
    curve: Mapping[int, float]
    open_set: Interval | None
    sigmas: Interval
    bits: Bits
    epsilon: EpsilonBound | None
    strata: Mapping[str, Interval] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    among: str = ""
    panel: str = ""

    @property
    def void(self) -> tuple[Check, ...]:
        """The controls that failed; empty for a valid audit."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def words(self) -> str:
        """The finding in one line."""
        found = f"{self.worst.vector} finds {self.worst.estimate:.1%} of {self.judged} people"
        bounds = f"at least {self.worst.low:.1%}, at most {self.worst.high:.1%}, {self.worst.level:.0%} sure"
        return f"{found} among {self.candidates:,} (chance {1 / self.candidates:.2%}; {bounds})"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        sizes = ("judged", "decoys", "candidates", "fitted", "others", "told", "variants")
        return {
            "statement": STATEMENT,
            "among": self.among,
            "panel": self.panel,
            **{name: getattr(self, name) for name in sizes},
            "void": bool(self.void),
            "worst": self.worst.to_json(),
            "curve": {str(rank): share for rank, share in self.curve.items()},
            "open_set": self.open_set.to_json() if self.open_set else None,
            "sigmas": self.sigmas.to_json(),
            "bits": asdict(self.bits),
            "epsilon": self.epsilon.to_json() if self.epsilon else None,
            "strata": {name: found.to_json() for name, found in self.strata.items()},
            "checks": [check.to_json() for check in self.checks],
            "left_out": dict(self.left_out),
        }
