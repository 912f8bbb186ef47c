"""What an audit found: plain facts, importable without SciPy or scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fedgenome.errors import SpecError

if TYPE_CHECKING:
    from fedgenome.audit.bounds.rates import LowRate
    from fedgenome.audit.bounds.simultaneous import Worst
    from fedgenome.audit.scores import Scores
    from fedgenome.audit.strata import Stratum

STATEMENT = "reads real members and controls; stays internal"
FALSE_ALARMS = 0.1  # the false-alarm rate at which hits are counted
GRID = (0.0, *np.geomspace(1e-3, 1.0, 61).tolist())  # false-alarm rates at which curves are kept
LEVEL = 0.95  # confidence of intervals and bounds, unless the caller says otherwise
Measure = Literal["AUC", "share of members", "RR"]  # what a check looks at; RR: re-identification rate
Of = Literal["data", "model"]  # what an attack is on: released rows, or a model that gives more than these
_RULE_OF_THREE = 3.0  # 0 of n seen: the rate is below 3/n with 95 % confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with a two-sided interval and the method that gave it."""

    estimate: float
    low: float
    high: float
    level: float
    method: str

    @property
    def words(self) -> str:
        """The estimate and the interval in brackets."""
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpsilonBound:
    """An empirical lower bound on ε: what was refuted, how surely, and what that rests on.

    It is never a guarantee: 0 means "nothing refuted", not "private".

    Attributes:
        epsilon: (ε', δ)-DP is refuted for every ε' below it; 0 if for none.
        delta: δ of the guarantee that was tested.
        level: Confidence, one-sided, every look at the data paid for.
        method: The bound, and how its thresholds were chosen.
        assumes: What must hold beyond the guarantee itself for the level to be true.
        mu: The μ of Gaussian DP behind it, where the bound goes by way of one.
    """

    epsilon: float
    delta: float
    level: float
    method: str
    assumes: str
    mu: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def smallest_false_alarms(controls: int) -> float:
    """Return 3/n: below this false-alarm rate n controls support no claim (DESIGN §7.8)."""
    return min(1.0, _RULE_OF_THREE / controls)


def controls_needed(rate: float) -> int:
    """Return the fewest controls that support a claim at false-alarm rate ``rate``: 3/n must not exceed it."""
    return math.ceil(_RULE_OF_THREE / rate - 1e-9)  # 3/.1 may come out a bit above 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What one attack achieved.

    Attributes:
        name: The attack.
        threat: What the attacker holds.
        of: Whether that is data or a model.
        auc: Area under the ROC curve; .5 is chance.
        hits: True-positive rate at 10 % false alarms; None if the controls are too few to say.
        p_value: Of "members score no higher than controls", one-sided Mann–Whitney, uncorrected.
        roc: True-positive rates at the false-alarm rates ``GRID``.
        rates: True-positive rates at low false-alarm rates; their intervals hold together.
        scores: What it said of members and of controls, of which bounds over several attacks are made; None if lost.
    """

    name: str
    threat: str
    auc: Interval
    hits: Interval | None
    p_value: float
    roc: tuple[float, ...]
    of: Of = "data"
    rates: tuple[LowRate, ...] = ()
    scores: tuple[Scores, Scores] | None = field(default=None, repr=False, compare=False)

    @property
    def groups(self) -> tuple[Scores, Scores]:
        """Scores of members and of controls.

        Raises:
            SpecError: they were not kept.
        """
        if self.scores is None:
            raise SpecError(f"expected the scores of every attack, {self.name} has none")
        return self.scores

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without the scores."""
        return {
            "name": self.name,
            "threat": self.threat,
            "of": self.of,
            "auc": self.auc.to_json(),
            "hits": self.hits.to_json() if self.hits else None,
            "false_alarms": FALSE_ALARMS,
            "p_value": self.p_value,
            "roc": {"false_alarms": list(GRID), "hits": list(self.roc)},
            "rates": [each.to_json() for each in self.rates],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NearCopies:
    """Who the people nearest to the table's closest rows are; see :mod:`fedgenome.audit.near_copies`.

    Attributes:
        name: The attack.
        threat: What the attacker holds.
        rows: Rows of the tail.
        people: Different people nearest to them.
        members: How many of those are members.
        chance: Members over members and controls: the share expected if nothing leaks.
        share: ``members`` over ``people``, with its interval.
        p_value: Of so many members or more by chance, exact, uncorrected.
        best_p_value: The p-value if all of them were members: below it this tail cannot go.
    """

    name: str
    threat: str
    rows: int
    people: int
    members: int
    chance: float
    share: Interval
    p_value: float
    best_p_value: float

    @property
    def words(self) -> str:
        """The finding in words."""
        who = f"{self.members} of the {self.people} people nearest to the table's {self.rows} closest rows are members"
        chance = f"({self.chance:.0%} by chance), p = {self.p_value:.2g}"
        return f"{who} {chance}; so many people allow {self.best_p_value:.2g} at best"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canaries:
    """How guessing went who of the canaries was in, from the release alone.

    Attributes:
        canaries: Canaries with a coin.
        made: Guesses made.
        right: Noisy number of right ones.
        bound: The ε that they refute.
        claimed: The plan's ε; None where it claims none.
        detectable: Share of right guesses at which some ε above 0 would be refuted with 80 % power, noise left out.
    """

    canaries: int
    made: int
    right: float
    bound: EpsilonBound
    claimed: float | None
    detectable: float

    @property
    def refuted(self) -> bool:
        """Whether the claimed ε is too small to be true."""
        return self.claimed is not None and self.bound.epsilon > self.claimed

    @property
    def words(self) -> str:
        """The finding in words."""
        right = f"of {self.made} guesses about {self.canaries} canaries {max(0, round(self.right))} are right"
        power = f"{self.detectable:.0%} right would refute ε = 0 with 80 % power"
        if self.bound.epsilon == 0:
            return f"{right}, which refutes no ε; {power}"
        return f"{right}: ε is at least {self.bound.epsilon:.3g} ({self.bound.level:.0%} sure)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """An attack of which only noised sums of counts left the sites.

    Attributes:
        name: The method that asked for them, and whose rows it sent.
        threat: What the attacker holds.
        members: Noisy number of members that were scored.
        held: Noisy number of held donors that were.
        noise: Standard deviation of every count.
        auc: Area under the ROC curve by bins, ties half; None where noise leaves too few to say.
        p_value: Of "members lie no nearer than held donors", one-sided, uncorrected; 1 without an AUC.
        detectable_auc: What would be found above chance with 80 % power at 5 %; 1 without an AUC.
        canaries: What guessing who of the canaries is in says of ε; None where there are none.
    """

    name: str
    members: float
    held: float
    noise: float
    auc: Interval | None
    p_value: float
    detectable_auc: float
    threat: str = "synthetic data only"
    canaries: Canaries | None = None

    @property
    def words(self) -> str:
        """The finding in words."""
        who = f"about {max(0, round(self.members)):,} members and {max(0, round(self.held)):,} held donors"
        noisy = f"counts noised with standard deviation {self.noise:.3g}"
        if self.auc is None:
            return f"{self.name}: {who} are too few to say anything ({noisy})"
        return f"{self.name}: AUC {self.auc.words} of {who} ({noisy})"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One control and whether it came out as it must.

    Attributes:
        kind: ``positive`` must be found; ``negative`` and ``blind`` must be at chance.
        attack: The attack it controls, or the blind attacker's name.
        seen: What it scored.
        passed: Whether ``rule`` holds.
        rule: What had to hold, in words.
        measure: What ``seen`` is.
    """

    kind: Literal["positive", "negative", "blind"]
    attack: str
    seen: Interval
    passed: bool
    rule: str
    measure: Measure = "AUC"

    @property
    def words(self) -> str:
        """What it scored, with the interval."""
        return f"{self.measure} {self.seen.words}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """All attacks and checks of one run.

    Attributes:
        attacks: One result per attack that ranks people.
        near_copies: What lies near the table's closest rows; one finding a table.
        checks: Positive, negative and blind controls.
        members: Donors that were trained on.
        controls: Control donors that were evaluated.
        base: Donors of the control base.
        rows: Rows of the table attacked; 0 for a model that makes none.
        samples: Rows that GAN-leaks drew on.
        unit: What one "donor" is: a donor, or a row.
        detectable_auc: AUC that the attacks together find above chance with 80 % power.
        worst: The worst case of what is released, by ``data`` and ``model``; see :mod:`fedgenome.audit.worst_case`.
        strata: Attacks by class, site and such; see :mod:`fedgenome.audit.strata`.
    """

    attacks: tuple[Attack, ...]
    near_copies: tuple[NearCopies, ...]
    checks: tuple[Check, ...]
    members: int
    controls: int
    base: int
    rows: int
    samples: int
    unit: str
    detectable_auc: float
    worst: Mapping[str, Worst] = field(default_factory=dict)
    strata: tuple[Stratum, ...] = ()

    @property
    def void(self) -> tuple[Check, ...]:
        """The checks that failed; empty for a valid audit."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def tests(self) -> int:
        """How many p-values there are: each is multiplied by it."""
        return len(self.attacks) + len(self.near_copies)

    @property
    def smallest_false_alarms(self) -> float:
        """Smallest false-alarm rate that these controls support a claim about."""
        return smallest_false_alarms(self.controls)

    def to_json(self) -> dict[str, Any]:
        """Return everything a report shows, as plain JSON values."""
        sizes = {name: getattr(self, name) for name in ("members", "controls", "base", "rows", "samples", "unit")}
        return {
            "statement": STATEMENT,
            **sizes,
            "smallest_false_alarms": self.smallest_false_alarms,
            "detectable_auc": self.detectable_auc,
            "void": bool(self.void),
            "attacks": [attack.to_json() for attack in self.attacks],
            "near_copies": [found.to_json() for found in self.near_copies],
            "checks": [check.to_json() for check in self.checks],
            "worst": {of: found.to_json() for of, found in self.worst.items()},
            "strata": [stratum.to_json() for stratum in self.strata],
        }


def merge(audits: Mapping[str, Audit]) -> Audit:
    """Return the audits of several generators of one release as one: attacks and checks named by generator.

    All were run on the same members, controls and base. Power is the weakest audit's, and the number of
    attacks counts them all, so that p-values are corrected for every attack on the release. What is found over
    all attacks at once (worst case, strata) is left out: it has to be made of the whole.
    """
    first = next(iter(audits.values()))
    return replace(
        first,
        attacks=tuple(replace(a, name=f"{label}: {a.name}") for label, each in audits.items() for a in each.attacks),
        near_copies=tuple(
            replace(n, name=f"{label}: {n.name}") for label, each in audits.items() for n in each.near_copies
        ),
        checks=tuple(replace(c, attack=f"{label}: {c.attack}") for label, each in audits.items() for c in each.checks),
        rows=min((each.rows for each in audits.values() if each.rows), default=0),
        samples=min((each.samples for each in audits.values() if each.samples), default=0),
        detectable_auc=max(each.detectable_auc for each in audits.values()),
        worst={},
        strata=(),
    )
