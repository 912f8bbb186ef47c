"""The bug zoo: broken differential privacy, each bug with the detector that tells it from its correct twin.

Each bug is the smallest edit of the library's own code; the twin is that code. A statistical check fires below
p = 1e-6, a canary audit where it refutes the ε = 1 that is claimed. Rows of kind "power" say how large an ε the canary
audit sees; those of kind "missed" are bugs that the detector nearest to them does not see. Seeds are fixed: no row has
an ε of its own.
Run: ``python -m experiments.bug_zoo.run`` (``--quick``: fewer canary runs).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from experiments import harness
from experiments.bug_zoo import answers, canaries, misses, noise, sampling, tables, unpaid
from experiments.bug_zoo.verdicts import Verdict
from experiments.harness import Result, Target

OTHERS = (noise, sampling, unpaid, answers, tables, misses)
_MOST, _FEWEST = 0.05, 0.9  # share of a twin's runs, and of a bug's, in which a detector fires
_BUGS, _MISSES = 14, 2


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Show every bug to its detector."""
    seen = []
    for verdict in itertools.chain(canaries.verdicts(quick), *(family.verdicts() for family in OTHERS)):
        seen.append(verdict)
        say(str(verdict.row))
    return Result(rows=[verdict.row for verdict in seen], targets=targets(seen))


def targets(seen: Sequence[Verdict]) -> list[Target]:
    """Return what was promised of the detectors, and that no bug is called missed which one of them sees."""
    caught, missed = ([verdict for verdict in seen if verdict.kind == kind] for kind in ("caught", "missed"))
    audits = [verdict for verdict in caught if verdict.detector is canaries.DETECTOR]
    fired = sum(verdict.fired >= _FEWEST for verdict in caught)
    false = sum(verdict.false > _MOST for verdict in caught)
    return [
        Target(name="bugs with a detector", value=len({v.bug for v in caught}), target=_BUGS, sense="at least"),
        Target(name="detectors set off by their bug", value=fired, target=len(caught), sense="at least"),
        Target(name="detectors set off by the correct twin", value=false, target=0, sense="at most"),
        *(_rate(f"{verdict.bug}: share of runs that refute ε = 1", verdict.fired) for verdict in audits),
        Target(
            name="correct classifier: share of runs that refute ε = 1",
            value=max(verdict.false for verdict in audits),
            target=_MOST,
            sense="at most",
        ),
        Target(name="bugs shown that the nearest detector misses", value=len(missed), target=_MISSES, sense="at least"),
        Target(name="of these, those that it sees", value=sum(v.fired > 0 for v in missed), target=0, sense="at most"),
    ]


def _rate(name: str, value: float) -> Target:
    return Target(name=name, value=value, target=_FEWEST, sense="at least")


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
