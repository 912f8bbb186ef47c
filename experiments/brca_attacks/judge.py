"""One generator attacked twice: by who holds a table of it, and by who holds the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from experiments.brca_attacks.generators import Made, Parts, Shadowed
from fedgenome.audit.bounds import ranking, rates
from fedgenome.audit.distance import per_donor
from fedgenome.audit.gan_leaks import reconstruction
from fedgenome.audit.membership import lira, references
from fedgenome.audit.membership.evidence import Evidence
from fedgenome.audit.results import LEVEL, Interval
from fedgenome.audit.run import ATTACKS
from fedgenome.audit.signals import Signals
from fedgenome.audit.targets import Records, Target
from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.query import Array

Release = Literal["table", "model"]
DRAWS = 3000  # rows that who holds the model draws
LOSS = "loss"
SHADOWED = {"attack-R": references.reference, "LiRA-offline": lira.offline, "LiRA-online": lira.online}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one attack achieved, the search over all attacks on the same release paid for.

    Attributes:
        auc: With an interval that holds together with the other attacks'.
        hits: At 10 % false alarms, likewise.
        p_value: Times the number of attacks.
    """

    auc: Interval
    hits: Interval
    p_value: float


def attacked(parts: Parts, made: Made, reference: Made | None, release: Release) -> dict[str, Outcome]:
    """Return the outcome of every attack on a release of ``made``.

    Args:
        reference: The same kind of generator, fitted to the base without privacy; None: no calibrated attacks.
    """
    members, controls = (parts.records(shard) for shard in (parts.members, parts.controls))
    after = members.owner.max() + 1
    everyone = Records(
        x=np.concatenate([members.x, controls.x]),
        label=np.concatenate([members.label, controls.label]),
        donor=np.concatenate([members.owner, controls.owner + after]),
    )
    scores = _of_rows(parts, everyone, made, reference, release)
    if release == "model" and made.losses is not None:
        scores |= _of_losses(parts, everyone, made, reference)
    inside = everyone.units < after
    by_donor = {name: per_donor(each, everyone.owner) for name, each in scores.items()}
    return {name: _outcome(each[inside], each[~inside], len(scores)) for name, each in by_donor.items()}


def _of_rows(parts: Parts, everyone: Records, made: Made, reference: Made | None, release: Release) -> dict[str, Array]:
    rows = parts.facts.rows if release == "table" else DRAWS
    drawn, base = parts.scaled(made.draw(rows)), parts.records(parts.base)
    target = Target(table=drawn, samples=drawn)
    scores = {name: score(everyone, target, base) for name, score in ATTACKS.items()}
    if reference is not None:
        beside = replace(target, reference=parts.scaled(reference.draw(rows)))
        scores["gan-leaks, calibrated"] = reconstruction(everyone, beside, base)
    return scores


def _of_losses(parts: Parts, everyone: Records, made: Made, reference: Made | None) -> dict[str, Array]:
    loss = _losses(made, parts)
    scores = {LOSS: -loss}
    if reference is not None:
        scores["loss, calibrated"] = _losses(reference, parts) - loss
    if made.shadows is not None:
        evidence = _evidence(everyone, loss, made.shadows())
        scores |= {name: score(evidence) for name, score in SHADOWED.items()}
    return scores


def _losses(made: Made, parts: Parts) -> Array:
    return np.concatenate([_of(made, shard) for shard in (parts.members, parts.controls)])


def _of(made: Made, shard: Shard) -> Array:
    require(made.losses is not None, "a model with a loss")
    return np.asarray(made.losses(shard), np.float64) if made.losses else np.empty(0)


def _evidence(everyone: Records, loss: Array, shadows: Shadowed) -> Evidence:
    return Evidence(
        label=everyone.label,
        target=_signals(loss),
        shadows=_signals(shadows.losses),
        inside=shadows.inside,
        group=shadows.group,
    )


def _signals(loss: Array) -> Signals:
    """Return the loss, and its negative as the margin of LiRA; an autoencoder gives no classifier's other signals."""
    none = np.zeros_like(loss)
    return Signals(loss=loss, margin=-loss, confidence=none, entropy=none, modified_entropy=none, correct=none)


def _outcome(members: Array, controls: Array, attacks: int) -> Outcome:
    level = 1 - (1 - LEVEL) / attacks
    hits = rates.hit_rate(members, controls, level=level)
    if hits is None:
        raise ValueError(f"expected 30 controls or more, got {len(controls)}")
    return Outcome(
        auc=ranking.auc_interval(members, controls, level),
        hits=hits,
        p_value=min(1.0, attacks * ranking.chance_p_value(members, controls)),
    )
