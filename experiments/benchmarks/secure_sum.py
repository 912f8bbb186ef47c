"""Secure sums: time by role, end to end, bytes and memory, against plain and other secure sums.

All candidates take turns in one run, with one thread each. What is timed of each:

- ``fedgenome``: a site encodes, shares and seals; a party opens and adds every site's part; its noise; and end to
  end with three party processes, from announcing the query to the decoded sum, noise included. One more process
  is all sites, one after the other, and the coordinator.
- ``plain``: NumPy's float32 sum, and the same after the two copies of each vector that a network makes at least.
- ``SecAgg+``: Flower's own client function (``_collect_masked_vectors``: quantise, a private mask, a pairwise mask
  for every other site), and the server's sum and unmasking by the functions that its workflow calls. Key
  agreement, Shamir's shares and Flower's messages are left out, in its favour.
- ``CrypTen``: three processes; ``cryptensor`` of every site, ``+``, ``get_plain_text``. Every site is one of the
  processes, nothing is sealed or noised: in its favour.
- ``TenSEAL``: CKKS with NVFlare's parameters, once, up to 1e6 elements, if it is installed.

Times are of the whole role, nanoseconds the median per element read (of all sites where a role reads them all).
Bytes are what a site sends up. End to end they are what a party sends: ours its result share to the coordinator,
and nothing to other parties; CrypTen's to the other two, by its own count. Memory is what a role holds above its
input; end to end, what the largest party process grew by since it was ready. Targets compare medians. D = 1000
donors in all queries; the scale s that follows is in the rows.
Run: ``python -m experiments.benchmarks.secure_sum`` (``--quick``: 1e5 elements only).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import secrets
import statistics
import tempfile
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from experiments import harness
from experiments.benchmarks import _processes as processes
from experiments.benchmarks import _rivals as rivals
from experiments.benchmarks._rivals import Floats
from experiments.harness import Result, Target
from fedgenome.errors import require
from fedgenome.query import PARTIES, Array, Mechanism, Query, Question, Roster, Terms, choose_scale
from fedgenome.secure import bundle, noise, ring
from fedgenome.secure.envelope import PartyKey
from fedgenome.secure.identity import Identity
from fedgenome.secure.parties import Parties
from fedgenome.secure.runkeys import check_all
from fedgenome.streams import Stream

Say = Callable[[str], None]
T = TypeVar("T")

DONORS = 1000  # D, public
COLLUDERS = 1  # t
NOISE_LEVEL = 1.0  # standard deviation / sensitivity
QUORUM = 3
OURS, CRYPTEN = "fedgenome: end to end, 3 parties", "CrypTen: end to end, 3 parties"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One size of sum and how often it is repeated."""

    sites: int
    elements: int
    rounds: int


QUICK = (Case(sites=5, elements=10**5, rounds=9), Case(sites=50, elements=10**5, rounds=3))
FULL = (  # the largest last: a process may keep what it once held
    *(Case(sites=5, elements=10**5, rounds=15), Case(sites=50, elements=10**5, rounds=9)),
    *(Case(sites=5, elements=10**6, rounds=15), Case(sites=50, elements=10**6, rounds=5)),
    *(Case(sites=5, elements=10**7, rounds=3), Case(sites=50, elements=10**7, rounds=1)),
)
MANY = (Case(sites=100, elements=10**5, rounds=3), Case(sites=1000, elements=10**5, rounds=3))


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────


class Federation:
    """Three party processes of one roster; its sites are this process.

    Args:
        parties: Just started.
        sites: How many may answer.
    """

    def __init__(self, parties: Parties, sites: int) -> None:
        self._parties, self._steps = parties, itertools.count()
        caps = tuple((f"site-{i + 1}", DONORS // sites) for i in range(sites))
        self._identities = [Identity.generate() for _ in caps]
        keyed = tuple((*cap, identity.public) for cap, identity in zip(caps, self._identities, strict=True))
        roster = Roster(sites=keyed, parties=parties.ready())
        self._terms = Terms(caps=caps, colluders=COLLUDERS, quorum=QUORUM, roster=roster.digest, plan="")
        keys = parties.pin("", "benchmark", self._terms, roster)
        self._publics = check_all(keys, roster.parties, "", "benchmark", self._terms)

    @classmethod
    @contextlib.contextmanager
    def start(cls, sites: int) -> Iterator[tuple[Federation, Watch]]:
        """Start the parties, yield when they are ready, and end them."""
        watch = Watch()
        with tempfile.TemporaryDirectory() as folder, Parties.start(Path(folder), None) as parties:
            federation = cls(parties, sites)
            watch.rest()
            yield federation, watch

    def query(self, elements: int) -> Query:
        """Return a new query for a sum of ``elements`` numbers, of L2 norm 1 a donor at most."""
        mechanism = Mechanism(kind="gaussian", level=NOISE_LEVEL)
        question = Question(payload={}, length=elements, reply_length=elements, bound=1.0, mechanism=mechanism)
        when: dict[str, Any] = {"study": "", "run": "benchmark", "method": "sum", "step": next(self._steps)}
        return Query(question=question, terms=self._terms, attempt=0, scale=choose_scale(question, self._terms), **when)

    def total(self, query: Query, sites: int, vectors: Sequence[Floats]) -> Floats:
        """Return the sum of the first ``sites`` sites' vectors (n,), over the wire and with noise."""
        self._parties.begin(query)
        names = [site for site, _ in self._terms.caps[:sites]]
        for index, site in enumerate(names):
            self._parties.deliver(site, *self._answer(query, index, vectors[index % len(vectors)]))
        total = self._parties.reveal(names)
        ring.check_range(total, query.limit)
        return ring.decode(total, query.scale, query.width)

    def _answer(self, query: Query, index: int, vector: Floats) -> tuple[Sequence[bytes], bytes]:
        """Return site ``index``'s three parts and stamp."""
        site, words = self._terms.caps[index][0], ring.encode(vector, query.scale, query.width)
        parts = bundle.seal(query, site, index, words, self._publics)
        return parts, bundle.sign(query, site, parts, self._identities[index])


def check(query: Query, total: Floats, sites: int, vectors: Sequence[Floats]) -> None:
    """Raise unless ``total`` (n,) is the exact sum but for rounding and ten standard deviations of noise."""
    exact = np.zeros(query.question.length)
    for index in range(sites):
        exact += vectors[index % len(vectors)]
    error = float(np.abs(total - exact).max()) * query.scale
    largest = 10 * query.sigma_party * math.sqrt(PARTIES) + sites
    require(error <= largest, "the sum, but for its noise, in ring units", error=error, largest=largest)


class Roles:
    """What one site and the first party do, in this process."""

    def __init__(self, query: Query, vectors: Sequence[Floats]) -> None:
        self._query, self._vectors = query, vectors
        self._keys = [PartyKey.generate() for _ in range(PARTIES)]
        self._identity = Identity.generate()
        self._sampler = noise.sampler(query.sigma_party)

    def site(self, index: int) -> tuple[bytes, ...]:
        """Return what site ``index`` sends: a part for every party, and its stamp."""
        query, site = self._query, self._query.terms.caps[index][0]
        words = ring.encode(self._vectors[index % len(self._vectors)], query.scale, query.width)
        parts = bundle.seal(query, site, index, words, [key.public for key in self._keys])
        return (*parts, bundle.sign(query, site, parts, self._identity))

    def measure(self, clock: Clock, sites: int) -> int:
        """Let every site send to the first party, which adds, then draws its noise; return a site's bytes."""
        query, sent, seconds = self._query, 0, 0.0
        total: Array = np.zeros(query.question.length, ring.dtype_of(query.width))
        for index, (site, _) in enumerate(query.terms.caps[:sites]):
            *parts, stamp = clock.time("site", functools.partial(self.site, index))
            sent = max(sent, sum(map(len, parts)) + len(stamp))
            begin = time.perf_counter()
            bundle.check_stamp(query, site, self._identity.public, 0, parts[0], stamp)
            bundle.add_part(query, site, index, 0, self._keys[0], parts[0], total)
            seconds += time.perf_counter() - begin
        clock.add("party", seconds)
        clock.time("noise", lambda: self._sampler.add_to(total, Stream(secrets.token_bytes(32))))
        return sent


# ── measuring ────────────────────────────────────────────────────────────────────────────────────


class Clock:
    """Seconds by name, of repetitions that take turns."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)

    def time(self, name: str, work: Callable[[], T]) -> T:
        """Return what ``work`` returns and keep how long it took."""
        begin = time.perf_counter()
        result = work()
        self.add(name, time.perf_counter() - begin)
        return result

    def add(self, name: str, seconds: float) -> None:
        """Keep a time taken elsewhere."""
        self._seconds[name].append(seconds)

    def best(self, name: str) -> float:
        """Return the least of the kept seconds."""
        return min(self._seconds[name])

    def median(self, name: str) -> float:
        """Return the median of the kept seconds."""
        return statistics.median(self._seconds[name])


class Watch:
    """Memory of the processes that are started while it is entered, from ``/proc``."""

    def __init__(self) -> None:
        self._before = processes.children()
        self._rest: dict[int, int] = {}

    def rest(self) -> None:
        """Take the size that each process has now as its size at rest."""
        self._rest = {pid: processes.memory(pid, "VmRSS") for pid in processes.children() - self._before}

    def restart(self) -> None:
        """Let the peak begin again at the present size."""
        for pid in self._rest:
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")

    def peak(self) -> int:
        """Return the largest growth of a process since rest, in bytes."""
        return max(processes.memory(pid, "VmHWM") - rest for pid, rest in self._rest.items())


def _allocated(work: Callable[[], object]) -> int:
    """Return the most bytes that Python and NumPy held at once while ``work`` ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of one case."""

    case: Case
    scale: float
    clock: Clock
    rows: list[dict[str, Any]]

    def add(self, key: str, role: str, read: int, sent: float | None = None, memory: int | None = None) -> None:
        """Add a row: ``key`` is its name on the clock, ``read`` the vectors it reads, ``sent`` in bytes."""
        best, median = self.clock.best(key), self.clock.median(key)
        row = {
            "sites": self.case.sites,
            "elements": self.case.elements,
            "log2 s": int(math.log2(self.scale)),
            "role": role,
            "ms, best": best * 1e3,
            "ms, median": median * 1e3,
            "ns an element": median * 1e9 / (read * self.case.elements),
            "bytes an element": None if sent is None else round(sent / self.case.elements, 4),
            "peak MB": None if memory is None else memory / 1e6,
        }
        self.rows.append(row)


# ── the run ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One case: its table, and what targets need besides.

    Attributes:
        beyond: Bytes that a site sends beyond 4 an element.
        held: A party's growth, in vectors.
    """

    table: Table
    beyond: int
    held: float


def _measure(case: Case, ours: tuple[Federation, Watch], theirs: tuple[rivals.CrypTen, Watch], say: Say) -> Measured:
    say(f"{case.sites} sites, {case.elements:,} elements")
    (federation, parties), (crypten, machines), sites = ours, theirs, case.sites
    clock, vectors, query = Clock(), rivals.vectors(case.elements), federation.query(case.elements)
    parties.restart()
    machines.restart()
    check(query, federation.total(query, sites, vectors), sites, vectors)  # and now all are warm
    _, told = crypten.total(sites, case.elements)
    roles, flower = Roles(federation.query(case.elements), vectors), rivals.SecAgg(sites)
    single = vectors[0].astype(np.float32)
    for _ in range(case.rounds):
        sent = roles.measure(clock, sites)
        clock.time(OURS, functools.partial(federation.total, federation.query(case.elements), sites, vectors))
        clock.add(CRYPTEN, crypten.total(sites, case.elements)[0])
        masked = clock.time("client", flower.client(0, single))
        clock.time("server", functools.partial(flower.server, functools.partial(_same, masked)))
        _measure_plain(clock, sites, vectors)
    vector, grown = query.width // 8 * case.elements, parties.peak()
    table = Table(case=case, scale=query.scale, clock=clock, rows=[])
    table.add("site", "fedgenome: a site", 1, sent, _allocated(lambda: roles.site(0)))
    table.add("party", "fedgenome: a party opens and adds", sites)
    table.add("noise", "fedgenome: a party's noise", 1)
    table.add(OURS, OURS, sites, vector, grown)
    table.add("plain", "plain: float32 sum", sites)
    table.add("plain sent", "plain: float32 sum, two copies", sites, 4 * case.elements)
    table.add("client", "SecAgg+: a client", 1, sum(map(len, masked)), _allocated(flower.client(0, single)))
    table.add("server", "SecAgg+: the server", sites)
    table.add(CRYPTEN, CRYPTEN, sites, told, machines.peak())
    _add_ckks(table, vectors, say)
    return Measured(table=table, beyond=sent - 4 * case.elements, held=grown / vector)


def _measure_plain(clock: Clock, sites: int, vectors: Sequence[Floats]) -> None:
    singles = [vector.astype(np.float32) for vector in vectors]
    buffers = [np.zeros_like(singles[0]) for _ in range(2)]
    clock.time("plain", lambda: rivals.plain(singles, sites))
    clock.time("plain sent", lambda: rivals.plain_sent(singles, sites, buffers))


def _same(sent: list[bytes], _: int) -> list[bytes]:
    """Stand for every client's masked vector: what it holds does not change how long a server takes."""
    return sent


def _add_ckks(table: Table, vectors: Sequence[Floats], say: Say) -> None:
    case, clock = table.case, table.clock
    if case.elements > 10**6:
        return
    try:
        ckks = rivals.Ckks()
    except ImportError:
        say("  TenSEAL is not installed: no CKKS")
        return
    sent = clock.time("ckks site", lambda: ckks.site(vectors[0]))
    total = clock.time("ckks server", lambda: ckks.server([sent] * case.sites))
    opened = clock.time("ckks open", lambda: ckks.open(total))
    error = float(np.abs(opened - case.sites * vectors[0]).max())
    require(error < 1e-3, "the sum within CKKS's precision", error=error)
    table.add("ckks site", "TenSEAL: a site", 1, sum(map(len, sent)))
    table.add("ckks server", "TenSEAL: the server", case.sites)
    table.add("ckks open", "TenSEAL: a site decrypts", 1)


def _measure_many(say: Say) -> tuple[list[dict[str, Any]], float]:
    """Return rows of few and of many sites, and the time a site of one over the other, the larger above."""
    clock, rows = Clock(), list[dict[str, Any]]()
    with contextlib.ExitStack() as stack:
        started = [(case, *stack.enter_context(Federation.start(case.sites))) for case in MANY]
        for case, federation, _ in started:  # a few sites warm up
            federation.total(federation.query(case.elements), QUORUM, rivals.vectors(case.elements))
        for _, (case, federation, parties) in itertools.product(range(MANY[0].rounds), started):
            say(f"{case.sites} sites, {case.elements:,} elements")
            query, vectors = federation.query(case.elements), rivals.vectors(case.elements)
            parties.restart()
            work = functools.partial(federation.total, query, case.sites, vectors)
            check(query, clock.time(str(case.sites), work), case.sites, vectors)
        for case, federation, parties in started:
            query = federation.query(case.elements)
            table = Table(case=case, scale=query.scale, clock=clock, rows=rows)
            table.add(str(case.sites), OURS, case.sites, query.width // 8 * case.elements, parties.peak())
    few, many = (clock.median(str(case.sites)) / case.sites for case in MANY)
    return rows, max(few, many) / min(few, many)


def _targets(five: Measured, fifty: Measured) -> Iterator[Target]:
    elements = five.table.case.elements
    at = f"n = 1e{round(math.log10(elements))}"

    def ratio(measured: Measured, slow: str, fast: str) -> float:
        return measured.table.clock.median(slow) / measured.table.clock.median(fast)

    most, least = functools.partial(Target, sense="at most"), functools.partial(Target, sense="at least")
    yield least(name=f"SecAgg+ client / site, 5 sites, {at}", value=ratio(five, "client", "site"), target=5)
    yield least(name=f"SecAgg+ client / site, 50 sites, {at}", value=ratio(fifty, "client", "site"), target=20)
    seconds = five.table.clock.median(OURS)
    yield most(name=f"seconds end to end, noise included, 5 sites, {at}", value=seconds, target=0.1)
    yield most(name=f"bytes a site sends beyond 4.00 an element, {at}", value=five.beyond, target=5000)
    nanoseconds = five.table.clock.median("noise") * 1e9 / elements
    yield most(name=f"nanoseconds an element of a party's noise, {at}", value=nanoseconds, target=30)
    if elements >= 10**6:  # with less, fixed costs decide: messages, a sampler's table
        yield least(name=f"naive CrypTen / end to end, 5 sites, {at}", value=ratio(five, CRYPTEN, OURS), target=3)
        for measured in (five, fifty):
            name = f"vectors by which a party grows, {measured.table.case.sites} sites, {at}"
            yield most(name=name, value=measured.held, target=6)


def measure(quick: bool, say: Say) -> Result:
    """Time every candidate at every size."""
    measured: dict[tuple[int, int], Measured] = {}
    cases = QUICK if quick else FULL
    with contextlib.ExitStack() as stack:
        machines = Watch()
        crypten = stack.enter_context(rivals.CrypTen.start())
        machines.rest()
        ours = {sites: stack.enter_context(Federation.start(sites)) for sites in (5, 50)}
        for case in cases:
            measured[case.sites, case.elements] = _measure(case, ours[case.sites], (crypten, machines), say)
    elements = 10**5 if quick else 10**6
    rows = [row for one in measured.values() for row in one.table.rows]
    targets = list(_targets(measured[5, elements], measured[50, elements]))
    if not quick:
        more, unequal = _measure_many(say)
        rows += more
        name = "time a site, 1000 against 100 sites, the larger over the smaller, n = 1e5"
        targets.append(Target(name=name, value=unequal, target=1.2, sense="at most"))
    return Result(rows=rows, targets=targets)


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
