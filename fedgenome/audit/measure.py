"""What scores achieved: the one place where an attack's scores meet its bounds."""

from __future__ import annotations

from fedgenome.audit.bounds import ranking, rates
from fedgenome.audit.results import Attack, Of
from fedgenome.query import Array


def of_scores(name: str, threat: str, members: Array, controls: Array, of: Of = "data") -> Attack:
    """Return what the attack ``name`` achieved, by its scores of members (m,) and of controls (n,), one a donor."""
    return Attack(
        name=name,
        threat=threat,
        of=of,
        auc=ranking.auc_interval(members, controls),
        hits=rates.hit_rate(members, controls),
        p_value=ranking.chance_p_value(members, controls),
        roc=rates.curve(members, controls),
    )
