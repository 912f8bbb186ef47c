"""One score over everything that an audit looked at, honest about how much that was.

Everything that found, or might have found, people in what is released is an effect between 0 (no more than where
nothing leaks) and 1 (everybody is told apart): the share of the members whom it gives away, where they are copied.

| finding | effect |
| --- | --- |
| an attack, over all false-alarm rates | 2·AUC − 1 |
| the same at 10 % false alarms | hits − .1 |
| near-copies | share of the members who are in the tail because they were trained on |
| sums of counts | 2·AUC − 1 of their bins |
| canaries of those | 2·(right guesses)/(guesses) − 1 |

Synthetic rows and the model are scored apart: who receives only the rows can look for people in nothing else. Each
score's bounds hold at the level by themselves. It judges nothing: an aggregate must not make up for an axis that
failed, so the gate keeps its limits on each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import get_args

from fedgenome.audit import charged
from fedgenome.audit.bounds import effects
from fedgenome.audit.bounds.effects import Effect, Tails, tails_for
from fedgenome.audit.bounds.simultaneous import Worst, worst
from fedgenome.audit.results import FALSE_ALARMS, LEVEL, Attack, Audit, Charged, Of

RELEASES = get_args(Of)

_Vector = Callable[[Tails], Effect]


def scored(audit: Audit, sums: Sequence[Charged] = (), level: float = LEVEL) -> Audit:
    """Return ``audit`` with the worst case of what is released, by ``data`` and ``model``.

    What is looked at is fixed by the audit's settings and sizes, never by a finding: the levels rest on it.

    Args:
        audit: All attacks on one release.
        sums: What sums of counts said of the same release; they are of rows that were sent.
        level: One-sided confidence of each score's bounds.

    Raises:
        SpecError: an attack's scores were not kept.
    """
    found = {of: _worst([*_looked_at(audit, of), *(_sums(sums) if of == "data" else ())], level) for of in RELEASES}
    return replace(audit, worst={of: each for of, each in found.items() if each})


def _worst(vectors: Sequence[_Vector], level: float) -> Worst | None:
    if not vectors:
        return None
    tails = tails_for(len(vectors), level)
    return worst([vector(tails) for vector in vectors], level)


def _looked_at(audit: Audit, of: Of) -> Iterator[_Vector]:
    for attack in audit.attacks:
        if attack.of == of:
            yield from _attack(attack)
    for copies in audit.near_copies if of == "data" else ():
        yield partial(effects.copied, copies.name, copies, audit.members, audit.controls)


def _attack(attack: Attack) -> Iterator[_Vector]:
    inside, outside = (group.by_donor() for group in attack.groups)
    yield partial(effects.ranking, f"{attack.name}, ranking", inside, outside)
    if attack.hits is not None:
        yield partial(effects.hits, f"{attack.name}, hits at {FALSE_ALARMS:.0%} false alarms", inside, outside)


def _sums(sums: Sequence[Charged]) -> Iterator[_Vector]:
    for told in sums:
        if told.auc is not None:
            yield partial(charged.ranking, f"{told.name}, ranking", told, told.auc)
        if told.canaries is not None:
            yield partial(charged.guessing, f"{told.name}, canaries", told, told.canaries)
