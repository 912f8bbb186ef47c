"""Controls of the audit itself: what must fire fires, what must not does not (DESIGN §7.8).

An attack that fails proves nothing until the same attack has found copies that were planted, and an
attack that succeeds proves nothing if it also "succeeds" where nothing can leak.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedgenome.audit.bounds.ranking import auc_interval
from fedgenome.audit.distance import per_donor
from fedgenome.audit.model_loss import by_heart
from fedgenome.audit.near_copies import near_copies
from fedgenome.audit.results import LEVEL, Check, Interval, Measure
from fedgenome.audit.targets import Records, Target, independent
from fedgenome.query import Array

Score = Callable[[Records, Target, Records], Array]  # (people, target, control base) -> float (rows,)
What = Literal["table", "model"]

COPIED = 0.5  # share of the members' donors whose rows the positive control holds verbatim
FALSE_VOID = 0.01  # chance that a sound audit is voided, over all checks that must be at chance


def planted(members: Records, base: Records, target: Target, rng: np.random.Generator) -> tuple[Target, Target]:
    """Return a target that holds half of the members' donors, and its twin that does not: in tables copied verbatim.

    Where a model is attacked, theirs know as many rows by heart (:func:`by_heart`): these copies, or clean rows.

    Both are generators fitted to ``base``, which is disjoint from members and evaluated controls: a
    base fitted to members would leak by itself. They have the sizes of the real target, or more
    where the copies would not fit.
    """
    units = members.units
    copies = members.of(rng.choice(units, max(1, round(COPIED * len(units))), replace=False))

    def pair(n: int) -> tuple[Records, Records]:
        clean = independent(base, max(n, 2 * len(copies)), rng)
        kept = clean.rows(np.arange(len(copies), len(clean)))
        x, label = np.concatenate([copies.x, kept.x]), np.concatenate([copies.label, kept.label])
        return Records(x=x, label=label), clean

    leaking_table, clean_table = pair(len(target.table))
    leaking_samples, clean_samples = pair(len(target.samples))
    leaking = replace(target, table=leaking_table, samples=leaking_samples)
    clean = replace(target, table=clean_table, samples=clean_samples)
    if target.losses is None:
        return leaking, clean
    others = clean_table.rows(np.arange(len(copies)))
    return replace(leaking, losses=by_heart(copies)), replace(clean, losses=by_heart(others))


def of_attacks(
    attacks: Mapping[str, Score],
    members: Records,
    controls: Records,
    base: Records,
    target: Target,
    rng: np.random.Generator,
    on_model: Collection[str] = (),
) -> tuple[Check, ...]:
    """Return a positive and a negative check of every attack and of near-copies, and the blind attacker's.

    Args:
        attacks: Score functions by name.
        members: Scaled rows of training donors.
        controls: Scaled rows of the evaluated controls.
        base: Scaled rows of the control base, disjoint from both.
        target: What is attacked; gives the sizes.
        rng: Draws who is copied, the control tables and the blind attacker's split.
        on_model: Those of ``attacks`` that read the model's losses.
    """
    leaking, clean = planted(members, base, target, rng)
    level = 1 - FALSE_VOID / (len(attacks) + 2)
    checks = []
    for name, score in attacks.items():
        found = auc_interval(*_both(score, members, controls, leaking, base))
        chance = auc_interval(*_both(score, members, controls, clean, base), level)
        what: What = "model" if name in on_model else "table"
        checks += [_positive(name, found, what=what), _at_chance("negative", name, chance, what=what)]
    if len(target.table):
        tail, free = (near_copies(members, controls, each, at) for each, at in ((leaking, LEVEL), (clean, level)))
        checks += [
            _positive(tail.name, tail.share, tail.chance, "share of members"),
            _at_chance("negative", free.name, free.share, free.chance, "share of members"),
        ]
    blind = auc_interval(*blind_scores(members, controls, rng), level)
    return (*checks, _at_chance("blind", "logistic regression on the records alone", blind))


def _both(score: Score, members: Records, controls: Records, target: Target, base: Records) -> tuple[Array, Array]:
    return (
        per_donor(score(members, target, base), members.owner),
        per_donor(score(controls, target, base), controls.owner),
    )


def _positive(name: str, seen: Interval, chance: float = 0.5, measure: Measure = "AUC", what: What = "table") -> Check:
    does = f"a table that copies {COPIED:.0%} of" if what == "table" else f"a model that knows by heart {COPIED:.0%} of"
    rule = f"finds {does} the members: lower bound of the {measure} above {chance:.3g}"
    return Check(kind="positive", attack=name, seen=seen, passed=seen.low > chance, rule=rule, measure=measure)


def _at_chance(
    kind: Literal["negative", "blind"],
    name: str,
    seen: Interval,
    chance: float = 0.5,
    measure: Measure = "AUC",
    what: What = "table",
) -> Check:
    given = f"a {what} that never saw the members" if kind == "negative" else "no table at all"
    rule = f"is at chance with {given}: {seen.level:.1%} interval of the {measure} holds {chance:.3g}"
    passed = seen.low <= chance <= seen.high
    return Check(kind=kind, attack=name, seen=seen, passed=passed, rule=rule, measure=measure)


def blind_scores(members: Records, controls: Records, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return scores of an attacker who sees no table, per donor, for held-out halves of both groups.

    It learns to tell members from controls by their records, on one half of the donors, and is
    judged on the other. Above chance, members and controls differ by themselves (another hospital,
    another batch), and every other number of the audit is void (Das et al., arXiv 2406.16201).
    """
    learn_in, judge_in = _halves(members, rng)
    learn_out, judge_out = _halves(controls, rng)
    classes = np.unique(np.concatenate([members.label, controls.label]))
    x = np.concatenate([_features(learn_in, classes), _features(learn_out, classes)])
    y = np.repeat([1, 0], [len(learn_in), len(learn_out)])
    # Balanced, so that the few controls weigh as much as the many members.
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000)).fit(x, y)
    scores = (model.decision_function(_features(half, classes)) for half in (judge_in, judge_out))
    return tuple(map(per_donor, scores, (judge_in.owner, judge_out.owner)))  # type: ignore[return-value]


def _halves(records: Records, rng: np.random.Generator) -> tuple[Records, Records]:
    shuffled = rng.permutation(records.units)
    middle = len(shuffled) // 2
    return records.of(shuffled[:middle]), records.of(shuffled[middle:])


def _features(records: Records, classes: Array) -> Array:
    return np.concatenate([records.x, records.label[:, None] == classes], axis=1, dtype=np.float64)
