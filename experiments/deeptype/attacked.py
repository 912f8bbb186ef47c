"""What attacks on membership find in five models that between them test everybody, and what the gate says of each.

The five are group 0; the other groups are their shadows, in all of which everybody is IN four times of five, so that
shadows say nothing of who trained a target. Which attack is best, and from which score on, is chosen on the other
groups' models, each a target in its turn (group 0 is among their shadows only where there are fewer than four groups):
what is reported of group 0 is no maximum, except where it says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.deeptype import pooled
from experiments.deeptype.people import GROUP, People
from experiments.deeptype.pooled import Mask, Scores
from fedgenome.audit import gate, signals
from fedgenome.audit.bounds import ranking
from fedgenome.audit.distance import per_donor
from fedgenome.audit.membership import attacks
from fedgenome.audit.membership.evidence import Evidence, Population
from fedgenome.audit.results import Audit, Interval
from fedgenome.errors import require

SONG_MITTAL = ("correctness", "confidence", "entropy", "modified-entropy")
LIRA, RMIA = "LiRA-online", "RMIA-online"
_SAME = "attack-P"  # ranks records as "loss" does
_FEWEST = {"stacked": 3, LIRA: 2, "LiRA-offline": 2, "LiRA-calibrated": 2}  # groups of shadows, where one is too few

Row = dict[str, float | int | str | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Five models as targets.

    Attributes:
        inside: Who trained each, bool (targets, persons).
        scores: Of every attack, by name.
    """

    inside: Mask
    scores: Mapping[str, Scores]

    def achieved(self, by: Callable[[Scores, Mask], Interval], name: str) -> Interval | None:
        """Return what the attack achieves; None: there were too few shadows for it."""
        return by(self.scores[name], self.inside) if name in self.scores else None


def judged(logits: npt.NDArray[np.float32], people: People, inside: Mask, groups: int | None = None) -> Row:
    """Return what attacks achieve on the models of group 0, as columns of a table.

    Args:
        logits: What each model says of every row as the attacker asks for it, (models, rows, classes); five a group.
        people: Whose rows they are.
        inside: Which rows trained each model, bool (models, rows).
        groups: How many to use, the first ones; None: all. With five every attack is chosen from and reported, with
            two there is no LiRA.

    Raises:
        SpecError: fewer than two groups, models that are no groups, or fewer than 300 persons.
    """
    used = len(logits) // GROUP if groups is None else groups
    require(2 <= used <= len(logits) // GROUP, "two groups or more", groups=used, models=len(logits))
    models = slice(0, used * GROUP)
    left_out = (~inside[models]).reshape(used, GROUP, -1).sum(1)
    require(bool((left_out == 1).all()), f"groups of {GROUP} models of which one leaves out each row")
    reported, others = scored(logits[models], people, inside[models])
    return _columns(reported, others) | _verdict(reported)


def scored(logits: npt.NDArray[np.float32], people: People, inside: Mask) -> tuple[Group, list[Group]]:
    """Return the scores of group 0, with all others as shadows, and those of the others, with each other.

    Where they are fewer than three, which is too few for LiRA, they have group 0 as shadows too.
    """
    everyone, few = _evidence(logits, people, inside), len(logits) < 4 * GROUP
    reported, *rest = _groups(everyone, people, None if few else 1)
    return reported, rest if few else _groups(_evidence(logits[GROUP:], people, inside[GROUP:]), people)


def _evidence(logits: npt.NDArray[np.float32], people: People, inside: Mask) -> Evidence:
    """Return everybody's signals.

    Nobody is kept from all models, so that everybody is the population: RMIA ranks records alike, but for ties,
    whoever it is.
    """
    seen = signals.of_logits(logits, people.label)
    return Evidence(
        label=people.label,
        target=seen[0],
        shadows=seen,
        inside=inside,
        group=np.arange(len(logits)) // GROUP,
        population=Population(target=seen[0], shadows=seen),
    )


def _groups(evidence: Evidence, people: People, first: int | None = None) -> list[Group]:
    """Return the scores of the ``first`` groups' models (None: all), each attacked with all groups but its own."""
    shadows = len(evidence.group) // GROUP - 1
    able = {n: known for n, known in attacks.ATTACKS.items() if n != _SAME and _FEWEST.get(n, 1) <= shadows}
    found = [
        (
            per_donor(member.astype(float), people.owner) == 1,
            {name: per_donor(known.score(seen), people.owner) for name, known in able.items()},
        )
        for seen, member in itertools.islice(evidence.as_targets(), first and first * GROUP)
    ]
    return [
        Group(
            inside=np.stack([member for member, _ in five]),
            scores={name: np.stack([scores[name] for _, scores in five]) for name in able},
        )
        for five in (found[at : at + GROUP] for at in range(0, len(found), GROUP))
    ]


def _columns(reported: Group, others: Sequence[Group]) -> Row:
    able = [name for name in reported.scores if all(name in group.scores for group in others)]
    held = np.concatenate([group.inside for group in others])
    cuts = {n: pooled.threshold(np.concatenate([group.scores[n] for group in others]), held) for n in able}

    def best(by: Callable[[str, Group], float], among: Sequence[str]) -> str:
        return max(among, key=lambda name: np.mean([by(name, group) for group in others]))

    def area(name: str, group: Group) -> float:
        return pooled.ranked(group.scores[name], group.inside).estimate

    def caught(name: str, group: Group) -> float:
        return pooled.hits(group.scores[name], group.inside).estimate

    def gained(name: str, group: Group) -> Interval:
        return pooled.advantage(group.scores[name], group.inside, cuts[name])

    row: Row = {}
    for what, name in {"Song-Mittal": best(area, SONG_MITTAL), "any": best(area, able)}.items():
        row |= {**pooled.told(f"{what} AUC", reported.achieved(pooled.ranked, name)), f"{what} by": name}
    row["Song-Mittal AUC, largest"] = round(max(area(name, reported) for name in SONG_MITTAL), 4)
    at_rate = best(caught, able)
    row |= {**pooled.told("TPR at 1 %", reported.achieved(pooled.hits, at_rate)), "TPR at 1 % by": at_rate}
    for what, name in {"LiRA": LIRA, "RMIA": RMIA}.items():
        row |= pooled.told(f"{what} AUC", reported.achieved(pooled.ranked, name))
        row |= pooled.told(f"{what} TPR at 1 %", reported.achieved(pooled.hits, name))
    name = best(lambda name, group: gained(name, group).estimate, able)
    return row | {**pooled.told("advantage", gained(name, reported)), "advantage by": name}


def _verdict(group: Group) -> Row:
    """Return of how many of the five models the gate's default policy lets go, and why it keeps the first other.

    Each is audited by itself, as one model that is released would be, by every attack; ties are split by coins.
    """
    verdicts, split = [], {name: pooled.untied(scores) for name, scores in group.scores.items()}
    for k, member in enumerate(group.inside):
        found = attacks.judged({name: each[k] for name, each in split.items()}, member, np.arange(len(member)))
        members, controls = int(member.sum()), int((~member).sum())
        audit = Audit(
            attacks=found,
            near_copies=(),
            checks=(),
            members=members,
            controls=controls,
            base=0,
            rows=0,
            samples=0,
            unit="donor",
            detectable_auc=ranking.detectable_auc(members, controls, len(found)),
        )
        verdicts.append(gate.judge(audit, gate.Policy()))
    return of_five(verdicts)


def of_five(verdicts: Sequence[gate.Verdict]) -> Row:
    """Return of how many of five the verdict is to release, and why not of the first other, as columns."""
    released = sum(each.released for each in verdicts)
    return {
        "verdict": "released" if released == len(verdicts) else "withheld",
        "released of five": released,
        "because": next((reason for each in verdicts for reason in each.reasons), ""),
    }
