"""What can be released in place of records under a mask: coarse scores, randomised dosages, rows that nobody has.

A score is of the variants most associated among those on whom lists are chosen, weighted by a regression on all of them
together; or, for a price, of those whose frequencies differ most in a table with noise, weighted one by one. It leaves
in levels whose ends follow from frequencies alone, or as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy import special
from sklearn.linear_model import LogisticRegression

from experiments.afml import attacks, lists, utility
from experiments.afml.learned import Target, facts, shard
from experiments.afml.worlds import Point, World, told, useful
from experiments.synthesis.loop import Kind, method, table, trained
from fedgenome.audit.linkage.dosages import frequencies as alleles
from fedgenome.audit.targets import Records
from fedgenome.methods import frequencies, polygenic
from fedgenome.methods.polygenic import Score
from fedgenome.methods.randomised import randomised
from fedgenome.query import Array

Points = Iterator[tuple[str, Point]]

SCORED = (5, 20)  # variants of a score
LEVELS = (2, 4, 8, 16)
RATES = (0.5, 1.0, 2.0, 4.0)  # ε of a randomised dosage
SYNTHETIC = (1.0, 3.0, 10.0)  # ε of synthetic rows
PRICE = 3.0  # ε of a table that scores are made by
ROWS = 350
_WRONG = 0.01  # chance that a level is any at all: nobody is ruled out
_TARGETS: tuple[Target, ...] = ("phenotype", "ancestry")


def scores(epsilon: float | None) -> Callable[[World], Points]:
    """Return the arm of scores by a regression, or by a table at ``epsilon``: in levels, and as they are."""

    def points(at: World) -> Points:
        make = _regressed(at) if epsilon is None else _by_table(at, epsilon)
        for kept in SCORED:
            score = make(kept)
            own, panel = (polygenic.values(score, each) for each in (at.panels.array, at.panels.sequence))
            words = (f"{epsilon}", str(kept))
            for levels in LEVELS:
                cuts = polygenic.cuts(score, levels)
                yield f"{kept} variants, {levels} levels", _of_levels(at, own, panel, cuts, (*words, str(levels)))
            yield f"{kept} variants, not rounded", _unrounded(at, own, panel, (*words, "all"))

    return points


def _by_table(at: World, epsilon: float) -> Callable[[int], Score]:
    made = method(Kind(kind="frequencies"), facts(at, "phenotype"), epsilon)
    found = frequencies.associations(trained(made, shard(at, "phenotype"), at.seed), 1)
    return lambda kept: polygenic.associated(found, kept)


def _regressed(at: World) -> Callable[[int], Score]:
    order = lists.associated(at.people, at.rng("list", "association"))

    def make(kept: int) -> Score:
        columns = np.sort(order[:kept])
        shown = at.people.dosages[:, columns]
        rows = utility.filled(shown, utility.means_of(shown))
        weights = LogisticRegression().fit(rows, at.people.label).coef_[0]
        return Score(columns=columns, weights=weights, frequencies=alleles(shown))

    return make


def _error(at: World, own: Array, panel: Array) -> float:
    """Return how far a person's two scores lie apart, a standard deviation; of those whom attackers know."""
    apart = own[at.sides.fitted] - panel[at.panels.whose[at.sides.fitted]]
    return max(float(np.sqrt(np.mean(apart**2))), 1e-3 * float(own.std()))


def _of_levels(at: World, own: Array, panel: Array, cuts: Array, words: tuple[str, ...]) -> Point:
    """Return what levels are worth; attackers know each candidate's own score, cuts and how two looks differ."""
    level, candidates = polygenic.levels_of(own, cuts), panel[at.sides.candidates]
    ends = np.concatenate([[-np.inf], cuts, [np.inf]])
    below = special.ndtr((ends[:, None] - candidates) / _error(at, own, panel))
    likely = (1 - _WRONG) * np.diff(below, axis=0) + _WRONG / (len(cuts) + 1)  # (levels, candidates)
    probes = level[at.sides.judged]
    near = -abs(probes[:, None] - polygenic.levels_of(candidates, cuts))
    return _point(at, {"likelihood of levels": np.log(likely)[probes], "nearest level": near}, level, words)


def _unrounded(at: World, own: Array, panel: Array, words: tuple[str, ...]) -> Point:
    apart = abs(own[at.sides.judged][:, None] - panel[at.sides.candidates])
    return _point(at, {"nearest score": -apart}, own, words)


def _point(at: World, said: dict[str, Array], value: Array, words: tuple[str, ...]) -> Point:
    rng = at.rng("attack", "score", *words)
    hits = {name: attacks.hit(each, at.sides.owner, rng) for name, each in said.items()}
    return {"hits": hits} | useful(at, value[:, None].astype(np.float64))


def by_coins(at: World) -> Points:
    """Yield dosages each told as it is or as another, with the chance that ε of one dosage allows."""
    order = lists.associated(at.people, at.rng("list", "association"))
    array = at.panels.array
    for kept in (20, array.shape[1]):
        columns = np.sort(order[:kept])
        for epsilon in RATES:
            words = ("randomised", str(kept), f"{epsilon:g}")
            released = randomised(array, epsilon, at.rng(*words))
            yield f"{kept} variants, epsilon {epsilon:g} each", told(at, released, columns, words)


def synthetic(at: World) -> Points:
    """Yield rows drawn from ``genotypes`` by cases and controls: no record of anybody leaves."""
    for epsilon in SYNTHETIC:
        cases, groups = (drawn(at, target, epsilon) for target in _TARGETS)
        test = utility.filled(at.panels.array[at.sides.judged], np.ones(at.panels.array.shape[1]))
        yield (
            f"epsilon {epsilon:g}",
            {
                "AUC": round(utility.phenotype((cases.x, cases.label), (test, at.label[at.sides.judged])), 5),
                "ancestry": round(
                    utility.ancestry((groups.x, groups.label), (test, at.panels.ancestry[at.sides.judged])), 5
                ),
            },
        )


def drawn(at: World, target: Target, epsilon: float) -> Records:
    """Return rows of ``genotypes``, fitted to the people on whom lists are chosen."""
    made = method(Kind(kind="genotypes"), facts(at, target), epsilon)
    return table(made, trained(made, shard(at, target), at.seed), ROWS, at.seed)


ALTERNATIVES: Mapping[str, Callable[[World], Points]] = {
    "coarse scores": scores(None),
    f"coarse scores, table at epsilon {PRICE:g}": scores(PRICE),
    "randomised dosages": by_coins,
    "synthetic genotypes": synthetic,
}
