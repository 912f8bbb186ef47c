"""Released models as the gate sees them, with the attack by their loss and without: of members, and of other people."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from experiments.audit_levels import worlds
from experiments.synthesis import arms, cohorts, loop, others
from experiments.synthesis.loop import Facts, Kind
from fedgenome.audit import gate
from fedgenome.audit.results import Audit
from fedgenome.audit.run import EVERY, GATE, ON_MODEL, STANDARD, audit
from fedgenome.audit.scales import Values
from fedgenome.audit.targets import Records, people
from fedgenome.cohort import expression
from fedgenome.query import Array

CVAE, TOO_LONG = "CVAE", "CVAE, trained too long"
CHOSEN, SPLITS = ("metabric", (0, 1, 2)), ("tcga_brca", (3, 4, 5))  # which attack is the gate's; what is reported
ROWS, BOUND = 500, 900
OTHERS, DEALS = 2, 50  # CVAEs of other people, and how often members and controls are dealt for each


def kinds(cohort: str) -> Mapping[str, Kind]:
    """Return the generators that are looked at; none adds noise."""
    made = arms.methods(others.GUESSES.get(cohort, arms.LOG))
    found = {name: made[name].kind for name in ("marginals", "gaussian, low rank", "factors")}
    found[CVAE] = made["DP-CVAE"].kind
    return {name: kind for name, kind in found.items() if kind is not None} | {TOO_LONG: worlds.OVERFITTED}


def of_members(
    cohort: str, splits: Sequence[int], names: Sequence[str] | None, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Yield, generator by generator (None: all), what attacks find, and of how many splits the gate withholds it."""
    whole = cohorts.read(cohort)
    schema = expression.schema_of(whole, cohorts.spec(cohort))
    for name in names or kinds(cohort):
        found = []
        for split in splits:
            dealt = cohorts.dealt(whole, cohort, split, by="even", sites=1, controls=0.2)
            facts = Facts(schema=schema, donors_bound=BOUND, delta=1e-4, rows=ROWS)
            made: Any = loop.method(kinds(cohort)[name], facts, None)
            arrays = loop.trained(made, dealt.members, split)
            groups = people(dealt.members), people(dealt.controls)
            found.append(_audited(*groups, made, arrays, (schema.low, schema.high), split, (*GATE, "model-loss")))
        say(f"{cohort}: {name}")
        yield {"cohort": cohort, "model of members": name, "splits": len(splits)} | _told(found)


def of_others(deals: int, count: int, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yield how often CVAEs that are trained too long, but on other people, are withheld."""
    study, found = worlds.read(), []
    for seed in range(count):
        rng = np.random.default_rng([seed, 2])
        n = study.shard.n_donors
        makers = rng.permutation(n) >= worlds.MEMBERS + worlds.CONTROLS + worlds.BASE
        made, arrays = worlds.fitted(worlds.OVERFITTED, study, makers, seed)
        pool = people(study.shard.take(~makers))
        for deal in range(deals):
            order = rng.permutation(pool.units)
            groups = pool.of(order[: worlds.MEMBERS]), pool.of(order[worlds.MEMBERS :])
            found.append(_audited(*groups, made, arrays, study.ends, deal, GATE))
        say(f"of other people: {len(found)} audits")
    yield {"cohort": worlds.COHORT, "model of other people": TOO_LONG, "audits": len(found)} | _told(found)


def _audited(
    members: Records,
    controls: Records,
    made: Any,
    arrays: Mapping[str, Array],
    ends: tuple[float, float],
    seed: int,
    attacks: Sequence[str],
) -> Audit:
    return audit(
        members=members,
        controls=controls,
        synthetic=loop.table(made, arrays, ROWS, seed),
        losses=functools.partial(made.losses, arrays),
        scale=Values(*ends),
        rng=np.random.default_rng(seed),
        attacks=attacks,
        unit="donor",
    )


def only(found: Audit, attacks: Sequence[str]) -> Audit:
    """Return the audit as if no others than these had been run; the controls stay at the level of all."""
    out = set(EVERY) - set(attacks)
    return replace(
        found,
        attacks=tuple(each for each in found.attacks if each.name not in out),
        checks=tuple(each for each in found.checks if each.attack not in out),
    )


def withheld(found: Sequence[Audit], attacks: Sequence[str]) -> float:
    """Return the share of audits that the default policy withholds on these attacks."""
    return round(float(np.mean([not gate.judge(only(each, attacks), gate.Policy()).released for each in found])), 3)


def _told(found: Sequence[Audit]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name in ON_MODEL:
        if each := [attack for one in found for attack in one.attacks if attack.name == name]:
            told[f"AUC {name}"] = round(float(np.mean([attack.auc.estimate for attack in each])), 3)
            told[f"hits {name}"] = round(float(np.mean([attack.hits.estimate for attack in each if attack.hits])), 3)
    return told | {
        "withheld on rows alone": withheld(found, STANDARD),
        "withheld": withheld(found, GATE),
        "of these void": round(float(np.mean([bool(only(each, GATE).void) for each in found])), 3),
    }
