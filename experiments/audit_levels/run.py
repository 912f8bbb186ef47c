"""Levels of the auditor: how often each attack, bound and gate finds a leak where membership was dealt by chance.

TCGA-BRCA, 100 genes drawn by seed, patients as units. A table (of a low-rank Gaussian without noise, which is attacked
as a model too) and a classifier are made of 385 patients; 560 members and 94 controls are drawn of 654 others, 46 more
are the control base. Ten such worlds, 100 draws of the members in each: every false-alarm rate is to be at most nominal
+ 2 standard errors. Beside them what the gate's policy states: upper ends without any leak, and how many of 1,000 whole
audits (560 members, 140 controls, the base drawn from them, all controls of the attacks) it withholds. Half of the
members copied into the table, and a classifier and a CVAE trained too long on members, must be found.
Run: ``python -m experiments.audit_levels.run`` (some minutes; ``--quick``: one world, 20 draws, 20 audits).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments import harness
from experiments.audit_levels import levels, worlds
from experiments.audit_levels.levels import Draw, Whole
from experiments.audit_levels.worlds import BASE, CONTROLS, MEMBERS, World
from experiments.harness import Result, Target
from fedgenome.audit import run, singling_out
from fedgenome.audit.bounds import exposure
from fedgenome.audit.gate import Policy
from fedgenome.audit.near_copies import NAME
from fedgenome.audit.results import FALSE_ALARMS, LEVEL, Attack

WORLDS, DRAWS, AUDITS = 10, 100, 100  # the last two in every world
FEW = 46  # evaluated controls of a smaller audit
COPIED = 0.5  # of the members, in the positive control
NOMINAL = 0.05
WITHHELD = 0.03  # of audits without a leak, at most


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Count false alarms in every world, and what the positive control gives."""
    count, times, audits = (1, 20, 20) if quick else (WORLDS, DRAWS, AUDITS)
    study, policy = worlds.read(), Policy()
    drawn: list[Draw] = []
    fewer: list[tuple[Attack, ...]] = []
    gated: list[Whole] = []
    for seed in range(count):
        world = worlds.world(study, seed)
        rng = np.random.default_rng([seed, 1])
        drawn += [levels.draw(world, CONTROLS, rng) for _ in range(times)]
        fewer += [_fewer(world, rng) for _ in range(times)]
        gated += [levels.whole(world, CONTROLS + BASE, rng, policy) for _ in range(audits)]
        say(f"world {seed}: {len(drawn)} draws, {len(gated)} audits")
    leak = levels.draw(worlds.world(study, count, COPIED), CONTROLS, np.random.default_rng(0))
    rows = [
        *_levels(drawn),
        *_exposures(drawn),
        _worst(drawn),
        *_ends(drawn, fewer, policy),
        _gate(gated),
        *_found(leak),
    ]
    return Result(rows=rows, targets=[*_targets(drawn, gated), *_power(leak)])


def _fewer(world: World, rng: np.random.Generator) -> tuple[Attack, ...]:
    scores = {name: world.scores[name] for name in run.GATE}
    return levels.judged(scores, *levels.split(world, FEW, rng))


def most(rate: float, n: int) -> float:
    """Return a nominal rate and two standard errors of n draws."""
    return rate + 2 * math.sqrt(rate * (1 - rate) / n)


def _levels(drawn: Sequence[Draw]) -> Iterator[dict[str, Any]]:
    """Yield, attack by attack, how often it says what is not so."""
    for each in _by_attack([one.attacks for one in drawn]).values():
        yield {
            "attack": each[0].name,
            "draws": len(each),
            "p at most .05": _share(attack.p_value <= NOMINAL for attack in each),
            "AUC surely above .5": _share(attack.auc.low > 0.5 for attack in each),
            "hits surely above .1": _share(
                attack.hits is not None and attack.hits.low > FALSE_ALARMS for attack in each
            ),
            "mean AUC": _mean(attack.auc.estimate for attack in each),
        }
    copies = [one.copies for one in drawn]
    yield {
        "attack": NAME,
        "draws": len(copies),
        "p at most .05": _share(found.p_value <= NOMINAL for found in copies),
        "p below .001": _share(found.p_value < 1e-3 for found in copies),
    }
    singled = [one.singled.p_value for one in drawn]
    yield {
        "attack": singling_out.NAME,
        "draws": len(singled),
        "p at most .05": _share(p <= NOMINAL for p in singled),
        "p below .001": _share(p < 1e-3 for p in singled),
    }


def _by_attack(found: Sequence[tuple[Attack, ...]]) -> Mapping[str, list[Attack]]:
    return {first.name: [attacks[k] for attacks in found] for k, first in enumerate(found[0])}


def _exposures(drawn: Sequence[Draw]) -> Iterator[dict[str, Any]]:
    for name in drawn[0].bits:
        each = [one.bits[name] for one in drawn]
        yield {
            "unplanted canaries, scored by": name,
            "draws": len(each),
            "canaries": sum(map(len, each)),
            "mean bits": _mean(np.concatenate(each)),
            "largest of a draw, mean bits": _mean(bits.max() for bits in each),
            "p at most .05": _share(exposure.mean_p_value(bits) <= NOMINAL for bits in each),
        }


def _worst(drawn: Sequence[Draw]) -> dict[str, Any]:
    each = [one.worst for one in drawn]
    return {
        "worst case over": len(each[0].effects),
        "draws": len(each),
        "mean estimate": _mean(one.estimate for one in each),
        "surely above 0": _share(one.low > 0 for one in each),
        "p at most .05": _share(one.p_value <= NOMINAL for one in each),
    }


def _ends(drawn: Sequence[Draw], fewer: Sequence[tuple[Attack, ...]], policy: Policy) -> Iterator[dict[str, Any]]:
    """Yield upper ends where nothing leaks: means, and shares above the gate's limits, of one of the gate's attacks."""
    many = [tuple(attack for attack in one.attacks if attack.name in run.GATE) for one in drawn]
    for controls, found in ((CONTROLS, many), (FEW, fewer)):
        flat = [attack for attacks in found for attack in attacks]
        hits = [attack.hits.high for attack in flat if attack.hits is not None]
        yield {
            "evaluated controls": controls,
            "members": MEMBERS,
            "draws": len(found),
            "attacks": len(found[0]),
            "mean upper end of AUC": _mean(attack.auc.high for attack in flat),
            "AUC above limit": _share(attack.auc.high > policy.auc.most for attack in flat),
            "mean upper end of hits": _mean(hits),
            "hits above limit": _share(high > policy.hits.most for high in hits),
        }


def _gate(gated: Sequence[Whole]) -> dict[str, Any]:
    reasons = {"a control failed": "void", "AUC over limit": "auc", "hits over limit": "hits", NAME: "copies"}
    shares = {words: _share(getattr(one, field) for one in gated) for words, field in reasons.items()}
    return {
        "whole audits": len(gated),
        "attacks": len(run.GATE),
        "withheld": _share(o.withheld for o in gated),
    } | shares


def _found(leak: Draw) -> Iterator[dict[str, Any]]:
    for attack in leak.attacks:
        yield {"leak planted, attack": attack.name, "AUC": round(attack.auc.estimate, 4), "p": attack.p_value}
    yield {
        "leak planted, attack": NAME,
        "share of members": round(leak.copies.share.estimate, 4),
        "p": leak.copies.p_value,
    }
    yield {"leak planted, attack": singling_out.NAME, "p": leak.singled.p_value}


def _targets(drawn: Sequence[Draw], gated: Sequence[Whole]) -> Iterator[Target]:
    n = len(drawn)

    def at_most(what: str, value: float, limit: float) -> Target:
        return Target(name=what, value=value, target=round(limit, 6), sense="at most")

    alarms = {name: [a.p_value for a in each] for name, each in _by_attack([one.attacks for one in drawn]).items()}
    alarms |= {NAME: [one.copies.p_value for one in drawn], singling_out.NAME: [one.singled.p_value for one in drawn]}
    alarms |= {"worst case": [one.worst.p_value for one in drawn]}
    for name, found in alarms.items():
        yield at_most(f"{name}: share of p at most .05", _share(p <= NOMINAL for p in found), most(NOMINAL, n))
    missed = _share(one.worst.low > 0 for one in drawn)
    yield at_most("worst case: share of lower ends above 0", missed, most(1 - LEVEL, n))
    for row in _exposures(drawn):
        limit = exposure.NULL_MEAN_BITS * (1 + 2 / math.sqrt(row["canaries"]))
        yield at_most(
            f"{row['unplanted canaries, scored by']}: mean bits of unplanted canaries", row["mean bits"], limit
        )
    for what, field in (("the score surely above 0", "score"), ("a class surely told apart", "exposed")):
        share = _share(getattr(one, field) for one in gated)
        yield at_most(f"share of whole audits with {what}", share, most(1 - LEVEL, len(gated)))
    yield at_most("share of whole audits without a leak that are withheld", _share(o.withheld for o in gated), WITHHELD)


def _power(leak: Draw) -> Iterator[Target]:
    yield Target(name="leak planted: lower end of the worst case", value=leak.worst.low, target=0.1, sense="at least")
    found = {attack.name: attack.p_value for attack in leak.attacks if attack.name in run.EVERY}
    found |= {NAME: leak.copies.p_value, singling_out.NAME: leak.singled.p_value}
    for name, p in found.items():
        yield Target(name=f"leak planted: p of {name}", value=p, target=1e-3, sense="at most")


def _share(found: Any) -> float:
    return round(float(np.mean([bool(one) for one in found])), 4)


def _mean(found: Any) -> float:
    return round(float(np.mean(list(found))), 4)


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
