"""Secure sums: time by role, end to end, bytes and memory, against plain and other secure sums.

All candidates take turns in one run, one thread each. What is timed of each:

- ``fedgenome``: a site encodes, shares and seals; a party opens and adds every site's part; its noise; and end to
  end with three party processes, from announcing the query to the decoded sum, noise included, where one more
  process is all sites in turn.
- ``plain``: NumPy's float32 sum, and the same after the two copies of each vector that a network makes at least.
- ``SecAgg+``: Flower's own client function (``_collect_masked_vectors``: quantise, one private mask, a pairwise
  mask for every other site), and the server's sum and unmasking by the functions its workflow calls. Key
  agreement, Shamir shares and Flower's messages are left out, in its favour.
- ``CrypTen``: three processes, ``cryptensor`` of every site, ``+``, ``get_plain_text``. Each site is one of the
  processes and nothing is sealed or noised, in its favour.
- ``TenSEAL``: CKKS with NVFlare's parameters, if it is installed.

Reading the rows: times are of the whole role; nanoseconds are the median per element read (all sites' where a role
reads them all). Bytes are what a site sends up, or end to end what one party sends: its result share to the
coordinator (nothing to other parties), in CrypTen to the others by its own count. Memory, in MB: of a site and
SecAgg+ what Python allocates above its input; end to end the largest party above its size after the start.
Targets compare medians. All queries have D = 1000 donors; a row says the scale s that follows from it.
Run: ``python -m experiments.benchmarks.secure_sum`` (``--quick``: 1e5 elements only).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from flwr.app import ConfigRecord
from flwr.client.mod.secure_aggregation import secaggplus_mod as secagg
from flwr.common import bytes_to_ndarray, ndarrays_to_parameters
from flwr.common.secure_aggregation import ndarrays_arithmetic as arithmetic
from flwr.common.secure_aggregation.crypto import symmetric_encryption as symmetric
from flwr.common.secure_aggregation.quantization import dequantize
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen, share_keys_plaintext_concat
from flwr.supercore.primitives import asymmetric

from experiments import harness
from experiments.harness import Result, Target
from fedgenome.errors import require
from fedgenome.query import PARTIES, Mechanism, Query, Question, Terms, choose_scale
from fedgenome.secure import bundle, crypten_runtime, noise, ring
from fedgenome.secure.envelope import PartyKey
from fedgenome.secure.parties import Parties
from fedgenome.streams import Stream

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]
T = TypeVar("T")

DONORS = 1000  # D, public
COLLUDERS = 1  # t
NOISE_LEVEL = 1.0  # standard deviation / sensitivity
DISTINCT = 5  # vectors; more sites send them again
MANY, SOME, MANY_ELEMENTS = 1000, 100, 10**5
SLOTS = 4096  # numbers in a CKKS ciphertext of degree 8192
_CRYPTEN = "crypten"  # first argument of a CrypTen process
_START_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One size of sum and how often it is repeated."""

    sites: int
    elements: int
    rounds: int


FULL = tuple(
    Case(sites=sites, elements=elements, rounds=rounds)
    for sites, elements, rounds in (
        *((5, 10**5, 15), (5, 10**6, 15), (5, 10**7, 3)),
        *((50, 10**5, 9), (50, 10**6, 5), (50, 10**7, 1)),
    )
)
QUICK = (Case(sites=5, elements=10**5, rounds=9), Case(sites=50, elements=10**5, rounds=3))


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


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────


class Federation:
    """Three party processes of one roster, and all its sites in this process.

    Args:
        parties: Just started.
        roster: Sites that may answer.
        quorum: Fewest that do.
    """

    def __init__(self, parties: Parties, roster: int, quorum: int) -> None:
        self._parties, self._steps = parties, itertools.count()
        caps = tuple((f"site-{i + 1}", DONORS // roster) for i in range(roster))
        self.terms = Terms(caps=caps, colluders=COLLUDERS, quorum=quorum, roster="", plan="")
        self._publics = parties.ready()
        parties.pin("", "benchmark", self.terms)

    @classmethod
    @contextlib.contextmanager
    def start(cls, roster: int, quorum: int) -> Iterator[tuple[Federation, Processes]]:
        """Start the parties and yield them ready, with their processes' memory before the first query."""
        with tempfile.TemporaryDirectory() as folder, Processes.watch() as processes:
            with Parties.start(Path(folder), None) as parties:
                processes.started()
                federation = cls(parties, roster, quorum)
                processes.rest()
                yield federation, processes

    def query(self, elements: int) -> Query:
        """Return a new query for a sum of ``elements`` numbers of L2 norm 1 per donor."""
        mechanism = Mechanism(kind="gaussian", level=NOISE_LEVEL)
        question = Question(payload={}, length=elements, reply_length=elements, bound=1.0, mechanism=mechanism)
        return Query(
            question=question,
            terms=self.terms,
            study="",
            run="benchmark",
            method="sum",
            step=next(self._steps),
            attempt=0,
            scale=choose_scale(question, self.terms),
        )

    def total(self, query: Query, sites: int, vectors: Sequence[Floats]) -> Floats:
        """Return the sum of the first ``sites`` sites' vectors (n,), over the wire and with noise."""
        self._parties.begin(query)
        names = [site for site, _ in self.terms.caps[:sites]]
        for index, site in enumerate(names):
            words = ring.encode(vectors[index % len(vectors)], query.scale, query.width)
            self._parties.deliver(site, bundle.seal(query, site, index, words, self._publics))
        opened, *others = self._parties.reveal(names)
        total = opened.copy()
        for share in others:
            total += share
        ring.check_range(ring.signed(total), query.limit)
        return ring.decode(total, query.scale, query.width)

    def check(self, query: Query, total: Floats, sites: int, vectors: Sequence[Floats]) -> None:
        """Raise unless ``total`` is the exact sum but for rounding and ten standard deviations of noise."""
        exact = sum((vectors[i % len(vectors)] for i in range(sites)), np.zeros(query.question.length))
        error = float(np.abs(total - exact).max()) * query.scale
        largest = 10 * query.sigma_party * PARTIES**0.5 + sites
        require(error <= largest, "the sum, but for its noise", error=error, largest=largest)


class Roles:
    """What one site and one party do, here in this process."""

    def __init__(self, query: Query, vectors: Sequence[Floats]) -> None:
        self._query, self._vectors = query, vectors
        self._keys = [PartyKey.generate() for _ in range(PARTIES)]
        self._sampler = noise.sampler(query.sigma_party)

    def site(self, index: int) -> tuple[bytes, ...]:
        """Return what site ``index`` sends."""
        query, site = self._query, self._query.terms.caps[index][0]
        words = ring.encode(self._vectors[index % len(self._vectors)], query.scale, query.width)
        return bundle.seal(query, site, index, words, [key.public for key in self._keys])

    def party(self, index: int, parts: Sequence[bytes], total: ring.Words) -> None:
        """Open site ``index``'s part at the first party and add it to ``total`` (n,)."""
        bundle.add_part(self._query, self._query.terms.caps[index][0], index, 0, self._keys[0], parts[0], total)

    def noise(self, total: ring.Words) -> None:
        """Add a party's noise to ``total`` (n,)."""
        self._sampler.add_to(total, Stream(secrets.token_bytes(32)))

    def measure(self, clock: Clock, sites: int) -> int:
        """Let every site send to the first party, which adds and draws noise; return a site's bytes."""
        total = np.zeros(self._query.question.length, ring.dtype_of(self._query.width))
        sent, seconds = 0, 0.0
        for index in range(sites):
            parts = clock.time("site", functools.partial(self.site, index))
            sent = max(sent, sum(map(len, parts)))
            begin = time.perf_counter()
            self.party(index, parts, total)
            seconds += time.perf_counter() - begin
        clock.add("party", seconds)
        clock.time("noise", lambda: self.noise(total))
        return sent


class Processes:
    """Memory of child processes, from ``/proc``: the largest resident set above that at rest."""

    def __init__(self) -> None:
        self._before = _children()
        self._rest: dict[int, int] = {}

    @classmethod
    @contextlib.contextmanager
    def watch(cls) -> Iterator[Processes]:
        """Watch the processes started inside."""
        yield cls()

    def started(self) -> None:
        """Say that all are started."""
        self._rest = dict.fromkeys(sorted(_children() - self._before), 0)

    def rest(self) -> None:
        """Take each one's size now as its size at rest."""
        self._rest = {pid: _memory(pid, "VmRSS") for pid in self._rest}

    def forget_peak(self) -> None:
        """Let the peak begin again at the present size."""
        for pid in self._rest:
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")

    def peak(self) -> int:
        """Return the largest growth since rest of any process, in bytes."""
        return max(_memory(pid, "VmHWM") - rest for pid, rest in self._rest.items())


def _children() -> set[int]:
    # Those that the first thread started: it starts all of them.
    return set(map(int, Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii").split()))


def _memory(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _allocated(work: Callable[[], object]) -> int:
    """Return the most bytes that Python and NumPy held at once while ``work`` ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ── a plain sum ──────────────────────────────────────────────────────────────────────────────────


def plain(vectors: Sequence[npt.NDArray[np.float32]], sites: int) -> npt.NDArray[np.float32]:
    """Return NumPy's sum (n,) of the sites' vectors."""
    total = vectors[0].copy()
    for index in range(1, sites):
        total += vectors[index % len(vectors)]
    return total


def plain_sent(
    vectors: Sequence[npt.NDArray[np.float32]], sites: int, buffers: Sequence[npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32]:
    """Return the same sum after copying each vector into the kernel's buffers and out of them."""
    total = np.zeros_like(vectors[0])
    for index in range(sites):
        np.copyto(buffers[0], vectors[index % len(vectors)])
        np.copyto(buffers[1], buffers[0])
        total += buffers[1]
    return total


# ── Flower's SecAgg+ ─────────────────────────────────────────────────────────────────────────────

CLIP, TARGET_RANGE, MODULUS = 8.0, 1 << 22, 1 << 32  # Flower's defaults


class SecAgg:
    """Flower's SecAgg+ from the point where all keys are agreed; every site is every other's neighbour."""

    def __init__(self, sites: int) -> None:
        self._pairs = [[asymmetric.generate_key_pairs() for _ in range(2)] for _ in range(sites)]
        self._seeds = [secrets.token_bytes(32) for _ in range(sites)]

    def client(self, index: int, vector: npt.NDArray[np.float32]) -> list[bytes]:
        """Return what client ``index`` sends in the second stage."""
        ready = self.ready(index, vector)
        return ready()

    def ready(self, index: int, vector: npt.NDArray[np.float32]) -> Callable[[], list[bytes]]:
        """Return client ``index``'s second stage: Flower's function, its state and its message."""
        others = [other for other in range(len(self._pairs)) if other != index]
        (private, _), (sealing, _) = self._pairs[index]
        agreed = {other: symmetric.generate_shared_key(sealing, self._pairs[other][1][1]) for other in others}
        shares = [share_keys_plaintext_concat(other, index, bytes(36), bytes(36)) for other in others]
        state = secagg.SecAggPlusState()
        state.nid, state.threshold, state.max_weight = index, len(others), 1.0
        state.clipping_range, state.target_range, state.mod_range = CLIP, TARGET_RANGE, MODULUS
        state.sk1, state.rd_seed, state.ss2_dict = (
            asymmetric.private_key_to_bytes(private),
            self._seeds[index],
            agreed,
        )
        state.rd_seed_share_dict, state.sk1_share_dict = {}, {}
        state.public_keys_dict = {other: (self._public(other), b"") for other in others}
        sealed = [symmetric.encrypt(agreed[other], share) for other, share in zip(others, shares, strict=True)]
        message = ConfigRecord({Key.CIPHERTEXT_LIST: sealed, Key.SOURCE_LIST: others})
        parameters = ndarrays_to_parameters([vector])
        return lambda: cast(
            list[bytes], secagg._collect_masked_vectors(state, message, 1, parameters)[Key.MASKED_PARAMETERS]
        )

    def server(self, sent: Callable[[int], list[bytes]]) -> Floats:
        """Return the mean (n,) of the clients' vectors from what each ``sent``; nobody dropped out."""
        sites = len(self._pairs)
        total = [bytes_to_ndarray(part) for part in sent(0)]
        for index in range(1, sites):
            total = arithmetic.parameters_addition(total, [bytes_to_ndarray(part) for part in sent(index)])
        total = arithmetic.parameters_mod(total, MODULUS)
        for seed in self._seeds:
            mask = pseudo_rand_gen(seed, MODULUS, arithmetic.get_parameters_shape(total))
            total = arithmetic.parameters_subtraction(total, mask)
        weight, total = arithmetic.factor_extract(arithmetic.parameters_mod(total, MODULUS))
        (mean,) = dequantize(total, CLIP, TARGET_RANGE)
        mean += -(sites - 1) * CLIP
        mean *= TARGET_RANGE / weight
        return mean

    def _public(self, index: int) -> bytes:
        return asymmetric.public_key_to_bytes(self._pairs[index][0][1])


# ── CrypTen ──────────────────────────────────────────────────────────────────────────────────────


class CrypTen:
    """Three processes that add CrypTen's way; this file run with other arguments."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._processes = processes

    @classmethod
    @contextlib.contextmanager
    def start(cls) -> Iterator[tuple[CrypTen, Processes]]:
        """Start them and yield when they have met; they end with their standard input."""
        with tempfile.TemporaryDirectory() as folder, Processes.watch() as processes, contextlib.ExitStack() as stack:
            started = []
            for rank in range(PARTIES):
                process = _process(_CRYPTEN, str(rank), f"file://{folder}/rendezvous")
                started.append(process)
                stack.callback(_end, process)
            crypten = cls(started)
            processes.started()
            crypten.total(DISTINCT, 1000)
            processes.rest()
            yield crypten, processes

    def total(self, sites: int, elements: int) -> tuple[float, float]:
        """Add once; return the slowest process's seconds, and the bytes that one sends to the others."""
        replies = []
        for process in self._processes:
            print(json.dumps({"sites": sites, "elements": elements}), file=process.stdin, flush=True)
        for process in self._processes:
            # gloo writes to standard output too; an end of file is no answer and stops the search.
            lines = iter(cast(Any, process.stdout).readline, "")
            replies.append(json.loads(next(line for line in lines if line.startswith("{"))))
        return max(reply["seconds"] for reply in replies), max(reply["bytes"] for reply in replies)


def _process(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-m", "experiments.benchmarks.secure_sum", *arguments]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)


def _end(process: subprocess.Popen[str]) -> None:
    with process:  # closes the pipes and waits
        process.terminate()


def crypten_party(rank: int, rendezvous: str) -> None:
    """Be one of the three processes: answer a line of JSON by a line of JSON until standard input ends."""
    crypten_runtime.start(rank, PARTIES, rendezvous, _START_SECONDS)
    crypten, torch = importlib.import_module("crypten"), importlib.import_module("torch")
    crypten.cfg.communicator.verbose = True  # counts bytes; two additions a message
    for line in sys.stdin:
        asked = json.loads(line)
        vectors = [torch.from_numpy(vector).float() for vector in _vectors(asked["elements"])]
        print(json.dumps(_crypten_total(crypten, vectors, asked["sites"])), flush=True)


def _crypten_total(crypten: ModuleType, vectors: Sequence[Any], sites: int) -> dict[str, float]:
    communicator: Any = crypten.communicator.get()
    communicator.barrier()
    communicator.reset_communication_stats()
    begin = time.perf_counter()
    total: Any = crypten.cryptensor(vectors[0], src=0)
    for index in range(1, sites):
        total = total + crypten.cryptensor(vectors[index % len(vectors)], src=index % PARTIES)
    opened = total.get_plain_text()
    seconds = time.perf_counter() - begin
    error = float((opened - sum(vectors[i % len(vectors)] for i in range(sites))).abs().max())
    require(error <= sites * 2.0**-15, "CrypTen's sum within its precision", error=error)
    # Its statistics count what is sent and what is received.
    return {"seconds": seconds, "bytes": communicator.get_communication_stats()["bytes"] / 2}


# ── TenSEAL ──────────────────────────────────────────────────────────────────────────────────────


def _tenseal() -> Any:
    """Return the package, or None: it is no dependency of ours."""
    try:
        return importlib.import_module("tenseal")
    except ImportError:
        return None


class Ckks:
    """CKKS with the parameters of NVFlare's ``HEBuilder``; every client holds the one secret key."""

    def __init__(self, tenseal: Any) -> None:
        self._tenseal = tenseal
        kind = tenseal.SCHEME_TYPE.CKKS
        self._context = tenseal.context(kind, poly_modulus_degree=2 * SLOTS, coeff_mod_bit_sizes=[60, 40, 40])
        self._context.global_scale = 2**40

    def site(self, vector: Floats) -> list[bytes]:
        """Return ``vector`` (n,) encrypted and serialised."""
        blocks = [vector[start : start + SLOTS] for start in range(0, vector.size, SLOTS)]
        return [self._tenseal.ckks_vector(self._context, block.tolist()).serialize() for block in blocks]

    def server(self, sent: Sequence[bytes], sites: int) -> list[Any]:
        """Return the encrypted sum of what ``sites`` sites sent, all the same."""
        totals = [self._tenseal.ckks_vector_from(self._context, part) for part in sent]
        for _ in range(1, sites):
            totals = [
                total + self._tenseal.ckks_vector_from(self._context, part)
                for total, part in zip(totals, sent, strict=True)
            ]
        return totals


# ── the run ──────────────────────────────────────────────────────────────────────────────────────


@functools.lru_cache(maxsize=1)
def _vectors(elements: int) -> tuple[Floats, ...]:
    """Return five sites' sums (n,) of L2 norm about 1, the same in every process."""
    rng = np.random.default_rng(1)
    return tuple(rng.normal(0, elements**-0.5, elements) for _ in range(DISTINCT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One case: its table, the clock behind it, and what targets need besides."""

    rows: list[Row]
    clock: Clock
    beyond: int
    vectors_held: float


class _Table:
    def __init__(self, case: Case, query: Query, clock: Clock) -> None:
        self._case, self._clock = case, clock
        self._query = query
        self.rows: list[Row] = []

    def add(self, name: str, what: str, read: int, sent: float | None = None, memory: int | None = None) -> None:
        """Add the row of what the clock knows as ``name``; ``read`` vectors are its input."""
        case, clock = self._case, self._clock
        self.rows.append(
            {
                "sites": case.sites,
                "elements": case.elements,
                "log2 s": int(np.log2(self._query.scale)),
                "role": what,
                "ms, best": clock.best(name) * 1e3,
                "ms, median": clock.median(name) * 1e3,
                "ns an element": clock.median(name) * 1e9 / (read * case.elements),
                "bytes an element": None if sent is None else round(sent / case.elements, 4),
                "peak MB": None if memory is None else memory / 1e6,
            }
        )


def _measure_case(
    case: Case, ours: tuple[Federation, Processes], crypten: tuple[CrypTen, Processes], say: Callable[[str], None]
) -> Measured:
    clock, vectors, sites = Clock(), _vectors(case.elements), case.sites
    say(f"{sites} sites, {case.elements:,} elements")
    federation, parties = ours
    machines, processes = crypten
    roles = Roles(federation.query(case.elements), vectors)
    flower, singles = SecAgg(sites), [vector.astype(np.float32) for vector in vectors]
    buffers = [np.empty_like(singles[0]) for _ in range(2)]
    for watched in (parties, processes):
        watched.forget_peak()
    first = federation.query(case.elements)
    federation.check(first, federation.total(first, sites, vectors), sites, vectors)
    machines.total(sites, case.elements)  # warm, as the parties are now
    sent, told, masked = 0, 0.0, list[bytes]()
    for _ in range(case.rounds):
        sent = roles.measure(clock, sites)
        query = federation.query(case.elements)
        clock.time("end to end", functools.partial(federation.total, query, sites, vectors))
        clock.time("plain", lambda: plain(singles, sites))
        clock.time("plain sent", lambda: plain_sent(singles, sites, buffers))
        masked = clock.time("client", flower.ready(0, singles[0]))
        clock.time("server", lambda masked=masked: flower.server(lambda _: masked))  # type: ignore[misc]
        seconds, told = machines.total(sites, case.elements)
        clock.add("crypten", seconds)
    word = first.width // 8
    table = _Table(case, first, clock)
    table.add("site", "fedgenome: site", 1, sent, _allocated(lambda: roles.site(0)))
    table.add("party", "fedgenome: party adds all parts", sites)
    table.add("noise", "fedgenome: a party's noise", 1)
    table.add("end to end", "fedgenome: end to end", sites, word * case.elements, parties.peak())
    table.add("plain", "plain: float32 sum", sites)
    table.add("plain sent", "plain: sum and two copies", sites, 4 * case.elements)
    table.add("client", "SecAgg+: client", 1, sum(map(len, masked)), _allocated(flower.ready(0, singles[0])))
    table.add("server", "SecAgg+: server sums and unmasks", sites)
    table.add("crypten", "CrypTen: end to end", sites, told, processes.peak())
    _add_tenseal(table, case, clock, say)
    vector = word * case.elements
    return Measured(rows=table.rows, clock=clock, beyond=sent - 4 * case.elements, vectors_held=parties.peak() / vector)


def _add_tenseal(table: _Table, case: Case, clock: Clock, say: Callable[[str], None]) -> None:
    """Add CKKS once a case: it is slow enough to need no repetition; not at 1e7, where it takes minutes."""
    tenseal = _tenseal()
    if tenseal is None:
        say("  TenSEAL is not installed: left out")
        return
    if case.elements > 10**6:
        say("  TenSEAL left out beyond 1e6 elements")
        return
    ckks = Ckks(tenseal)
    sent = clock.time("ckks site", lambda: ckks.site(_vectors(case.elements)[0]))
    totals = clock.time("ckks server", lambda: ckks.server(sent, case.sites))
    clock.time("ckks open", lambda: [total.decrypt() for total in totals])
    table.add("ckks site", "TenSEAL: site", 1, sum(map(len, sent)))
    table.add("ckks server", "TenSEAL: server adds", case.sites)
    table.add("ckks open", "TenSEAL: a site decrypts", 1)


def _measure_many(rounds: int, say: Callable[[str], None]) -> tuple[list[Row], float]:
    """Return rows of 100 and 1000 sites, and time per site with 1000 over that with 100 (or its inverse)."""
    vectors, rows, clock = _vectors(MANY_ELEMENTS), list[Row](), Clock()
    peaks: dict[int, int] = {}
    with Federation.start(MANY, SOME) as (federation, parties):
        for sites in [SOME] + rounds * [SOME, MANY]:  # the first warms up
            say(f"{sites} sites, {MANY_ELEMENTS:,} elements")
            query = federation.query(MANY_ELEMENTS)
            parties.forget_peak()
            work = functools.partial(federation.total, query, sites, vectors)
            federation.check(query, clock.time(str(sites), work), sites, vectors)
            peaks[sites] = parties.peak()
        for sites, peak in peaks.items():
            table = _Table(Case(sites=sites, elements=MANY_ELEMENTS, rounds=rounds), query, clock)
            table.add(str(sites), "fedgenome: end to end", sites, query.width // 8 * MANY_ELEMENTS, peak)
            rows += table.rows
    ratio = clock.median(str(MANY)) * SOME / (clock.median(str(SOME)) * MANY)
    return rows, max(ratio, 1 / ratio)


def _targets(sizes: dict[tuple[int, int], Measured], elements: int) -> list[Target]:
    """Return the targets, at ``elements``: 1e6 but in a quick run."""
    five, fifty = sizes[5, elements], sizes[50, elements]
    at = f"{elements:.0e}".replace("e+0", "e") + " elements"

    def ratio(measured: Measured, slow: str, fast: str) -> float:
        return measured.clock.median(slow) / measured.clock.median(fast)

    most, least = functools.partial(Target, sense="at most"), functools.partial(Target, sense="at least")
    seconds, times = five.clock.median("end to end"), "times as fast as"
    noise_ns = five.clock.median("noise") * 1e9 / elements
    found = [
        least(name=f"site, {times} a SecAgg+ client, 5 sites, {at}", value=ratio(five, "client", "site"), target=5),
        least(name=f"site, {times} a SecAgg+ client, 50 sites, {at}", value=ratio(fifty, "client", "site"), target=20),
        most(name=f"seconds end to end with noise, 5 sites, {at}", value=seconds, target=0.1),
        least(name=f"end to end, {times} CrypTen, 5 sites, {at}", value=ratio(five, "crypten", "end to end"), target=3),
        most(name=f"upload beyond 4.00 bytes an element, bytes, {at}", value=five.beyond, target=5000),
        most(name=f"a party's noise, ns an element, {at}", value=noise_ns, target=30),
    ]
    if elements == 10**6:  # of smaller vectors six are less than what a process takes for other things
        held = max(five.vectors_held, fifty.vectors_held)
        found.append(most(name=f"a party's memory above idle, vectors, 5 and 50 sites, {at}", value=held, target=6))
    return found


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Time every candidate at every size."""
    sizes: dict[tuple[int, int], Measured] = {}
    with CrypTen.start() as crypten:
        for sites, cases in itertools.groupby(QUICK if quick else FULL, lambda case: case.sites):
            with Federation.start(sites, sites) as ours:  # parties of their own: a roster is pinned for life
                for case in cases:
                    sizes[sites, case.elements] = _measure_case(case, ours, crypten, say)
    rows, nonlinear = _measure_many(1 if quick else 3, say)
    targets = _targets(sizes, 10**5 if quick else 10**6)
    name = "time a site of 1,000 sites against 100, the larger over the smaller, 1e5 elements"
    targets.append(Target(name=name, value=nonlinear, target=1.2, sense="at most"))
    return Result(rows=[row for measured in sizes.values() for row in measured.rows] + rows, targets=targets)


if __name__ == "__main__":
    if sys.argv[1:2] == [_CRYPTEN]:
        crypten_party(int(sys.argv[2]), sys.argv[3])
    else:
        harness.main(__file__, __doc__ or "", measure)
