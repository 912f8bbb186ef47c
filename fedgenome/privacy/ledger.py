"""A site's ledger: append-only, hash-chained JSON lines, written before a share leaves (DESIGN §6).

A line holds a record and ``hash``, the SHA-256 of the last line's hash and the record. Records:

=========  =======================================================================================
event      meaning
=========  =======================================================================================
open       first line: the account, a random id of the site's population
reserve    a run's plan, priced and held whole
charge     one query of the plan leaves (``steps``, if there: as many of them); the first one
           (``spends``) spends the plan whole
torn       the bytes before this line, ``length`` of them, are what a crash left of a line
=========  =======================================================================================

The chain shows edits and lost lines, but not a cut at the end of a line: keep :attr:`Ledger.head`
elsewhere for that. ``kind`` says what a run claims: ``private`` (its ε and δ), ``simulation`` or ``none``
(both null: nothing is claimed).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fedgenome import files
from fedgenome.closing import Closing
from fedgenome.errors import BudgetRefused, Refused, SpecError, require
from fedgenome.query import Mechanism
from fedgenome.study import Plan

Record = dict[str, Any]

KINDS = ("private", "simulation", "none")
_GENESIS = hashlib.sha256(b"fedgenome ledger 1").hexdigest()
_SLACK = 1e-9  # relative: three plans of 0.1 fit a budget of 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that all plans of an account may cost together: ε and δ are added across plans."""

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        require(0 < self.epsilon < math.inf, "0 < epsilon < inf", epsilon=self.epsilon)
        require(0 < self.delta < 1, "0 < delta < 1", delta=self.delta)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What :func:`verify` found in a ledger whose chain holds.

    Attributes:
        records: Lines of the chain.
        head: Hash of the last one.
        noted: Earlier torn lines, each followed by a record that tells of it.
        torn: Bytes of an unfinished last line that no record tells of yet; 0: none.
    """

    records: int
    head: str
    noted: int
    torn: int


@dataclass(slots=True, kw_only=True)
class _Run:
    """A reserved plan and what was charged to it."""

    study: str
    plan: Plan
    kind: str
    epsilon: float | None
    delta: float | None
    used: Counter[Mechanism | None] = field(default_factory=Counter)

    @property
    def terms(self) -> tuple[str, str, str, float | None, float | None]:
        return self.study, self.plan.digest, self.kind, self.epsilon, self.delta

    @property
    def cost(self) -> tuple[float, float]:
        return self.epsilon or 0.0, self.delta or 0.0


class Ledger(Closing):
    """The one open handle on an account's ledger; an exclusive lock keeps every other process out.

    Opening a file whose last line was torn by a crash appends a record that says so; :attr:`noted`
    counts them. The torn line was a charge whose share never left, so it is not counted as one.

    Args:
        path: The file; made, with mode 600, if absent.
        account: Random id of the site's population, for ever the same (never a digest of data).
        budget: Across all plans; None: no limit.

    Raises:
        SpecError: the chain is broken, or the file is another account's.
        Refused: ``ledger-busy``: another handle is open.
    """

    def __init__(self, path: Path, account: str, budget: Budget | None = None) -> None:
        self.path = path
        self._budget = budget
        self._runs: dict[str, _Run] = {}
        self._fd = _locked(path)
        try:
            self._load(account)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give up the lock. A closed ledger refuses every charge."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def head(self) -> str:
        """Hash of the last line: whoever keeps it can tell later that no line was cut off."""
        return self._head

    @property
    def noted(self) -> int:
        """How many torn lines the ledger tells of."""
        return self._noted

    def reserve(
        self, run: str, study: str, plan: Plan, epsilon: float | None, delta: float | None, *, kind: str = "private"
    ) -> None:
        """Hold ``plan`` whole for ``run``; again with the same terms it continues the run.

        Args:
            run: The run's id, kept over resumes.
            study: Hex digest of the Study.
            epsilon: What the plan costs at ``delta``; dropped unless ``kind`` is private.
            kind: What the run claims: private, simulation or none.

        Raises:
            BudgetRefused: all plans together would pass the budget, or an account with a budget is
                asked for a run under trust model none, whose cost has no bound.
            Refused: ``other-plan``: the run was reserved under other terms.
            SpecError: a private run without ε, δ or a query.
        """
        require(kind in KINDS, f"kind one of {KINDS}", kind=kind)
        if kind != "private":
            epsilon = delta = None
        asked = _Run(study=study, plan=plan, kind=kind, epsilon=epsilon, delta=delta)
        if run in self._runs:
            if self._runs[run].terms != asked.terms:
                raise Refused("other-plan", "a run keeps the study and plan it was reserved with")
            return
        self._check(asked)
        terms = {"study": study, "plan": plan.model_dump(mode="json"), "epsilon": epsilon, "delta": delta}
        self._append({"event": "reserve", "kind": kind, "run": run, **terms})

    def charge(self, run: str, form: Mechanism | None, steps: int = 1) -> None:
        """Record, durably, that one query of ``form`` is about to be answered. Call it before a share leaves.

        Args:
            form: The query's mechanism (its count plays no part); None under trust model none.
            steps: How many of the plan's queries it is charged as: those of local training that it answers for.

        Raises:
            Refused: ``outside-plan``: nothing reserved, or the plan holds no further query of this form.
        """
        form = form.form if form else None
        held = self._runs.get(run)
        if held is None:
            raise Refused("outside-plan", "no plan is reserved for this run")
        allowed = held.plan.allowed(form) if form else math.inf if held.kind == "none" else 0
        require(steps >= 1, "steps >= 1", steps=steps)
        if held.used[form] + steps > allowed:
            raise Refused("outside-plan", f"the plan allows {allowed} queries of this form")
        spends = not held.used
        record: Record = {"event": "charge", "kind": held.kind, "run": run, "form": asdict(form) if form else None}
        if steps > 1:
            record["steps"] = steps
        self._append({**record, "spends": [held.epsilon, held.delta] if spends else None})

    def spent(self) -> tuple[float, float]:
        """Return (ε, δ) over all private plans of which a share may have left."""
        return _total(run.cost for run in self._runs.values() if run.used)

    def reserved(self) -> tuple[float, float]:
        """Return (ε, δ) over all private plans, spent or only held: what counts against the budget."""
        return _total(run.cost for run in self._runs.values())

    def _check(self, asked: _Run) -> None:
        if asked.kind == "private":
            priced = asked.epsilon is not None and asked.delta is not None and bool(asked.plan.mechanisms)
            require(priced, "a private plan with queries, epsilon and delta", epsilon=asked.epsilon, delta=asked.delta)
        if self._budget is None:
            return
        if asked.kind == "none":
            raise BudgetRefused(f"{self.path.name}: trust 'none' has no bounded cost; this account has a budget")
        epsilon, delta = _total([self.reserved(), asked.cost])
        for name, total, most in (("epsilon", epsilon, self._budget.epsilon), ("delta", delta, self._budget.delta)):
            if total > most * (1 + _SLACK):
                raise BudgetRefused(f"{self.path.name}: all plans together need {name} {total:.6g}, budget {most:.6g}")

    def _load(self, account: str) -> None:
        data = self.path.read_bytes()
        if data and not data.endswith(b"\n"):  # ends a torn line; one that lacks only this is then whole
            os.write(self._fd, b"\n")
            data += b"\n"
        chain = _read(data, self.path)
        self._head, self._noted, self._lines = chain.head, chain.noted, len(chain.records)
        for record in chain.records:
            _apply(self._runs, record)
        if chain.end < len(data):
            self._append(_torn(data[chain.end :]))
        known = [record["account"] for record in chain.records if record["event"] == "open"]
        if not known:
            self._append({"event": "open", "version": 1, "account": account})
        elif known != [account]:
            raise SpecError(f"{self.path}: expected the ledger of account {account!r}, got another account's")

    def _append(self, record: Record) -> None:
        if self._fd < 0:
            raise Refused("ledger-closed", "nothing is answered without a ledger")
        record = {"line": self._lines, **record}
        head = _chained(self._head, record)
        line = _canonical({**record, "hash": head})
        try:
            whole = os.write(self._fd, line) == len(line)
            os.fdatasync(self._fd)
        except OSError:
            whole = False
        if not whole:
            self.close()  # the end of the file is unknown until it is opened and read again
            raise Refused("ledger-closed", "a line could not be written")
        self._head, self._lines, self._noted = head, self._lines + 1, self._noted + (record["event"] == "torn")
        _apply(self._runs, record)


def verify(path: Path) -> Verdict:
    """Check the chain of a ledger; a torn last line is reported, not repaired.

    Raises:
        SpecError: a line was changed, moved or lost; names file and line.
    """
    data = path.read_bytes()
    chain = _read(data, path)
    return Verdict(records=len(chain.records), head=chain.head, noted=chain.noted, torn=len(data) - chain.end)


@dataclass(frozen=True, slots=True)
class _Chain:
    records: list[Record]
    head: str
    noted: int
    end: int  # offset after the last line of the chain


def _read(data: bytes, path: Path) -> _Chain:
    """Follow the chain. Bytes off the chain must be what a crash leaves: no whole record among them."""
    records: list[Record] = []
    head, noted, end = _GENESIS, 0, 0
    for number, (start, line) in enumerate(_whole_lines(data), 1):
        record = _parse(line)
        if record is None:
            continue
        told, fragment = record.pop("hash", None), data[end:start]
        explained = record == {"line": len(records), **_torn(fragment)} if fragment else record.get("event") != "torn"
        if told != _chained(head, record) or record.get("line") != len(records) or not explained:
            raise SpecError(f"{path}: line {number}: expected the next record of the chain")
        records.append(record)
        head, noted, end = str(told), noted + bool(fragment), start + len(line)
    return _Chain(records, head, noted, end)


def _whole_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while stop := data.find(b"\n", start) + 1:
        yield start, data[start:stop]
        start = stop


def _parse(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _torn(fragment: bytes) -> Record:
    return {"event": "torn", "length": len(fragment), "sha256": hashlib.sha256(fragment).hexdigest()}


def _canonical(record: Record) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _chained(head: str, record: Record) -> str:
    return hashlib.sha256(head.encode() + _canonical(record)).hexdigest()


def _apply(runs: dict[str, _Run], record: Record) -> None:
    """Carry a record into what is held: the same for one just written and one read back."""
    if record["event"] == "reserve":
        terms = {name: record[name] for name in ("study", "kind", "epsilon", "delta")}
        runs[record["run"]] = _Run(plan=Plan.model_validate(record["plan"]), **terms)
    elif record["event"] == "charge":
        form = Mechanism(**record["form"]) if record["form"] else None
        runs[record["run"]].used[form] += record.get("steps", 1)


def _total(costs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    pairs = list(costs)
    return math.fsum(epsilon for epsilon, _ in pairs), math.fsum(delta for _, delta in pairs)


def _locked(path: Path) -> int:
    """Open, make and lock the file; a new one's folder entry is made durable too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Refused("ledger-busy", f"{path.name} is open elsewhere") from None
    files.sync(path.parent)
    return fd
