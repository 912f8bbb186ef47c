"""What a ledger's records add up to, and which record may come next: the same for who writes and who checks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import pydantic

from fedgenome.errors import BudgetRefused, Refused, SpecError, require
from fedgenome.privacy.sanitized import Sanitized
from fedgenome.query import Mechanism
from fedgenome.study import Plan

Cost = tuple[float, float]  # ε and δ

KINDS = ("private", "simulation", "none")
UNITS = ("donor", "row", "site")
FREE: Final[Cost] = (0.0, 0.0)
_SLACK = 1e-9  # relative: three plans of 0.1 fit a budget of 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that all plans of an account may cost together: ε and δ are added across plans."""

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        require(0 < self.epsilon < math.inf, "0 < epsilon < inf", epsilon=self.epsilon)
        require(0 < self.delta < 1, "0 < delta < 1", delta=self.delta)

    def left(self, reserved: Cost) -> Cost:
        """Return what is left of ε and δ once ``reserved`` is taken off; 0.0 where nothing is."""
        return max(self.epsilon - reserved[0], 0.0), max(self.delta - reserved[1], 0.0)

    def check(self, total: Cost) -> None:
        """Refuse a total that passes the budget.

        Raises:
            BudgetRefused: names ε or δ, what all plans need and what the budget is.
        """
        for name, needed, most in (("epsilon", total[0], self.epsilon), ("delta", total[1], self.delta)):
            if needed > most * (1 + _SLACK):
                raise BudgetRefused(f"all plans together need {name} {needed:.6g}, budget {most:.6g}")


@dataclass(slots=True, kw_only=True)
class Run:
    """A reserved plan and what became of it.

    Attributes:
        study: Hex digest of the Study.
        plan: The multiset of queries it may ask.
        kind: What it claims: private, simulation or none.
        epsilon: What the plan costs, ``delta`` with it; both None unless private.
        unit: What its ε is about: donor, row or site.
        used: Queries charged, by form.
        closed: No further query is answered.
    """

    study: str
    plan: Plan
    kind: str
    epsilon: float | None
    delta: float | None
    unit: str = "donor"
    used: Counter[Mechanism | None] = field(default_factory=Counter)
    closed: bool = False

    @property
    def terms(self) -> tuple[str, str, str, float | None, float | None]:
        """What a run keeps for life."""
        return self.study, self.plan.digest, self.kind, self.epsilon, self.delta

    @property
    def price(self) -> Cost:
        """(ε, δ) of the whole plan; zeros where nothing is claimed."""
        return self.epsilon or 0.0, self.delta or 0.0

    @property
    def spent(self) -> Cost:
        """The whole price once a share may have left, nothing before."""
        return self.price if self.used else FREE

    @property
    def cost(self) -> Cost:
        """What counts against the budget: the price, unless the run was closed before any share could leave."""
        return FREE if self.closed and not self.used else self.price

    @property
    def status(self) -> str:
        """One of reserved, spent, closed."""
        return "closed" if self.closed else "spent" if self.used else "reserved"

    def check(self) -> None:
        """Refuse what claims nothing definite.

        Raises:
            SpecError: an unknown kind or unit; a private run without ε, δ or a query, or another one with a price.
        """
        require(self.kind in KINDS, f"kind one of {KINDS}", kind=self.kind)
        require(self.unit in UNITS, f"unit one of {UNITS}", unit=self.unit)
        if self.kind == "private":
            priced = self.epsilon is not None and self.delta is not None and bool(self.plan.mechanisms)
            require(priced, "a private plan with queries, epsilon and delta", epsilon=self.epsilon, delta=self.delta)
            Budget(epsilon=self.price[0], delta=self.price[1])
        else:
            require(self.epsilon is self.delta is None, f"no epsilon and delta under {self.kind}", epsilon=self.epsilon)


@dataclass(slots=True, kw_only=True)
class Books:
    """The state of one account after some records.

    Attributes:
        account: Its id; empty before the first record.
        runs: Every reserved plan, by its run's id.
        budget: The one that the last reservation was checked against; None: no limit.
        sanitized: Every set of rows that was perturbed once, by its digest: no part of any plan's ε.
    """

    account: str = ""
    runs: dict[str, Run] = field(default_factory=dict)
    budget: Budget | None = None
    sanitized: dict[str, Sanitized] = field(default_factory=dict)

    def spent(self) -> Cost:
        """Return (ε, δ) over all private plans of which a share may have left."""
        return total(run.spent for run in self.runs.values())

    def reserved(self) -> Cost:
        """Return (ε, δ) over all private plans, spent or only held: what counts against the budget."""
        return total(run.cost for run in self.runs.values())

    def check_reserve(self, asked: Run, budget: Budget | None) -> None:
        """Refuse a plan that claims nothing definite, or for which ``budget`` has too little left.

        Raises:
            SpecError: see :meth:`Run.check`.
            BudgetRefused: all plans together would pass the budget; or trust none, whose cost has no bound; or
                an ε about another unit than that of the plans before, which do not add up.
        """
        asked.check()
        self.check_price(asked.kind, asked.cost, asked.unit, budget)

    def check_price(self, kind: str, price: Cost, unit: str, budget: Budget | None) -> None:
        """Refuse a price that does not add up with the plans of this account, or passes its budget.

        Raises:
            BudgetRefused: see :meth:`check_reserve`.
        """
        units = {run.unit for run in self.runs.values() if run.cost != FREE} - {unit}
        if units and kind == "private":
            raise BudgetRefused(
                f"the plans of this account are about one {units.pop()}, this one about one {unit}: their ε do "
                "not add up; expected another account, kept in another folder"
            )
        if budget is None:
            return
        if kind == "none":
            raise BudgetRefused("trust 'none' has no bounded cost; this account has a budget")
        budget.check(total([self.reserved(), price]))

    def check_charge(self, run: str, form: Mechanism | None, steps: int = 1) -> Run:
        """Return the run that a query of ``form`` may be charged to, as so many of the plan's.

        Raises:
            Refused: ``outside-plan``: nothing reserved, or no further query of this form; ``run-closed``.
        """
        held = self.runs.get(run)
        if held is None:
            raise Refused("outside-plan", "no plan is reserved for this run")
        if held.closed:
            raise Refused("run-closed", "nothing is answered after a run's close")
        allowed = held.plan.allowed(form) if form else math.inf if held.kind == "none" else 0
        require(type(steps) is int and steps >= 1, "steps >= 1", steps=steps)
        if held.used[form] + steps > allowed:
            raise Refused("outside-plan", f"the plan allows {allowed} queries of this form")
        return held

    def apply(self, record: Mapping[str, Any]) -> None:
        """Carry a record into the books.

        Raises:
            FedgenomeError: it may not come next, or lacks a field; says which rule it breaks.
        """
        event = record.get("event")
        require((event == "open") == (not self.account) or event == "torn", "one open, before all else", event=event)
        try:
            match event:
                case "open":
                    require(record["version"] == 1, "a ledger of version 1", version=record["version"])
                    self.account = str(record["account"])
                case "reserve":
                    self._reserve(record)
                case "charge":
                    self._charge(record)
                case "close":
                    self._close(record)
                case "sanitize":
                    self._sanitize(record)
                case "torn":
                    pass
                case _:
                    raise SpecError(f"expected open, reserve, charge, close, sanitize or torn, got event={event!r}")
        except (KeyError, TypeError, AttributeError, pydantic.ValidationError) as fault:
            raise SpecError(f"expected every field of a {event}, got {type(fault).__name__}") from None

    def _reserve(self, record: Mapping[str, Any]) -> None:
        terms = {name: record[name] for name in ("study", "kind", "epsilon", "delta", "unit")}
        asked = Run(plan=Plan.model_validate(record["plan"]), **terms)
        budget = Budget(**record["budget"]) if record["budget"] else None
        require(record["run"] not in self.runs, "one reservation a run", run=record["run"])
        self.check_reserve(asked, budget)
        self.runs[record["run"]] = asked
        self.budget = budget

    def _charge(self, record: Mapping[str, Any]) -> None:
        form = Mechanism(**record["form"]).form if record["form"] else None
        steps = record.get("steps", 1)
        held = self.check_charge(record["run"], form, steps)
        told, spends = record["spends"], None if held.used else [held.epsilon, held.delta]
        require(told == spends, f"a charge that spends {spends}", spends=told)
        require(record["kind"] == held.kind, f"a charge of kind {held.kind}", kind=record["kind"])
        held.used[form] += steps

    def _close(self, record: Mapping[str, Any]) -> None:
        held = self.runs.get(record["run"])
        if held is None or held.closed:
            raise SpecError(f"expected a close of an open run, got run={record['run']!r}")
        held.closed = True

    def _sanitize(self, record: Mapping[str, Any]) -> None:
        rows = Sanitized.read(record)
        require(rows.data not in self.sanitized, "one record for a set of sanitized rows", data=rows.data)
        self.sanitized[rows.data] = rows


def reservation(run: str, asked: Run, budget: Budget | None) -> dict[str, Any]:
    """Return the record that reserves ``asked``; the budget it was checked against stands in it."""
    terms = {"study": asked.study, "unit": asked.unit, "plan": asked.plan.model_dump(mode="json")}
    cost = {"epsilon": asked.epsilon, "delta": asked.delta, "budget": asdict(budget) if budget else None}
    return {"event": "reserve", "kind": asked.kind, "run": run, **terms, **cost}


def charge(run: str, held: Run, form: Mechanism | None, steps: int = 1) -> dict[str, Any]:
    """Return the record that charges a query of ``form``, as ``steps`` of them; the first spends the plan whole."""
    record: dict[str, Any] = {"event": "charge", "kind": held.kind, "run": run, "form": asdict(form) if form else None}
    if steps > 1:
        record["steps"] = steps
    return {**record, "spends": None if held.used else [held.epsilon, held.delta]}


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sums of ε and of δ: what plans chosen one after another cost together (DESIGN §6)."""
    pairs = list(costs)
    return math.fsum(epsilon for epsilon, _ in pairs), math.fsum(delta for _, delta in pairs)
