"""What of genotypes can be released: frequencies that are attacked, and synthetic people, by ε.

Frequencies: of 200 unrelated people, 13,009 variants, attacked with 200 others as controls and all the rest known to
the attacker; ρ is the budget of zero-concentrated privacy, and the best AUC what it allows any attacker. Synthetic
people: of 1,252 of five ancestries, 805 variants, judged against the other 1,252; and of 626 of one region, 800
variants close by, by the length of blocks. One trusted server adds the noise, δ = 1e-4; means over splits.
Run: ``python -m experiments.genotype_release.run`` (``--quick``: a split, and fewer variants).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from experiments import harness
from experiments.genotype_release import people
from experiments.genotype_release.people import People
from experiments.harness import Result, Target
from experiments.synthesis.loop import Facts, Kind, at, method, table, trained
from fedgenome.audit import frequencies as attacked
from fedgenome.audit.bounds import ranking
from fedgenome.audit.targets import Records
from fedgenome.cohort.shard import Shard
from fedgenome.methods import frequencies
from fedgenome.methods.base import Scored
from fedgenome.query import Array
from fedgenome.utility import classify, genotypes, relatives
from fedgenome.utility.metrics import Settings

SPLITS, DELTA, IN_STUDY = 3, 1e-4, 200
BUDGETS = (math.inf, 4.0, 1.0, 0.25)  # ρ
EPSILONS = (None, 10.0, 3.0, 1.0)
KINDS = ("genotypes", "marginals", "gaussian")
BLOCKS = (0, 1, 4, 16)
FIGURES = ("frequency_rmse", "pca_overlap", "ld_1", "ld_4", "aats_real", "aats_table")
NEAR = ("privacy_loss", "tail_share")
_SETTINGS = Settings(classifiers=("logistic regression",), rows=400)

Row = dict[str, Any]


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Release and judge."""
    splits = 1 if quick else SPLITS
    rows = list(_frequencies(_cut(people.thinned(), 2000 if quick else None), splits))
    say("frequencies")
    rows += _synthetic(_cut(people.ancestries(), 200 if quick else None), splits, say)
    rows += _blocks(_cut(people.dense(), 200 if quick else None), splits)
    return Result(rows=rows, targets=list(_targets(rows)))


def _cut(whole: People, variants: int | None) -> People:
    names = whole.names[:variants]
    return People(dosages=whole.dosages[:, : len(names)], label=whole.label, labels=whole.labels, names=names)


def _shard(whole: People, chosen: Array) -> Shard:
    donor = np.arange(len(chosen))
    return Shard(
        x=whole.dosages[chosen].astype(np.float32),
        label=whole.label[chosen],
        donor=donor,
        donors=tuple(map(str, chosen)),
        mask=np.ones(len(chosen), np.bool_),
    )


def _facts(whole: People, donors: int) -> Facts:
    return Facts(schema=whole.schema, donors_bound=donors, delta=DELTA, rows=donors)


def _order(whole: People, split: int) -> Array:
    return np.random.default_rng([1, split]).permutation(len(whole.dosages))


# ---- Frequencies


def _frequencies(whole: People, splits: int) -> Iterator[Row]:
    for budget in BUDGETS:
        found = [_attacked(whole, budget, split) for split in range(splits)]
        private = math.isfinite(budget)
        yield {
            "what": "frequencies",
            "rho": budget if private else "none",
            "best AUC": round(attacked.best_auc(1 / math.sqrt(2 * budget)), 4) if private else 1.0,
            **{f"AUC, {name}": _mean(each[name] for each in found) for name in found[0]},
        }


def _attacked(whole: People, budget: float, split: int) -> Mapping[str, float]:
    """Return each attack's AUC on one study."""
    order = _order(whole, split)
    inside, outside, base = np.split(order, [IN_STUDY, 2 * IN_STUDY])
    kind, facts = Kind(kind="frequencies"), _facts(whole, IN_STUDY)
    made = at(kind, facts, 1 / math.sqrt(2 * budget)) if math.isfinite(budget) else method(kind, facts, None)
    arrays = trained(made, _shard(whole, inside), split)
    count = float(arrays["counts"].sum())
    opened = (1 + arrays["sums"][0] / count) / 2
    noise = float(np.median(frequencies.deviations(arrays)))
    members, controls, others = (whole.dosages[one] for one in (inside, outside, base))
    found = attacked.attacks(members, controls, others, opened, size=count, noise=noise)
    return {one.name: one.auc.estimate for one in found}


# ---- Synthetic people


def _synthetic(whole: People, splits: int, say: Callable[[str], None]) -> Iterator[Row]:
    halves = [_half(whole, split) for split in range(splits)]
    real = [_judged(whole.records(a), whole.records(b), whole, split) for split, (a, b) in enumerate(halves)]
    yield {"what": "synthetic, five ancestries", "kind": "real people", **_means(real)}
    for kind in KINDS:
        for epsilon in EPSILONS:
            found = [_made(whole, Kind(kind=kind), epsilon, split) for split in range(splits)]
            yield {"what": "synthetic, five ancestries", "kind": kind, "epsilon": epsilon or "none", **_means(found)}
            say(f"{kind}, epsilon {epsilon}")


def _blocks(whole: People, splits: int) -> Iterator[Row]:
    for block in BLOCKS:
        for epsilon in EPSILONS:
            kind = Kind(kind="genotypes", options={"block": block})
            found = [_made(whole, kind, epsilon, split) for split in range(splits)]
            row = {"what": "synthetic, one region", "kind": "genotypes", "block": block, "epsilon": epsilon or "none"}
            yield row | _means(found)


def _half(whole: People, split: int) -> tuple[Array, Array]:
    """Return who is trained on, and who is not."""
    inside, outside = np.array_split(_order(whole, split), 2)
    return inside, outside


def _made(whole: People, kind: Kind, epsilon: float | None, split: int) -> Row:
    """Return the figures of one method's table, and how well its loss tells members."""
    inside, outside = _half(whole, split)
    made = method(kind, _facts(whole, len(inside)), epsilon)
    arrays = trained(made, _shard(whole, inside), split)
    drawn = table(made, arrays, len(inside), split)
    members, controls = whole.records(inside), whole.records(outside)
    near = relatives.measure(drawn, members, controls, np.random.default_rng(split), _SETTINGS)
    told = _judged(drawn, controls, whole, split) | {name: near[name].value for name in NEAR}
    if isinstance(made, Scored):
        lost = [made.losses(arrays, side.x, side.label) for side in (members, controls)]
        told["AUC of the loss"] = ranking.auc(-lost[0], -lost[1])
    return told


def _judged(drawn: Records, truth: Records, whole: People, split: int) -> Row:
    rng = np.random.default_rng(split)
    found = genotypes.measure(drawn, truth, rng, _SETTINGS)
    told: Row = {name: found[name].value for name in FIGURES}
    if len(whole.labels) > 1:
        score = classify.measure(drawn, truth, rng, _SETTINGS)
        told["accuracy"] = score["accuracy: logistic regression"].value
    return told


def _means(found: list[Row]) -> Row:
    return {name: _mean(each[name] for each in found) for name in found[0]}


def _mean(values: Any) -> float:
    return round(float(np.mean(list(values))), 4)


# ---- Promises


def _targets(rows: list[Row]) -> Iterator[Target]:
    yield from _attack_targets([row for row in rows if row["what"] == "frequencies"])
    yield from _table_targets([row for row in rows if row["what"].endswith("ancestries") and "epsilon" in row])
    yield from _block_targets([row for row in rows if row["what"].endswith("region")])


def _attack_targets(rows: list[Row]) -> Iterator[Target]:
    budgets = {row["rho"]: row for row in rows}
    found = budgets["none"][f"AUC, {attacked.AWARE}"]
    yield Target(name="exact frequencies give members away: AUC", value=found, target=0.8, sense="at least")
    for rho, row in budgets.items():
        if rho != "none":
            found = max(row[each] for each in row if each.startswith("AUC, "))
            words = f"frequencies at rho {rho:g}: largest AUC of an attack"
            yield Target(name=words, value=found, target=row["best AUC"], sense="at most")


def _table_targets(rows: list[Row]) -> Iterator[Target]:
    made = {(row["kind"], row["epsilon"]): row for row in rows}
    ours, plain = made["genotypes", 10.0], made["marginals", 10.0]
    words = "genotypes at epsilon 10: "
    yield Target(name=f"{words}error of frequencies", value=ours["frequency_rmse"], target=0.03, sense="at most")
    less = round(ours["frequency_rmse"] / plain["frequency_rmse"], 4)
    yield Target(name=f"{words}the same over that of marginals", value=less, target=1.0, sense="at most")
    yield Target(name=f"{words}accuracy of ancestry", value=ours["accuracy"], target=0.85, sense="at least")
    lost = made["genotypes", 3.0]["AUC of the loss"]
    yield Target(name="genotypes at epsilon 3: AUC of the loss", value=lost, target=0.6, sense="at most")


def _block_targets(rows: list[Row]) -> Iterator[Target]:
    regions = {(row["block"], row["epsilon"]): row for row in rows}
    for epsilon in ("none", 3.0):
        lost = regions[4, epsilon]["ld_4"] / regions[0, epsilon]["ld_4"]
        words = f"blocks of 4, epsilon {epsilon}: linkage 4 apart that is lost, of what unrelated variants lose"
        yield Target(name=words, value=round(lost, 4), target=0.75, sense="at most")


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
