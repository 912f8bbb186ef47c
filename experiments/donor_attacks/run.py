"""Attacks on donors of single cells: power against a generator that protects nobody, level, and why rows are no people.

Members' cells make a table (a Gaussian copula of negative binomials, no noise); 15 other donors are controls, 15 the
attacker's own. The attack of Golob et al. 2026 scores cells; it is judged by donor, and beside it, so named, by row:
cells of one person are alike, so that rows "find" members where nothing leaked. Simulated donors: 5 to 50 in
training; without a leak 10 others make the table. Seven real donors: three in training, two controls, two the
attacker's; so few donors allow no p below .1, and what is printed there shows nothing either way.
Run: ``python -m experiments.donor_attacks.run`` (``--quick``: few repetitions).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments import harness
from experiments.donor_attacks import people
from experiments.harness import Result, Target
from experiments.synthesis import cohorts
from fedgenome.audit import cells
from fedgenome.audit.bounds import ranking
from fedgenome.audit.distance import per_donor
from fedgenome.audit.targets import Records

IN_TRAINING, OTHERS = (5, 10, 25, 50), 15  # members; controls, and as many the attacker's own
POWER, LEVEL, REAL = 20, 200, 35  # repetitions
NOMINAL = 0.05
NOBODY = "nobody: other donors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """AUC and p of one attack in one repetition, by donor and by row."""

    attack: str
    donor_auc: float
    donor_p: float
    row_auc: float
    row_p: float


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Attack tables of simulated donors, and of the real ones if their file is there."""
    power, level, real = (3, 5, 5) if quick else (POWER, LEVEL, REAL)
    rng = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    found: dict[int, list[Seen]] = {}
    for members in IN_TRAINING:
        found[members] = [one for _ in range(power) for one in _simulated(members, True, rng)]
        rows += _rows("simulated", members, OTHERS, f"its {members} donors", found[members])
        say(f"{members} donors in training")
    free = [one for _ in range(level) for one in _simulated(10, False, rng)]
    rows += _rows("simulated", 10, OTHERS, NOBODY, free)
    if cohorts.present(["tcells"], say):
        whole = people.real(rng)
        for groups, leaks in (((3, 2, 2), True), ((2, 2, 1, 2), False)):
            seen = [one for _ in range(real) for one in _attacked(people.of(whole, groups, rng), leaks, rng)]
            rows += _rows("real", groups[0], groups[1], f"its {groups[0]} donors" if leaks else NOBODY, seen)
    return Result(rows=rows, targets=[*_power(found), *_level(free)])


def _simulated(members: int, leaks: bool, rng: np.random.Generator) -> Iterator[Seen]:
    groups = (members, OTHERS, OTHERS, *(() if leaks else (members,)))
    everybody = people.donors(people.population(rng), sum(groups), rng)
    return _attacked(people.of(everybody, groups, rng), leaks, rng)


def _attacked(groups: Sequence[Records], leaks: bool, rng: np.random.Generator) -> Iterator[Seen]:
    """Yield what each attack gives of members, controls and the attacker's own, and of makers where nothing leaks."""
    members, controls, own = groups[:3]
    table = people.generated(members if leaks else groups[3], rng)
    inside, outside = (cells.scores(group, table, own) for group in (members, controls))
    for name, rows in inside.items():
        by_donor = per_donor(rows, members.owner), per_donor(outside[name], controls.owner)
        yield Seen(
            attack=name,
            donor_auc=ranking.auc(*by_donor),
            donor_p=ranking.chance_p_value(*by_donor),
            row_auc=ranking.auc(rows, outside[name]),
            row_p=ranking.chance_p_value(rows, outside[name]),
        )


def _rows(donors: str, members: int, controls: int, leaks: str, seen: Sequence[Seen]) -> Iterator[dict[str, Any]]:
    for attack in (cells.WITH, cells.ALONE):
        mine = [one for one in seen if one.attack == attack]
        yield {
            "donors": donors,
            "members": members,
            "controls": controls,
            "the table knows": leaks,
            "attack": attack,
            "repetitions": len(mine),
            "AUC by donor": _mean(one.donor_auc for one in mine),
            "p at most .05 by donor": _mean(one.donor_p <= NOMINAL for one in mine),
            "AUC by row": _mean(one.row_auc for one in mine),
            "p at most .05 by row": _mean(one.row_p <= NOMINAL for one in mine),
        }


def _power(found: dict[int, list[Seen]]) -> Iterator[Target]:
    for members, seen in found.items():
        caught = _mean(one.donor_p <= NOMINAL for one in seen if one.attack == cells.WITH)
        name = f"{cells.WITH}: share of tables of {members} donors caught, by donor"
        yield Target(name=name, value=caught, target=0.8, sense="at least")


def _level(free: Sequence[Seen]) -> Iterator[Target]:
    for attack in (cells.WITH, cells.ALONE):
        found = [one.donor_p <= NOMINAL for one in free if one.attack == attack]
        limit = NOMINAL + 2 * math.sqrt(NOMINAL * (1 - NOMINAL) / len(found))
        name = f"{attack}: share of p at most .05 without a leak, by donor"
        yield Target(name=name, value=_mean(found), target=round(limit, 6), sense="at most")


def _mean(found: Any) -> float:
    return round(float(np.mean(list(found))), 4)


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
