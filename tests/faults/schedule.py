"""Schedules of faults: which role is struck, where, how, and under which study. All of it follows from a seed."""

from dataclasses import asdict, dataclass

import numpy as np

from tests.faults.study import LABELS, SITES
from tests.faults.traps import POINTS

ROLES = ("coordinator", *(f"site {name}" for name in SITES), "party 0", "party 1", "party 2")
# kill: SIGKILL. The rest is SIGSTOP: continued at once (pause), when the others have long given up (stop), or
# killed then (freeze). A site or party that is stopped when the run ends is what its operator finds.
HOWS = ("kill", "pause", "stop", "freeze")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One fault of one run.

    ``query`` and ``j`` say which call of the point is meant, where it has several; ``quorum`` of three sites.
    """

    role: str
    point: str
    how: str
    query: int = 0
    j: int = 0
    trust: str = "none"
    quorum: int = 2

    @property
    def kind(self):
        return self.role.split()[0]

    def trap(self, mark):
        strike = "SIGKILL" if self.how == "kill" else "SIGSTOP"
        return asdict(self) | {"mark": str(mark), "signal": strike}


def drawn(seed, number):
    """Return schedule ``number`` of the seed."""
    rng = np.random.default_rng([seed, number])

    def one(choices):
        return choices[rng.integers(len(choices))]

    role = one(ROLES)
    points = POINTS[role.split()[0]]
    point = one(sorted(points))
    given = {
        "role": role,
        "point": point,
        "how": one(HOWS),
        "trust": one(("none", "distributed")),
        "quorum": one((2, 3)),
    }
    query, j = int(rng.integers(len(LABELS))), int(rng.integers(points[point].choices))
    return Schedule(**given, query=query * bool(points[point].every), j=j)


def _fixed(role, point, how, query=0, j=0, trust="distributed", quorum=3):
    return Schedule(role=role, point=point, how=how, query=query, j=j, trust=trust, quorum=quorum)


FIXED = (
    _fixed("party 2", "loading", "kill"),
    _fixed("site west", "reserving", "kill", trust="none"),
    _fixed("party 0", "begun", "stop", query=1),
    _fixed("site north", "computed", "stop", query=1, trust="none", quorum=2),
    _fixed("site south", "recording", "kill", query=1),
    _fixed("site south", "sent", "freeze", query=0),
    _fixed("coordinator", "revealing", "kill", query=1),
    _fixed("party 1", "burnt", "kill", query=1, trust="none"),
    _fixed("party 1", "recorded", "freeze", query=2),
    _fixed("coordinator", "revealed", "stop", query=2, quorum=2),
)
