"""A site's ledger: append-only, hash-chained JSON lines, written before a share leaves (DESIGN §6).

Lines are chained as :mod:`fedgenome.privacy.chain` says; what may follow what is :mod:`~fedgenome.privacy.books`.
Every record has ``event``, ``line`` and ``hash``:

=========  =======================================================================================
event      meaning
=========  =======================================================================================
open       first line: the account, a random id of the site's population
reserve    a run's plan, priced, within the budget that stands in it, held whole; signed
charge     one query of the plan leaves (``steps``, if there: as many of them); the first one
           (``spends``) spends the plan whole
close      the run is over: nothing more is answered; signed. A plan not spent by then is free again
sanitize   rows are perturbed once, before they are asked about: a guarantee of another kind; signed
torn       the bytes before this line, ``length`` of them, are what a crash left of a line
=========  =======================================================================================

Who can write the file can write a whole new chain: the signatures, by the site's roster identity over record
and chain so far, are what that cannot forge. Neither shows a cut at the end of a line: keep :attr:`Ledger.head`
elsewhere for that. ``kind`` says what a run claims: ``private`` (its ε and δ), ``simulation`` or ``none``
(both null: nothing is claimed).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fedgenome import files
from fedgenome.closing import Closing
from fedgenome.errors import BudgetRefused, Refused, SpecError
from fedgenome.privacy import books
from fedgenome.privacy.books import Books, Budget, Cost, Run
from fedgenome.privacy.chain import Record, canonical, chained, torn
from fedgenome.privacy.replay import SIGNED, STATEMENT, replay, verify
from fedgenome.privacy.sanitized import Sanitized
from fedgenome.query import Mechanism
from fedgenome.study import Plan

__all__ = ["Budget", "Ledger", "Signer", "verify"]


class Signer(Protocol):
    """Who vouches for a ledger: a site's identity."""

    @property
    def public(self) -> str:
        """Its public key, 64 hex digits."""
        ...

    def sign(self, kind: str, values: Sequence[object]) -> bytes:
        """Return a signature over a statement."""
        ...


class Ledger(Closing):
    """The one open handle on an account's ledger; an exclusive lock keeps every other process out.

    Opening a file whose last line was torn by a crash appends a record that says so; :attr:`noted`
    counts them. The torn line was a charge whose share never left, so it is not counted as one.

    Args:
        path: The file; made, with mode 600, if absent.
        account: Random id of the site's population, for ever the same (never a digest of data).
        budget: Across all plans; None: no limit.
        signer: Signs what the site commits itself to; None: nothing is signed.

    Raises:
        SpecError: the chain or a rule is broken, or the file is another account's.
        Refused: ``ledger-busy``: another handle is open.
    """

    def __init__(self, path: Path, account: str, budget: Budget | None = None, *, signer: Signer | None = None) -> None:
        self.path = path
        self._budget = budget
        self._signer = signer
        self._books = Books()
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
    def is_open(self) -> bool:
        """False after :meth:`close`, and after a line that could not be written."""
        return self._fd >= 0

    @property
    def head(self) -> str:
        """Hash of the last line: whoever keeps it can tell later that no line was cut off."""
        return self._head

    @property
    def noted(self) -> int:
        """How many torn lines the ledger tells of."""
        return self._noted

    def reserve(
        self,
        run: str,
        study: str,
        plan: Plan,
        epsilon: float | None,
        delta: float | None,
        *,
        kind: str = "private",
        unit: str = "donor",
    ) -> None:
        """Hold ``plan`` whole for ``run``; again with the same terms it continues the run.

        Args:
            run: The run's id, kept over resumes.
            study: Hex digest of the Study.
            epsilon: What the plan costs at ``delta``; dropped unless ``kind`` is private.
            kind: What the run claims: private, simulation or none.
            unit: What its ε is about: donor, row or site.

        Raises:
            BudgetRefused: all plans together would pass the budget, an account with a budget is asked for a
                run under trust model none, whose cost has no bound, or earlier plans are about another unit.
            Refused: ``other-plan``: the run was reserved under other terms.
            SpecError: a private run without ε, δ or a query.
        """
        if kind != "private":
            epsilon = delta = None
        asked = Run(study=study, plan=plan, kind=kind, epsilon=epsilon, delta=delta, unit=unit)
        if (held := self._books.runs.get(run)) is not None:
            if held.terms != asked.terms:
                raise Refused("other-plan", "a run keeps the study and plan it was reserved with")
            return
        try:
            self._books.check_reserve(asked, self._budget)
        except BudgetRefused as fault:
            raise BudgetRefused(f"{self.path.name}: {fault}") from None
        self._append(books.reservation(run, asked, self._budget))

    def charge(self, run: str, form: Mechanism | None, steps: int = 1) -> None:
        """Record, durably, that one query of ``form`` is about to be answered. Call it before a share leaves.

        Args:
            form: The query's mechanism (its count plays no part); None under trust model none.
            steps: How many of the plan's queries it is charged as: those of local training that it answers for.

        Raises:
            Refused: ``outside-plan``: nothing reserved, or the plan holds no further query of this form;
                ``run-closed``: the run is over.
        """
        form = form.form if form else None
        self._append(books.charge(run, self._books.check_charge(run, form, steps), form, steps))

    def settle(self, run: str) -> None:
        """Close ``run`` for good; a plan of which nothing was charged no longer counts against the budget.

        A run that is closed, or was never reserved, is left as it is.
        """
        held = self._books.runs.get(run)
        if held is not None and not held.closed:
            self._append({"event": "close", "run": run})

    def sanitize(self, rows: Sanitized) -> None:
        """Record, durably, that a set of rows is about to be perturbed; nothing where these rows were before.

        The same rows under the same sanitizer come out the same, and so are paid for once.
        """
        if rows.data not in self._books.sanitized:
            self._append(rows.record)

    def spent(self) -> Cost:
        """Return (ε, δ) over all private plans of which a share may have left."""
        return self._books.spent()

    def reserved(self) -> Cost:
        """Return (ε, δ) over all private plans, spent or only held: what counts against the budget."""
        return self._books.reserved()

    def _load(self, account: str) -> None:
        data = self.path.read_bytes()
        if data and not data.endswith(b"\n"):  # ends a torn line; one that lacks only this is then whole
            os.write(self._fd, b"\n")
            data += b"\n"
        found = replay(data, self.path)
        self._head, self._noted, self._lines, self._books = found.head, found.noted, found.records, found.books
        if found.torn:
            self._append(torn(data[-found.torn :]))
        if not self._books.account:
            self._append({"event": "open", "version": 1, "account": account})
        elif self._books.account != account:
            raise SpecError(f"{self.path}: expected the ledger of account {account!r}, got another account's")

    def _append(self, record: Record) -> None:
        if self._fd < 0:
            raise Refused("ledger-closed", "nothing is answered without a ledger")
        record = self._signed({"line": self._lines, **record})
        head = chained(self._head, record)
        line = canonical({**record, "hash": head})
        try:
            whole = os.write(self._fd, line) == len(line)
            os.fdatasync(self._fd)
        except OSError:
            whole = False
        if not whole:
            self.close()  # the end of the file is unknown until it is opened and read again
            raise Refused("ledger-closed", "a line could not be written")
        self._head, self._lines, self._noted = head, self._lines + 1, self._noted + (record["event"] == "torn")
        self._books.apply(record)

    def _signed(self, record: Record) -> Record:
        if self._signer is None or record["event"] not in SIGNED:
            return record
        record = {**record, "signer": self._signer.public}
        return {**record, "signature": self._signer.sign(STATEMENT, [chained(self._head, record)]).hex()}


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
