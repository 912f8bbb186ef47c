"""What scores achieved: the one place where an attack's scores meet its bounds."""

from __future__ import annotations

from fedgenome.audit.bounds import ranking, rates
from fedgenome.audit.results import Attack, Of
from fedgenome.audit.scores import Scores
from fedgenome.query import Array


def of_scores(name: str, threat: str, members: Array, controls: Array, of: Of = "data") -> Attack:
    """Return what the attack ``name`` achieved, by its scores of members (m,) and of controls (n,), one a donor."""
    return of_rows(name, threat, Scores.of_donors(members), Scores.of_donors(controls), of)


def of_rows(name: str, threat: str, members: Scores, controls: Scores, of: Of = "data") -> Attack:
    """Return what the attack ``name`` achieved by donor, by its scores of their rows."""
    inside, outside = members.by_donor(), controls.by_donor()
    return Attack(
        name=name,
        threat=threat,
        of=of,
        auc=ranking.auc_interval(inside, outside),
        hits=rates.hit_rate(inside, outside),
        p_value=ranking.chance_p_value(inside, outside),
        roc=rates.curve(inside, outside),
        rates=rates.low_rates(inside, outside),
        scores=(members, controls),
    )
