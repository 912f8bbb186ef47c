"""Where a role may be struck: points of the real code at which its process signals itself.

:func:`arm` wraps one function of the library in the process of a role. The wrapper runs the real function and,
the n-th time, signals its own process before it, after it, or in the middle of what it writes.
"""

import functools
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from fedgenome import files
from fedgenome.federation import agents
from fedgenome.federation.checkpoint import Checkpoint
from fedgenome.federation.coordinator import Coordinator
from fedgenome.federation.site import SiteAgent
from fedgenome.privacy.ledger import Ledger
from fedgenome.secure import party_process
from fedgenome.secure.once import Once
from fedgenome.secure.parties import Parties
from fedgenome.secure.party import Party

SITES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A function, when to strike (``before``, ``after``, ``amid`` its writing), and which of its calls.

    Call number ``first + every * query + j``, j below ``choices``; ``every`` is 0 for what happens once a run.
    """

    owner: object
    name: str
    when: str
    first: int = 0
    every: int = 0
    choices: int = 1


def each(owner, name, when, first=0, every=1, choices=1):
    return Point(owner=owner, name=name, when=when, first=first, every=every, choices=choices)


def once(owner, name, when, first=0):
    return Point(owner=owner, name=name, when=when, first=first)


# A party's messages: HELLO, PIN, then a query's BEGIN, PARTs and REVEAL; after each it prepares the next.
_A_QUERY = 1 + SITES + 1

POINTS = {
    "coordinator": {
        "started": once(Coordinator, "_discover", "before"),
        "discovered": once(Coordinator, "_discover", "after"),
        "pinned": once(Parties, "pin", "after"),
        "joined": once(Coordinator, "_join", "after"),
        "noting": each(files, "write", "after", every=2),
        "noted": each(Checkpoint, "asking", "after"),
        "begun": each(Parties, "begin", "after"),
        "delivered": each(Parties, "deliver", "after", every=SITES, choices=SITES),
        "revealing": each(Parties, "reveal", "before"),
        "revealed": each(Parties, "reveal", "after"),
        "saving": each(files, "write", "after", first=1, every=2),
        "saved": each(Checkpoint, "save", "after"),
    },
    "site": {
        "greeted": once(SiteAgent, "handle", "before"),
        "joining": once(SiteAgent, "_join", "before"),
        "reserving": once(Ledger, "reserve", "amid"),
        "reserved": once(Ledger, "reserve", "after"),
        "joined": once(agents, "_answer", "after", first=1),
        "asked": each(SiteAgent, "_ask", "before"),
        "charging": each(Ledger, "charge", "amid"),
        "charged": each(Ledger, "charge", "after"),
        "computed": each(SiteAgent, "_contribution", "after"),
        "sealed": each(SiteAgent, "_seal", "after"),
        "recording": each(Once, "record", "amid"),
        "recorded": each(Once, "record", "after"),
        "sent": each(agents, "_answer", "after", first=2),
    },
    "party": {
        "loading": once(party_process, "_load", "before"),
        "greeted": once(Party, "_hello", "before"),
        "pinning": once(Party, "_pin", "before"),
        "pinned": once(Party, "_pin", "after"),
        "beginning": each(Party, "_begin", "before"),
        "begun": each(Party, "_begin", "after"),
        "adding": each(Party, "_part", "before", every=SITES, choices=SITES),
        "added": each(Party, "_part", "after", every=SITES, choices=SITES),
        "revealing": each(Party, "_reveal", "before"),
        "burnt": each(Once, "record", "before"),
        "recording": each(Once, "record", "amid"),
        "recorded": each(Once, "record", "after"),
        "replied": each(Party, "prepare", "before", first=2 + _A_QUERY - 1, every=_A_QUERY),
    },
}


def arm(role, told):
    """Set the trap that ``told`` describes: point, query, j, signal and the file that says it has sprung."""
    point = POINTS[role][told["point"]]
    nth = point.first + point.every * told["query"] + told["j"]
    real, calls = getattr(point.owner, point.name), iter(range(10_000))

    @functools.wraps(real)
    def wrapped(*given, **named):
        due = next(calls) == nth
        if due and point.when == "before":
            _strike(told)
        if due and point.when == "amid":
            _tear(told)
        result = real(*given, **named)
        if due and point.when == "after":
            _strike(told)
        return result

    setattr(point.owner, point.name, wrapped)


def _strike(told):
    Path(told["mark"]).touch()
    os.kill(os.getpid(), signal.Signals[told["signal"]])


def _tear(told):
    """Strike in the middle of this process's next write to a file."""
    real = {name: getattr(os, name) for name in ("write", "pwrite")}

    def torn(name, handle, data, *place):
        for each_name, function in real.items():
            setattr(os, each_name, function)
        view = memoryview(data).cast("B")
        half = real[name](handle, view[: len(view) // 2], *place)
        _strike(told)
        return half + real[name](handle, view[half:], *(start + half for start in place))

    for name in real:
        setattr(os, name, functools.partial(torn, name))
