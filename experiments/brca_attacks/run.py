"""Who can be told from a synthetic table and who from the model: TCGA breast cancers, generators with and without DP.

Half of the donors are members, by chance; of the others a third is the attackers' base, the rest are controls. Every
generator is attacked through a table of as many rows as members, and as a model: through 3,000 draws and, for a CVAE,
through its loss. "CVAE" is also attacked with eight shadows, as the published attack was. Its shape and the overfitted
one's were chosen on split 0, which is not in the table. "Of other people" is trained on the base alone: what attacks
find there is chance. AUC and hits are means over splits; the worst attack's intervals, means of ends, are those of all
attacks on the release together (Bonferroni); its p is the largest of the splits', times the attacks.
Run: ``python -m experiments.brca_attacks.run`` (``--quick``: one split, the overfitted CVAE).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments import harness
from experiments.brca_attacks import generators, judge
from experiments.brca_attacks.generators import Arm, Made, Parts
from experiments.brca_attacks.judge import LOSS, Outcome, Release
from experiments.harness import Result, Target

SPLITS = (1, 2, 3)
EPSILONS = (1.0, 10.0, 100.0)
RELEASES: tuple[Release, ...] = ("table", "model")
RATE = 0.1
PUBLISHED = {"model": 0.58, "table": 0.14}  # hits at 10 % false alarms, attacks on a CVAE of such a cohort
OURS, OVERFITTED, OTHERS = "CVAE", "CVAE, overfitted", "CVAE, overfitted, of other people"
QUICK = (OVERFITTED,)

Key = tuple[str, float | None, Release]
Found = dict[Key, list[dict[str, Outcome]]]  # one entry a split


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Fit, attack, and put the table together."""
    every = generators.every()
    used = {name: every[name] for name in QUICK} if quick else every
    found: Found = {}
    for seed in SPLITS[:1] if quick else SPLITS:
        for key, outcomes in _split(generators.dealt(seed), used, say):
            found.setdefault(key, []).append(outcomes)
    return Result(rows=[_row(key, each) for key, each in found.items()], targets=list(_targets(found)))


def _split(
    parts: Parts, used: Mapping[str, Arm], say: Callable[[str], None]
) -> Iterator[tuple[Key, dict[str, Outcome]]]:
    for name, arm in used.items():
        reference = arm.fit(parts, parts.base, None).kept()
        for epsilon in (*(EPSILONS if arm.private else ()), None):
            begun = time.process_time()
            yield from _both(parts, name, epsilon, arm.fit(parts, parts.members, epsilon), reference)
            say(f"split {parts.seed}: {name}, epsilon {epsilon}, {time.process_time() - begun:.1f} CPU seconds")
        if name == OVERFITTED:
            yield from _both(parts, OTHERS, None, reference, None)


def _both(
    parts: Parts, name: str, epsilon: float | None, made: Made, reference: Made | None
) -> Iterator[tuple[Key, dict[str, Outcome]]]:
    for release in RELEASES:
        yield (name, epsilon, release), judge.attacked(parts, made, reference, release)


def _row(key: Key, found: Sequence[Mapping[str, Outcome]]) -> dict[str, Any]:
    name, epsilon, release = key
    by_auc, by_hits = _worst(found, "auc"), _worst(found, "hits")
    row = {
        "generator": name,
        "epsilon": "none" if epsilon is None else f"{epsilon:g}",
        "attacker holds": release,
        "attacks": len(found[0]),
        "worst AUC": _mean(found, by_auc, "auc", "estimate"),
        "AUC low": _mean(found, by_auc, "auc", "low"),
        "AUC high": _mean(found, by_auc, "auc", "high"),
        "by": by_auc,
        "p": _p_value(found),
        "worst hits": _mean(found, by_hits, "hits", "estimate"),
        "hits low": _mean(found, by_hits, "hits", "low"),
        "hits high": _mean(found, by_hits, "hits", "high"),
        "hits by": by_hits,
    }
    return row | {f"AUC {attack}": _mean(found, attack, "auc", "estimate") for attack in found[0]}


def _worst(found: Sequence[Mapping[str, Outcome]], what: str) -> str:
    return max(found[0], key=lambda attack: _mean(found, attack, what, "estimate"))


def _mean(found: Sequence[Mapping[str, Outcome]], attack: str, what: str, end: str) -> float:
    return round(float(np.mean([getattr(getattr(one[attack], what), end) for one in found])), 4)


def _p_value(found: Sequence[Mapping[str, Outcome]]) -> float:
    """Return the smallest over attacks of the largest p-value over splits, whatever these have in common."""
    return min(max(one[attack].p_value for one in found) for attack in found[0])


def _targets(found: Found) -> Iterator[Target]:
    if (OVERFITTED, None, "model") in found:
        yield from _controls(found)
    if (OURS, None, "model") in found:
        yield from _gap(found)
    over = [_over(key, one) for key, one in found.items() if key[1] is not None]
    if over:
        name = "with DP: largest lower end of hits, less what its epsilon allows at most"
        yield Target(name=name, value=max(over), target=0.0, sense="at most")


def _controls(found: Found) -> Iterator[Target]:
    positive = found[OVERFITTED, None, "model"]
    least = min(one[LOSS].auc.estimate for one in positive)
    yield Target(
        name=f"{OVERFITTED}: AUC of its loss, smallest of the splits", value=least, target=0.9, sense="at least"
    )
    p = max(one[LOSS].p_value for one in positive)
    yield Target(name=f"{OVERFITTED}: p of its loss, largest of the splits", value=p, target=1e-3, sense="at most")
    for release in RELEASES:
        chance = found[OTHERS, None, release]
        low = max(_mean(chance, attack, "auc", "low") for attack in chance[0])
        yield Target(name=f"{OTHERS}, {release}: largest lower end of AUC", value=low, target=0.5, sense="at most")


def _gap(found: Found) -> Iterator[Target]:
    """Yield the published gap: hits against the model and against its table."""
    ours = {}
    for release in RELEASES:
        each = found[OURS, None, release]
        ours[release] = _mean(each, _worst(each, "hits"), "hits", "estimate")
    say = "published gap: hits at 10 % false alarms of the worst attack on the"
    yield Target(name=f"{say} model", value=ours["model"], target=PUBLISHED["model"], sense="at least")
    yield Target(name=f"{say} table", value=ours["table"], target=PUBLISHED["table"], sense="at most")
    gap, published = ours["model"] - ours["table"], PUBLISHED["model"] - PUBLISHED["table"]
    yield Target(name="published gap: model less table", value=gap, target=round(published, 2), sense="at least")


def _over(key: Key, found: Sequence[Mapping[str, Outcome]]) -> float:
    """Return by how much any lower end exceeds e^ε·rate + δ: above 0 the claim is refuted, or the interval missed."""
    most = min(1.0, math.exp(key[1] or 0.0) * RATE + generators.DELTA)
    return max(one[attack].hits.low for one in found for attack in one) - most


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
