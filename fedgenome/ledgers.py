"""What ``fedgenome ledger`` tells of a site's ledger: every plan, its price, what was charged, what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedgenome.errors import SpecError
from fedgenome.privacy import replay
from fedgenome.privacy.books import Books, Cost, Run
from fedgenome.privacy.sanitized import Sanitized, composed
from fedgenome.query import Mechanism
from fedgenome.secure import identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form of query in a plan.

    Attributes:
        mechanism: The form; its count is what the plan holds.
        charged: How many were answered.
    """

    mechanism: Mechanism
    charged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run of a ledger.

    Attributes:
        run: Its id.
        study: Hex digest of the Study.
        plan: Hex digest of the plan.
        kind: What it claims: private, simulation or none.
        status: reserved, spent or closed.
        unit: What its ε is about: donor, row or site.
        epsilon: What is held or spent for it; None where nothing is claimed. ``delta`` with it.
        spent: Whether a share may have left.
        priced: What the plan costs by our own pricing, at most ``epsilon``; None where nothing is claimed.
        scopes: The same for each scope of the plan alone; their sum is more than the whole.
        forms: Every form of the plan.
        unprotected: Queries answered without any mechanism.
    """

    run: str
    study: str
    plan: str
    kind: str
    status: str
    unit: str
    epsilon: float | None
    delta: float | None
    spent: bool
    priced: float | None
    scopes: Mapping[str, float]
    forms: tuple[Form, ...]
    unprotected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A ledger, read through by every rule.

    Attributes:
        account: Id of the site's population.
        records: Lines.
        head: Hash of the last one.
        torn: Bytes of an unfinished last line that no record tells of yet.
        noted: Earlier torn lines, told of.
        signers: Public keys that signed reservations and closes.
        unsigned: Reservations and closes that nobody signed.
        entries: Every run.
        sanitized: Every set of rows that was perturbed once; their ε is no part of what follows.
        reserved: (ε, δ) of all plans, held or spent: what counts against the budget.
        spent: (ε, δ) of those of which a share may have left.
        budget: (ε, δ) that the last reservation was checked against; None: no limit. ``left`` with it.
    """

    account: str
    records: int
    head: str
    torn: int
    noted: int
    signers: tuple[str, ...]
    unsigned: int
    entries: tuple[Entry, ...]
    sanitized: tuple[Sanitized, ...]
    reserved: Cost
    spent: Cost
    budget: Cost | None
    left: Cost | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def read(path: Path, *, head: str = "", signer: str = "") -> Statement:
    """Check a ledger by every rule, prices and signatures included, and say what it holds.

    Args:
        head: Hash of a line, as kept elsewhere; the chain must hold it. Empty: not asked.
        signer: Public key that must have signed every reservation and close. Empty: not asked.

    Raises:
        SpecError: the first fault, with file and line; or lines were cut off, or another key signed.
    """
    from fedgenome.privacy import accounting  # slow to import

    found = replay.verify(path, price=accounting.priced, signature=identity.verify)
    if not found.records:
        raise SpecError(f"{path}: expected a ledger, got a file without one whole record of it")
    if head and head not in found.heads:
        raise SpecError(f"{path}: expected a line of hash {head}; lines were cut off, or it is another ledger")
    if signer and (found.unsigned or set(found.signers) - {signer}):
        raise SpecError(f"{path}: expected every reservation and close signed by {signer}")
    books = found.books
    return Statement(
        account=books.account,
        records=found.records,
        head=found.head,
        torn=found.torn,
        noted=found.noted,
        signers=tuple(found.signers),
        unsigned=found.unsigned,
        entries=tuple(_entry(name, run) for name, run in books.runs.items()),
        sanitized=tuple(books.sanitized.values()),
        reserved=books.reserved(),
        spent=books.spent(),
        **_budget(books),
    )


def _budget(books: Books) -> dict[str, Cost | None]:
    if books.budget is None:
        return {"budget": None, "left": None}
    return {"budget": (books.budget.epsilon, books.budget.delta), "left": books.budget.left(books.reserved())}


def _entry(name: str, run: Run) -> Entry:
    from fedgenome.privacy import accounting

    priced, scopes = None, {}
    if run.kind == "private":
        delta = accounting.usable(run.plan, *run.price)
        priced, scopes = accounting.epsilon(run.plan, delta), accounting.by_scope(run.plan, delta)
    return Entry(
        run=name,
        study=run.study,
        plan=run.plan.digest,
        kind=run.kind,
        status=run.status,
        unit=run.unit,
        epsilon=run.epsilon,
        delta=run.delta,
        spent=bool(run.used),
        priced=priced,
        scopes=scopes,
        forms=tuple(Form(mechanism=m, charged=run.used[m.form]) for m in run.plan.mechanisms),
        unprotected=run.used[None],
    )


def text(statement: Statement) -> str:
    """Return a statement as lines for a terminal."""
    head = [f"account {statement.account}", *state(statement)]
    runs = [line for entry in statement.entries for line in _lines(entry)]
    runs += _sanitized(statement.sanitized)
    return "\n".join([*head, *runs, f"all plans: reserved {_cost(statement.reserved)}, spent {_cost(statement.spent)}"])


def _sanitized(every: Sequence[Sanitized]) -> list[str]:
    lines = [f"rows sanitized: {one.text}" for one in every]
    if len(every) > 1:
        rows, labels = composed(every)
        lines.append(
            f"  a record in all of these answers for ε = {rows:.6g} a unit of distance, {labels:.6g} for its label; "
            "no part of the ε of plans"
        )
    return lines


def state(statement: Statement) -> list[str]:
    """Return what was found of the file itself, in one line or a few."""
    lines = [f"{statement.records} records, every rule kept; head {statement.head}"]
    lines += [f"signed by {key}" for key in statement.signers]
    if statement.unsigned:
        lines.append(f"{statement.unsigned} reservations or closes that nobody signed")
    if statement.noted:
        lines.append(f"{statement.noted} torn lines, each told of by the record after it")
    if statement.torn:
        lines.append(f"the last line is torn: {statement.torn} bytes, of an answer that never left; kept and told of")
    if statement.budget is None or statement.left is None:
        return [*lines, "no budget: nothing bounds what further plans may cost"]
    return [*lines, f"budget {_cost(statement.budget)}; left {_cost(statement.left)}"]


def _lines(entry: Entry) -> list[str]:
    claim = (
        f"{_cost((entry.epsilon or 0.0, entry.delta or 0.0))} a {entry.unit}"
        if entry.kind == "private"
        else "no ε is claimed"
    )
    used = "" if entry.status != "closed" else ", spent" if entry.spent else ", nothing spent"
    lines = [
        f"run {entry.run}: {entry.kind}, {entry.status}{used}, {claim}",
        f"  study {entry.study}",
        f"  plan  {entry.plan}" + ("" if entry.priced is None else f", costs ε = {entry.priced:.6g}"),
    ]
    lines += [f"  scope {scope}: ε = {epsilon:.6g} alone" for scope, epsilon in entry.scopes.items()]
    lines += [_form(form) for form in entry.forms]
    return lines + [f"  {entry.unprotected} answered without noise"] * bool(entry.unprotected)


def _form(form: Form) -> str:
    m = form.mechanism
    level = "noise multiplier" if m.kind == "gaussian" else "epsilon"
    return (
        f"    {m.scope}: {m.kind}, {level} {m.level:.6g}, sampling {m.sampling:g}, noise at {m.where}: "
        f"{form.charged} of {m.count} charged"
    )


def _cost(cost: Cost) -> str:
    return f"ε = {cost[0]:.6g}, δ = {cost[1]:.3g}"
