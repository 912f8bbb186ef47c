"""The attacks on a classifier, what each needs, and what their scores achieve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedgenome.audit import measure
from fedgenome.audit.distance import per_donor
from fedgenome.audit.membership import lira, references, rmia, stacked, thresholds
from fedgenome.audit.membership.evidence import Evidence
from fedgenome.audit.results import Attack
from fedgenome.errors import require
from fedgenome.query import Array

QUERY = "query access to the classifier"
OTHERS = QUERY + ", and records that it never saw"
OFFLINE = QUERY + ", and shadows without the record"
ONLINE = QUERY + ", and shadows with and without the record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An attack.

    Attributes:
        score: Scores of the records, float64 (records,), larger for members.
        threat: What the attacker holds.
        population: Whether it compares with people whom no model saw.
    """

    score: Callable[[Evidence], Array]
    threat: str
    population: bool = False


ATTACKS: dict[str, Known] = {
    "loss": Known(score=references.loss, threat=QUERY),
    "correctness": Known(score=thresholds.correctness, threat=QUERY),
    "confidence": Known(score=thresholds.confidence, threat=ONLINE),
    "entropy": Known(score=thresholds.entropy, threat=ONLINE),
    "modified-entropy": Known(score=thresholds.modified_entropy, threat=ONLINE),
    "privacy-risk": Known(score=thresholds.privacy_risk, threat=ONLINE),
    "attack-P": Known(score=references.population, threat=OTHERS, population=True),
    "attack-R": Known(score=references.reference, threat=OFFLINE),
    "calibrated-loss": Known(score=references.calibrated, threat=OFFLINE),
    "LiRA-online": Known(score=lira.online, threat=ONLINE),
    "LiRA-offline": Known(score=lira.offline, threat=OFFLINE),
    "LiRA-calibrated": Known(score=lira.calibrated, threat=OFFLINE),
    "RMIA-online": Known(score=rmia.online, threat=ONLINE, population=True),
    "RMIA-offline": Known(score=rmia.offline, threat=OFFLINE, population=True),
    "stacked": Known(score=stacked.stacked, threat=ONLINE),
}


def scores(evidence: Evidence) -> dict[str, Array]:
    """Return every attack's scores of the records; those that need a population only where there is one."""
    given = evidence.population is not None
    return {name: known.score(evidence) for name, known in ATTACKS.items() if given or not known.population}


def judged(found: dict[str, Array], member: Array, donor: Array) -> tuple[Attack, ...]:
    """Return what scores achieved, by donor. Here membership is read for the first time.

    Args:
        found: Scores of the records, (records,), by attack.
        member: Whether the target was trained on a record, bool (records,): all of a donor's or none.
        donor: Whose record it is, int (records,).
    """
    mean = per_donor(member.astype(float), donor)
    require(bool(((mean == 0) | (mean == 1)).all()), "donors who are members with all of their records or none")
    inside = mean == 1
    by_donor = {name: per_donor(each, donor) for name, each in found.items()}
    return tuple(
        measure.of_scores(name, ATTACKS[name].threat, each[inside], each[~inside]) for name, each in by_donor.items()
    )
