"""What is promised of adversarial masking, by its authors and by this project, judged where as many are found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from experiments.afml import frontier
from experiments.afml.arms import CAUSAL, MASKS, UNMASKED
from experiments.afml.demonstrations import ANEW, DEMONSTRATIONS, FRESH, FROZEN
from experiments.afml.frontier import Frontier, Pooled
from experiments.afml.lists import BLIND
from experiments.harness import Target

MOST = 0.1  # of people found, the upper end: what the gate's policy allows
REDUCED, KEPT, SIGMAS = 0.98, 0.92, 1.0  # what the published work reports
CHANCE = "random"
NO_RELEASE = (UNMASKED, CAUSAL, *DEMONSTRATIONS, *ANEW)  # nobody would, or could


def every(found: Frontier) -> Iterator[Target]:
    """Yield the promises of the frontier."""
    whole = found[UNMASKED][0]
    yield Target(name="no masking: RR, lower end", value=_low(whole), target=0.97, sense="at least")
    yield from demonstrated(found)
    yield from _against_blind(found)
    records = [point for arm in found if arm not in NO_RELEASE for point in found[arm] if point.found]
    useful = [point for point in records if frontier.worth(point, whole) >= KEPT]
    name = f"RR less than without masking, upper end, the best that keeps {KEPT:.0%} of utility"
    value = max((1 - point.high / _rate(whole) for point in useful), default=0.0)
    yield Target(name=name, value=value, target=REDUCED, sense="at least")
    name = f"RR less than of as many random variants, upper end, the best list that keeps {KEPT:.0%} of utility"
    value = max((_less(point, found[CHANCE]) for point in useful), default=0.0)
    yield Target(name=name, value=value, target=REDUCED, sense="at least")
    value = max((frontier.worth(point, whole) for point in records if point.high <= MOST), default=0.0)
    name = f"utility kept of unmasked, best record release with RR at most {MOST:g}"
    yield Target(name=name, value=value, target=KEPT, sense="at least")
    sigmas = [point.sigmas for point in useful if point.sigmas is not None]
    name = f"privacy loss in sigma, least of lists that keep {KEPT:.0%} of utility"
    yield Target(name=name, value=min(sigmas, default=99.0), target=SIGMAS, sense="at most")


def demonstrated(found: Frontier) -> Iterator[Target]:
    """Yield: attackers that stood still find nobody, and those made anew everybody."""
    for arm in DEMONSTRATIONS:
        still, anew = ({point.told: point for point in found[arm]}[name] for name in (FROZEN, FRESH))
        name = f"{arm}: RR of attackers {FROZEN}"
        yield Target(name=name, value=_rate(still), target=0.05, sense="at most")
        name = f"{arm}: RR of attackers {FRESH}, lower end"
        yield Target(name=name, value=_low(anew), target=0.9, sense="at least")


def _against_blind(found: Frontier) -> Iterator[Target]:
    """Yield: a learned mask is more useful than every list that is blind to the phenotype, as many found."""
    for arm in MASKS:
        if arm not in found or MASKS[arm].target != "phenotype" or (mine := frontier.best(found[arm], MOST)) is None:
            continue
        others = [point for name in BLIND if (point := frontier.best(found[name], MOST)) is not None]
        value = min((frontier.ahead(mine, point)[1] for point in others), default=0.0)
        name = f"{arm}: AUC above every blind list at RR at most {MOST:g}, least lower end"
        yield Target(name=name, value=value, target=0.0, sense="at least")


def _less(point: Pooled, chance: Sequence[Pooled]) -> float:
    """Return by what share fewer are found than with as many random variants; 0 where there is no such list."""
    same = next((each for each in chance if each.told == point.told.split(" ")[0]), None)
    return 0.0 if same is None or not _rate(same) else 1 - point.high / _rate(same)


def _rate(point: Pooled) -> float:
    return point.found.estimate if point.found else 0.0


def _low(point: Pooled) -> float:
    return point.found.low if point.found else 0.0
